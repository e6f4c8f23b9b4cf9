"""Folders by descriptor: below a root that others write to, and down a tree that somebody hostile may have made."""

import contextlib
import errno
import functools
import os
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from procwatch.delivery.fsops import TEMP_PREFIX, NotPlainFileError
from procwatch.fdopen import open_beneath

_DESCRIPTORS: Final = "/proc/self/fd"
#: Folders that a batch keeps open: more cost descriptors, fewer cost calls where a batch is of many folders.
_MOST_KEPT: Final = 16
#: For how long: somebody may move the folder out of the inbox, or want to unmount it, while a batch copies gigabytes.
_KEPT_S: Final = 1.0


@dataclass(slots=True)
class _Kept:
    descriptor: int
    opened_s: float
    uses: int = 0


class RealFolders:
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


@functools.cache
def _has_descriptor_paths() -> bool:
    return os.path.isdir(_DESCRIPTORS)  # Linux with /proc


def remove_folder(parent: int, name: str) -> None:
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
