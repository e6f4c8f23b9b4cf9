"""Look once at one path of an inbox, by descriptor: what it is, its fingerprint, whether its trailer is there."""

import contextlib
import errno
import fcntl
import os
import signal
import stat
from dataclasses import dataclass
from typing import Final, Literal

from procwatch.fdopen import PATH_FLAGS, READ_FLAGS, open_beneath
from procwatch.intake.completeness import is_complete
from procwatch.model import Fingerprint

Kind = Literal["file", "missing", "symlink", "fifo", "socket", "device", "directory", "unreadable", "error"]

_MISSING: Final = frozenset({errno.ENOENT, errno.ENOTDIR})
_REFUSED: Final = frozenset({errno.EACCES, errno.EPERM})
_KINDS: Final[tuple[tuple[int, Kind], ...]] = (
    (stat.S_IFREG, "file"),
    (stat.S_IFDIR, "directory"),
    (stat.S_IFLNK, "symlink"),
    (stat.S_IFIFO, "fifo"),
    (stat.S_IFSOCK, "socket"),
    (stat.S_IFCHR, "device"),
    (stat.S_IFBLK, "device"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What one look at a path saw.

    `fingerprint`, `ctime_ns` and `nlink` are there whenever the entry could be asked for its status, also when its
    content may not be read (kind "unreadable"). `complete` is the trailer's word and only true after a peek.
    `open_writer` is the kernel's word on whether somebody has it open for writing, None when it was not asked or does
    not say. `errno` tells why for "unreadable" and "error".
    """

    kind: Kind
    fingerprint: Fingerprint | None = None
    ctime_ns: int = 0
    nlink: int = 0
    complete: bool = False
    open_writer: bool | None = None
    errno: int = 0


def kind_of(mode: int) -> Kind:
    """Return the kind of an entry by its st_mode."""
    return next((kind for bits, kind in _KINDS if stat.S_IFMT(mode) == bits), "device")


def take_look(root: str, path: str, *, peek: bool, ask_writers: bool = False) -> Look:
    """Return what `path` below `root` is now. Never raises OSError, never follows a link, never waits for a peer.

    With `peek` a regular file is opened for reading (so that "unreadable" is found out) and its trailer is read.
    Without, only its status is asked. With `ask_writers` as well, the kernel is asked for open writers: worth it for
    files that were created and never closed. A hung file system can block any call: this belongs on an I/O thread.
    """
    try:
        seen = _status(root, path)
    except OSError as error:
        return _refused(error, None)
    if not peek or seen.kind != "file":
        return seen
    try:
        return _peek(root, path, ask_writers=ask_writers)
    except OSError as error:
        return _refused(error, seen)


def _status(root: str, path: str) -> Look:
    handle = open_beneath(root, path, PATH_FLAGS)
    try:
        return _look_of(os.fstat(handle))
    finally:
        os.close(handle)


def _peek(root: str, path: str, *, ask_writers: bool) -> Look:
    descriptor = open_beneath(root, path, READ_FLAGS)
    try:
        status = os.fstat(descriptor)  # the entry may be another one than a moment ago
        if not stat.S_ISREG(status.st_mode):
            return _look_of(status)
        writer = _has_open_writer(descriptor) if ask_writers else None
        return _look_of(status, complete=is_complete(descriptor, status.st_size), open_writer=writer)
    finally:
        os.close(descriptor)


def has_open_writer(path: str) -> bool | None:
    """Return whether any process has the regular file open for writing, None where nobody can say."""
    try:
        descriptor = os.open(path, READ_FLAGS)
    except OSError:
        return None
    try:
        return _is_lease_refused(descriptor)
    finally:
        os.close(descriptor)  # gives the lease back


def _has_open_writer(descriptor: int) -> bool | None:
    """Return whether any process has the file open for writing, None where the kernel does not say."""
    refused = _is_lease_refused(descriptor)
    if refused is False:
        with contextlib.suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return refused


def _is_lease_refused(descriptor: int) -> bool | None:
    """Ask for a lease that only a writer refuses; None where the kernel grants none. Whoever gets it gives it back.

    A read lease (fcntl(2), F_SETLEASE) is granted only while there is no writer; it takes our own file or CAP_LEASE,
    and a local file system. A writer that comes before it is given back waits for that, and we are sent a signal:
    SIGURG, which is ignored by default, since SIGIO would end the process.
    """
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return True if error.errno == errno.EAGAIN else None
    return False


def _look_of(status: os.stat_result, *, complete: bool = False, open_writer: bool | None = None) -> Look:
    return Look(
        kind=kind_of(status.st_mode),
        fingerprint=Fingerprint.of(status),
        ctime_ns=status.st_ctime_ns,
        nlink=status.st_nlink,
        complete=complete,
        open_writer=open_writer,
    )


def _refused(error: OSError, seen: Look | None) -> Look:
    code = error.errno or errno.EIO
    if code in _MISSING:
        return Look(kind="missing")
    if code == errno.ELOOP:
        return Look(kind="symlink")  # a folder on the way is one
    if code == errno.ENXIO:
        return Look(kind="socket")
    kind: Kind = "unreadable" if code in _REFUSED else "error"
    if seen is None:
        return Look(kind=kind, errno=code)
    return Look(kind=kind, fingerprint=seen.fingerprint, ctime_ns=seen.ctime_ns, nlink=seen.nlink, errno=code)
