"""What the daemon itself sees of the trouble that a worker told of. Blocks, so each look has a short thread of its own.

A worker may have been taken over: what it says may cost its own file time, and an inbox only what the daemon sees too.
"""

import contextlib
import errno
import os
import secrets
from typing import Final

from procwatch.delivery.sys_calls import write_all
from procwatch.fdopen import open_beneath

_MIB: Final = 1024**2
#: With less free than this, a large result may not fit where a small one does.
_SCARCE_BYTES: Final = 1024 * _MIB
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
#: Of the source: these concern the medium, everything else the file.
_MEDIUM: Final = frozenset({errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ENFILE, errno.EMFILE})

Inode = tuple[int, int]


def trouble(root: str, path: str, staging_root: str, claimed: int | None) -> OSError | None:
    """Return what hinders the daemon too: to read the source, or to write a megabyte where workers do."""
    try:
        _read(root, path)
        _write(staging_root, claimed)
    except OSError as error:
        return error
    return None


def folders(root: str, staging_root: str, slot: int) -> tuple[Inode | None, Inode | None]:
    """Return which folders a worker would find: the inbox, and the slot's staging, None where one cannot be opened."""
    outbox, name = os.path.split(staging_root)
    found: list[Inode | None] = [None, None]
    with contextlib.suppress(OSError):
        status = os.stat(root)
        found[0] = status.st_dev, status.st_ino
    with contextlib.suppress(OSError):
        descriptor = open_beneath(outbox, f"{name}/slot-{slot}", _FOLDER)
        try:
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        found[1] = status.st_dev, status.st_ino
    return found[0], found[1]


def _read(root: str, path: str) -> None:
    try:
        descriptor = open_beneath(root, path)
        try:
            os.read(descriptor, 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _MEDIUM:
            raise


def _write(staging_root: str, claimed: int | None) -> None:
    outbox, name = os.path.split(staging_root)
    folder = open_beneath(outbox, name, _FOLDER)
    try:
        space = os.fstatvfs(folder)
        if claimed == errno.ENOSPC and space.f_bavail * space.f_frsize < _SCARCE_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        probe = f"probe-{secrets.token_hex(6)}"
        descriptor = os.open(probe, _NEW, 0o600, dir_fd=folder)
        try:
            os.unlink(probe, dir_fd=folder)
            write_all(descriptor, bytes(_MIB))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    finally:
        os.close(folder)
