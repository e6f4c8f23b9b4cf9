"""The file system of this machine; each effect has a fault point."""

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from typing import Final

from procwatch import faults
from procwatch.delivery import sys_calls
from procwatch.delivery.fsops import TEMP_PREFIX, Folders, NotDurableError, NotPlainFileError
from procwatch.delivery.real_folders import RealFolders, remove_folder

_OPEN_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_CREATE_FLAGS: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_COPY_BYTES: Final = 1024 * 1024
#: FAT keeps even seconds only: two copies of one file may differ by this much.
_COARSEST_MTIME_NS: Final = 2_000_000_000


class RealFs:
    """Implements FsOps. Has no state; may be used by any thread."""

    @contextlib.contextmanager
    def beneath(self, root: str, path: str) -> Iterator[str | None]:
        with self.folders(root) as folders, folders.beneath(path) as entry:
            yield entry

    @contextlib.contextmanager
    def folders(self, root: str) -> Iterator[Folders]:
        folders = RealFolders(root)
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

    def same_bytes(self, one: str, other: str) -> bool:
        try:
            with _opened(one) as first, _opened(other) as second:
                here, there = os.fstat(first), os.fstat(second)
                if not (stat.S_ISREG(here.st_mode) and stat.S_ISREG(there.st_mode)):
                    return False
                return here.st_size == there.st_size and _same_content(first, second)
        except (FileNotFoundError, NotADirectoryError, PermissionError, NotPlainFileError):
            return False

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
            remove_folder(parent, os.path.basename(path))


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
        return _same_content(source, target)


def _same_content(one: int, other: int) -> bool:
    """Tell whether what follows in two files is the same."""
    while True:
        block = os.read(one, _COPY_BYTES)
        if block != os.read(other, _COPY_BYTES):
            return False
        if not block:
            return True
