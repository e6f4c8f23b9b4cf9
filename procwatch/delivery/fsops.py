"""Every effect that delivery has on a file system, each behind one method and one fault point.

Paths are absolute `str`. Folders on the way may be symbolic links (people link outboxes to other disks); the last
component is never followed. Whoever may write an inbox can swap folders in it at any time: what is there is handled
`beneath` it. Not defended: the same in an outbox.
"""

import contextlib
import errno
import functools
import hashlib
import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from procwatch import faults
from procwatch.delivery import sys_calls
from procwatch.fdopen import open_beneath

#: Files on their way to a name start like this. What a crash leaves of one goes when the same work is done again;
#: anyone may remove it.
TEMP_PREFIX: Final = ".procwatch-tmp-"

#: An original on its way out of an inbox has such a name for a moment. It is somebody's only copy: nobody removes it.
HELD_PREFIX: Final = ".procwatch-held-"

_OPEN_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_COPY_BYTES: Final = 1024 * 1024
_DESCRIPTORS: Final = "/proc/self/fd"
#: Folders that a batch keeps open: more cost descriptors, fewer cost calls where a batch is of many folders.
_MOST_KEPT: Final = 16
#: For how long: somebody may move the folder out of the inbox, or want to unmount it, while a batch copies gigabytes.
_KEPT_S: Final = 1.0
#: FAT keeps even seconds only: two copies of one file may differ by this much.
_COARSEST_MTIME_NS: Final = 2_000_000_000


class NotPlainFileError(ValueError):
    """What should be a regular file with one link is something else: somebody swapped it."""


class NotDurableError(OSError):
    """The disk did not take the data of a file: whatever is in it now must not be relied on, also not after a retry."""


class Folders(Protocol):
    """Folders below a root that were opened for one entry and serve others in them, for about a second."""

    def beneath(self, path: str) -> AbstractContextManager[str | None]:
        """As FsOps.beneath; the name is good until the next one is asked for.

        The folder may have been moved since it was opened: what is found in it is what was there, wherever that is
        now. What is not found in it has to be looked for again after forget().
        """

    def forget(self, path: str) -> bool:
        """Let go of the folder of `path`. Return whether it was opened for an earlier entry: look again, then."""


class FsOps(Protocol):
    """The port: RealFs here, MemoryFs in procwatch.testing. Errors are OSError, unless a method says otherwise."""

    def beneath(self, root: str, path: str) -> AbstractContextManager[str | None]:
        """Give the entry `path`, relative to `root`, a name that leads to the same folder while the block runs.

        None when that folder is not there. NotPlainFileError when a folder on the way is a symbolic link.
        """

    def folders(self, root: str) -> AbstractContextManager[Folders]:
        """Keep folders below `root` open while the block runs, so that a batch asks the kernel once for each."""

    def make_dirs(self, path: str, mode: int) -> list[str]:
        """Make `path` and its missing parents with exactly `mode`; return those made, outermost first.

        Nothing is fsynced: the caller syncs the parent of each once a batch.
        """

    def rename_noreplace(self, src: str, dst: str) -> None:
        """Rename; FileExistsError when `dst` exists, and nothing happened."""

    def rename_replace(self, src: str, dst: str) -> None:
        """Rename; what was at `dst` is gone in the same instant."""

    def move_noreplace(self, src: str, dst: str) -> bool:
        """Rename, or across mounts copy, sync and remove; return whether it was renamed. FileExistsError for a `dst`.

        A `dst` that holds the same bytes and time is what a crash left before `src` was removed: the move is
        finished, not repeated. EBUSY when `src` changed while it was copied, and nothing happened.
        """

    def seal(self, path: str, mode: int) -> os.stat_result:
        """Give a regular file with one link its mode, if it has another, and make it durable; return its status.

        NotPlainFileError for anything else; NotDurableError (an OSError) when the disk did not take the data.
        """

    def fsync_dir(self, path: str) -> None:
        """Make the names in a folder durable."""

    def unlink(self, path: str, missing_ok: bool = False) -> None:
        """Remove a file."""

    def rmdir(self, path: str) -> None:
        """Remove an empty folder."""

    def write_file(self, path: str, data: bytes, mode: int) -> None:
        """Write a small file, whole or not at all, in place of what was there; its name is not fsynced."""

    def read_file(self, path: str, limit_bytes: int) -> bytes:
        """Return the first bytes of a regular file."""

    def lstat(self, path: str) -> os.stat_result | None:
        """Return the status of `path` itself, None when there is nothing."""

    def list_dir(self, path: str) -> list[str]:
        """Return the names in a folder, sorted."""

    def remove_tree(self, path: str) -> None:
        """Remove whatever is at `path`, never following a symbolic link; nothing there is fine."""


