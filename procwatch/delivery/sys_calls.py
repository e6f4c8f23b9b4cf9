"""Small system calls and what stands in where a file system lacks them: renameat2(2), links, modes."""

import contextlib
import ctypes
import errno
import functools
import os
import stat
from collections.abc import Callable
from typing import Final

_AT_FDCWD: Final = -100
_RENAME_NOREPLACE: Final = 1
_PLACEHOLDER_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
#: What file systems and kernels answer that lack the flag, or hard links. EPERM and EACCES come also from
#: fs.protected_hardlinks, which forbids linking files of others.
_NO_FLAGS: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EACCES})
#: What file systems answer that keep no modes (FAT, some SMB and FUSE mounts).
_NO_MODES: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS})


def rename_noreplace(src: str, dst: str) -> None:
    """Rename unless `dst` exists (FileExistsError): by renameat2, else by a link, else over a placeholder."""
    try:
        renameat2_noreplace(src, dst)
    except OSError as error:
        if error.errno not in _NO_FLAGS:
            raise
        rename_by_link(src, dst)


def renameat2_noreplace(src: str, dst: str) -> None:
    """Rename atomically unless `dst` exists (FileExistsError). ENOSYS or EINVAL where that cannot be asked for."""
    source, target = os.fsencode(src), os.fsencode(dst)
    if b"\0" in source + target:
        raise ValueError("embedded null byte")  # C would stop reading there and rename something else
    call = _renameat2()
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), src, None, dst)
    if call(_AT_FDCWD, source, _AT_FDCWD, target, _RENAME_NOREPLACE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), src, None, dst)


@functools.cache
def _renameat2() -> Callable[..., int] | None:
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # glibc 2.28; older musl has none
    if call is None:
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    call.restype = ctypes.c_int
    return call  # type: ignore[no-any-return]


def rename_by_link(src: str, dst: str) -> None:
    """Rename without replacing where the kernel cannot: link and unlink, so that `dst` is never half there."""
    try:
        os.link(src, dst, follow_symlinks=False)
    except FileExistsError:
        if not os.path.samestat(os.lstat(src), os.lstat(dst)):
            raise  # else a crash came between link and unlink
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        rename_over_placeholder(src, dst)
        return
    os.unlink(src)


def rename_over_placeholder(src: str, dst: str) -> None:
    """Reserve `dst` and rename over it: a crash between the two leaves an empty `dst` (FAT without renameat2)."""
    if stat.S_ISDIR(os.lstat(src).st_mode):
        os.mkdir(dst)
        remove = os.rmdir
    else:
        os.close(os.open(dst, _PLACEHOLDER_FLAGS, 0o600))
        remove = os.unlink
    try:
        os.rename(src, dst)
    except BaseException:
        with contextlib.suppress(OSError):
            remove(dst)
        raise


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def set_mode(fd: int, mode: int) -> bool:
    """Set the mode; False where the file system keeps none."""
    try:
        os.fchmod(fd, mode)
    except OSError as error:
        if error.errno not in _NO_MODES:
            raise
        return False
    return True
