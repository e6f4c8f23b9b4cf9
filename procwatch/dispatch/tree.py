"""Walk folders that people and other programs may change meanwhile, and measure them.

No link below a root is ever followed, also where a folder was when it was found.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from procwatch.fdopen import DIRECTORY_FLAGS, open_at, open_root

#: Says of an open folder whether it is the one that is meant: its name may lead elsewhere by now.
IsRoot = Callable[[int], bool]

#: What a folder says that became a link, or lies deeper than any path of ours can.
_NOT_OURS: Final = (errno.ELOOP, errno.ENAMETOOLONG)


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """The entries of one folder that are no folders. `folder` is relative to the root, "" for the root itself."""

    folder: str
    sizes: dict[str, int]  # name → bytes

    def path(self, name: str) -> str:
        return f"{self.folder}/{name}" if self.folder else name


def folders_below(root: str, *, skip: frozenset[str] = frozenset(), start: str = "") -> Iterator[Files]:
    """Yield the files of every folder below `root`, one folder at a time; what vanishes is passed over.

    Absolute folders in `skip` are left out, so that an archive inside an outbox is not taken for output; `start` is
    the folder below `root` to begin with. Raises OSError for a folder that refuses: an answer that leaves files out
    would be a wrong one.
    """
    pending = [start]
    while pending:
        folder = pending.pop()
        with _unless_gone(folder):
            sizes = {name: status.st_size for name, status in _files_in(root, folder, pending, skip)}
            yield Files(folder=folder, sizes=sizes)


def totals_below(
    root: str, *, skip: frozenset[str] = frozenset(), uncounted: str = "", is_root: IsRoot | None = None
) -> Iterator[tuple[int, int]]:
    """Yield (files, bytes) of every folder below `root`, as folders_below() does, without remembering any name.

    Files whose name ends with `uncounted` are none, but have their bytes. Between two folders nothing is held open, so
    that whoever measures may rest there. Raises OSError as well when
    `root` has come to lead to a folder that `is_root` denies.
    """
    pending = [""]
    while pending:
        folder = pending.pop()
        files = total = 0
        with _unless_gone(folder):
            for name, status in _files_in(root, folder, pending, skip, is_root):
                files += not (uncounted and name.endswith(uncounted))
                total += status.st_size
        yield files, total


def files_below(root: str, skip: frozenset[str] = frozenset()) -> Iterator[tuple[str, os.stat_result]]:
    """Yield path, relative to `root`, and status of all below it that is no folder. Folders that refuse are passed over.

    So are those in `skip`, which are whole paths.

    Not os.walk: on CPython 3.11 it recurses (gh-89727), so that a thousand folders in each other, which anybody can
    make, end in a RecursionError; and it remembers every name of a folder.
    """
    pending = [""]
    while pending:
        folder = pending.pop()
        with contextlib.suppress(OSError):
            for name, status in _files_in(root, folder, pending, skip):
                yield f"{folder}/{name}" if folder else name, status


def folders_without_files(root: str) -> Iterator[str]:
    """Yield the folders below `root`, relative to it, that hold nothing or only folders; those inside others first."""
    found: list[str] = []
    pending = [""]
    while pending:
        folder = pending.pop()
        with contextlib.suppress(OSError):
            has_files = False
            for entry in _entries_of(root, folder):  # their kind alone: a status of each would cost far more
                if not entry.is_dir(follow_symlinks=False):
                    has_files = True
                else:
                    pending.append(f"{folder}/{entry.name}" if folder else entry.name)
            if folder and not has_files:
                found.append(folder)
    yield from reversed(found)


@contextlib.contextmanager
def _unless_gone(folder: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        if not folder or error.errno not in _NOT_OURS:
            raise


def _files_in(
    root: str, folder: str, pending: list[str], skip: frozenset[str], is_root: IsRoot | None = None
) -> Iterator[tuple[str, os.stat_result]]:
    """Yield name and status of what is no folder; folders go to `pending`."""
    for entry in _entries_of(root, folder, is_root):
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(status.st_mode):
            yield entry.name, status
            continue
        path = f"{folder}/{entry.name}" if folder else entry.name
        if os.path.join(root, path) not in skip:
            pending.append(path)


def _entries_of(root: str, folder: str, is_root: IsRoot | None = None) -> Iterator["os.DirEntry[str]"]:
    descriptor = _open_folder(root, folder, is_root)
    try:
        with os.scandir(descriptor) as entries:
            yield from entries
    finally:
        os.close(descriptor)


def _open_folder(root: str, folder: str, is_root: IsRoot | None) -> int:
    root_fd = open_root(root, is_root)
    try:
        return open_at(root_fd, os.fsencode(folder) or b".", DIRECTORY_FLAGS)
    except OSError as error:
        error.filename = os.path.join(root, folder)
        raise
    finally:
        os.close(root_fd)


def size_of(path: str) -> int | None:
    """Return the bytes of a regular file, None when it is not there or is none. Raises OSError where we may not look."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