@dataclass(slots=True)
class _Kept:
    descriptor: int
    opened_s: float
    uses: int = 0


class _RealFolders:
    """Implements Folders by O_PATH descriptors, no more than a few at a time."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._kept: dict[str, _Kept] = {}  # the one that was opened first comes first

    @contextlib.contextmanager
    def beneath(self, path: str) -> Iterator[str | None]:
        folder, name = os.path.split(path)
        if not folder or not _has_descriptor_paths():
            yield os.path.join(self._root, path)
            return
        try:
            descriptor = self._open(folder)
        except (FileNotFoundError, NotADirectoryError):
            yield None
            return
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise NotPlainFileError(f"a symbolic link on the way: {path!a}") from error
            raise
        try:
            yield f"{_DESCRIPTORS}/{descriptor}/{name}"
        except OSError as error:
            if str(error.filename).startswith(_DESCRIPTORS):  # nobody can read that
                error.filename = os.path.join(self._root, path)
            raise

    def forget(self, path: str) -> bool:
        kept = self._kept.pop(os.path.dirname(path), None)
        if kept is None:
            return False
        os.close(kept.descriptor)
        return kept.uses > 1

    def close(self) -> None:
        while self._kept:
            os.close(self._kept.popitem()[1].descriptor)

    def _open(self, folder: str) -> int:
        now_s = time.monotonic()
        kept = self._kept.get(folder)
        if kept is not None and now_s - kept.opened_s >= _KEPT_S:
            os.close(self._kept.pop(folder).descriptor)
            kept = None
        if kept is None:
            while len(self._kept) >= _MOST_KEPT:
                os.close(self._kept.pop(next(iter(self._kept))).descriptor)
            descriptor = open_beneath(self._root, folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            kept = self._kept[folder] = _Kept(descriptor, now_s)
        kept.uses += 1
        return kept.descriptor


class RealFs:
    """The file system of this machine. Has no state; may be used by any thread."""

    @contextlib.contextmanager
    def beneath(self, root: str, path: str) -> Iterator[str | None]:
        with self.folders(root) as folders, folders.beneath(path) as entry:
            yield entry

    @contextlib.contextmanager
    def folders(self, root: str) -> Iterator[Folders]:
        folders = _RealFolders(root)
        try:
            yield folders
        finally:
            folders.close()

    def make_dirs(self, path: str, mode: int) -> list[str]:
        missing: list[str] = []
        while not os.path.isdir(path):  # no recursion: a tree can be deeper than Python's stack
            missing.append(path)
            parent = os.path.dirname(path)
            if parent == path:
                break
            path = parent
        return [folder for folder in reversed(missing) if _make_dir(folder, mode)]

    def rename_noreplace(self, src: str, dst: str) -> None:
        faults.point("fs.rename")
        sys_calls.rename_noreplace(src, dst)

    def rename_replace(self, src: str, dst: str) -> None:
        faults.point("fs.replace")
        os.rename(src, dst)

    def move_noreplace(self, src: str, dst: str) -> bool:
        try:
            self.rename_noreplace(src, dst)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._move_across(src, dst)
            return False
        return True

    def _move_across(self, src: str, dst: str) -> None:
        with _opened(src) as source:
            before = os.fstat(source)
            if not stat.S_ISREG(before.st_mode):
                raise NotPlainFileError(f"only a regular file can go to another file system: {src!a}")
            if os.path.lexists(dst):
                if not _is_earlier_copy(source, before, dst):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), dst)
            else:
                self._copy(source, before, src, dst)
        self.fsync_dir(os.path.dirname(dst))
        now = self.lstat(src)
        if now is not None and _same(now, before):  # else a new file took the name: it is not ours to remove
            self.unlink(src, missing_ok=True)

    def _copy(self, source: int, before: os.stat_result, src: str, dst: str) -> None:
        faults.point("fs.copy")
        work = (os.fsencode(dst), str(before.st_ino).encode())
        with _temporary(os.path.dirname(dst), *work) as (temp, fd):
            os.lseek(source, 0, os.SEEK_SET)
            while block := os.read(source, _COPY_BYTES):
                sys_calls.write_all(fd, block)
            if not _same(os.fstat(source), before):
                raise OSError(errno.EBUSY, "it changed while it was copied", dst)
            with contextlib.suppress(OSError):  # the owner can be kept by root only
                os.fchown(fd, before.st_uid, before.st_gid)
            sys_calls.set_mode(fd, before.st_mode & 0o777)  # setuid would now mean us: the copy is ours
            os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))
            faults.point("fs.fsync_file")
            os.fsync(fd)
            self.rename_noreplace(temp, dst)

    def seal(self, path: str, mode: int) -> os.stat_result:
        with _opened(path) as fd:
            status = os.fstat(fd)
            _require_plain(path, status)
            faults.point("fs.set_mode")
            if stat.S_IMODE(status.st_mode) != mode:
                sys_calls.set_mode(fd, mode)
            try:
                faults.point("fs.fsync_file")
                os.fsync(fd)
            except OSError as error:
                raise NotDurableError(error.errno, error.strerror, path) from error
            return status

    def fsync_dir(self, path: str) -> None:
        faults.point("fs.fsync_dir")
        with _opened(path, os.O_DIRECTORY, follow=True) as fd:
            try:
                os.fsync(fd)
            except OSError as error:
                if error.errno != errno.EINVAL:  # SMB and some FUSE mounts cannot sync a folder
                    raise

    def unlink(self, path: str, missing_ok: bool = False) -> None:
        faults.point("fs.unlink")
        try:
            os.unlink(path)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def rmdir(self, path: str) -> None:
        faults.point("fs.rmdir")
        os.rmdir(path)

    def write_file(self, path: str, data: bytes, mode: int) -> None:
        faults.point("fs.write")
        with _temporary(os.path.dirname(path), os.fsencode(path)) as (temp, fd):
            sys_calls.write_all(fd, data)
            sys_calls.set_mode(fd, mode)
            faults.point("fs.fsync_file")
            os.fsync(fd)
            self.rename_replace(temp, path)

    def read_file(self, path: str, limit_bytes: int) -> bytes:
        with _opened(path) as fd:
            _require_plain(path, os.fstat(fd))
            return os.read(fd, limit_bytes)

    def lstat(self, path: str) -> os.stat_result | None:
        try:
            return os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def list_dir(self, path: str) -> list[str]:
        return sorted(os.listdir(path))

    def remove_tree(self, path: str) -> None:
        faults.point("fs.remove_tree")
        status = self.lstat(path)
        if status is None:
            return
        if not stat.S_ISDIR(status.st_mode):
            self.unlink(path, missing_ok=True)
            return
        with _opened(os.path.dirname(path) or ".", os.O_DIRECTORY, follow=True) as parent:
            _remove_folder(parent, os.path.basename(path))


def bars_folder(fs: FsOps, path: str) -> bool:
    """Return whether something other than a folder, or than a link to one, has this name."""
    status = fs.lstat(path)
    if status is None or stat.S_ISDIR(status.st_mode):
        return False
    return not (stat.S_ISLNK(status.st_mode) and fs.lstat(f"{path}/.") is not None)


@functools.cache
def _has_descriptor_paths() -> bool:
    return os.path.isdir(_DESCRIPTORS)  # Linux with /proc


def _require_plain(path: str, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise NotPlainFileError(f"not a regular file ({stat.filemode(status.st_mode)}): {path!a}")
    if status.st_nlink != 1:
        raise NotPlainFileError(f"{status.st_nlink} links instead of one: {path!a}")


@contextlib.contextmanager
def _opened(path: str, flags: int = 0, *, follow: bool = False) -> Iterator[int]:
    try:
        fd = os.open(path, (_OPEN_FLAGS & ~os.O_NOFOLLOW if follow else _OPEN_FLAGS) | flags)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotPlainFileError(f"a symbolic link: {path!a}") from error
        raise
    try:
        yield fd
    finally:
        os.close(fd)


def _make_dir(path: str, mode: int) -> bool:
    """Make one folder; False when somebody else made it meanwhile: its mode is theirs."""
    faults.point("fs.mkdir")
    try:
        os.mkdir(path, mode & 0o777)
    except FileExistsError:
        if not os.path.isdir(path):
            raise
        return False
    with _opened(path, os.O_DIRECTORY) as fd:
        sys_calls.set_mode(fd, mode)  # mkdir obeys the umask and ignores setgid
    return True


def _remove_folder(parent: int, name: str) -> None:
    """Remove the folder `name` in the open folder `parent` with all that is in it, without following any link.

    Whoever made it may have been hostile: no recursion (it may be thousands deep) and no long paths (each subfolder is
    first moved up beside `name`), and folders that forbid their owner to enter are opened all the same.
    """
    waiting = [name]
    moved = 0
    while waiting:
        current = waiting.pop()
        try:
            folder = _open_forbidden(parent, current)
        except FileNotFoundError:
            continue  # it went away by itself
        try:
            with os.scandir(folder) as entries:
                found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
            for inner, is_folder in found:
                with contextlib.suppress(FileNotFoundError):
                    if is_folder:
                        moved += 1
                        aside = f"{TEMP_PREFIX}{os.getpid()}-{threading.get_ident()}-{moved}"
                        os.rename(inner, aside, src_dir_fd=folder, dst_dir_fd=parent)
                        waiting.append(aside)
                    else:
                        os.unlink(inner, dir_fd=folder)
        finally:
            os.close(folder)
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(current, dir_fd=parent)


def _open_forbidden(parent: int, name: str) -> int:
    flags = os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    handle = os.open(name, os.O_PATH | flags, dir_fd=parent)
    try:
        if os.fstat(handle).st_mode & stat.S_IRWXU != stat.S_IRWXU:
            with contextlib.suppress(OSError):
                os.chmod(f"{_DESCRIPTORS}/{handle}", 0o700)
        return os.open(".", os.O_RDONLY | flags, dir_fd=handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _temporary(folder: str, *work: bytes) -> Iterator[tuple[str, int]]:
    """Yield path and descriptor of a new file in `folder`; the body renames it, or it is removed.

    `work` names the work and gives the file its name: the same work, repeated after a crash, replaces what it left.
    Nobody does the same work twice at a time (one lane an inbox).
    """
    temp = os.path.join(folder, TEMP_PREFIX + hashlib.sha256(b"\0".join(work)).hexdigest()[:16])
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temp)
    fd = os.open(temp, _CREATE_FLAGS, 0o600)
    try:
        yield temp, fd
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            os.unlink(temp)
        raise
    finally:
        os.close(fd)


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return os.path.samestat(one, other) and (one.st_size, one.st_mtime_ns, one.st_ctime_ns) == (
        other.st_size,
        other.st_mtime_ns,
        other.st_ctime_ns,
    )


def _is_earlier_copy(source: int, before: os.stat_result, dst: str) -> bool:
    """Tell whether `dst` is what an interrupted move of `source` left: same size, time and bytes."""
    there = os.lstat(dst)
    if not stat.S_ISREG(there.st_mode) or there.st_size != before.st_size:
        return False
    if abs(there.st_mtime_ns - before.st_mtime_ns) > _COARSEST_MTIME_NS:
        return False
    with _opened(dst) as target:
        while True:
            block, other = os.read(source, _COPY_BYTES), os.read(target, _COPY_BYTES)
            if block != other:
                return False
            if not block:
                return True
