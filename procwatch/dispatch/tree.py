"""Walk folders that people and other programs may change meanwhile, and measure them."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """The entries of one folder that are no folders. `folder` is relative to the root, "" for the root itself."""

    folder: str
    sizes: dict[str, int]  # name → bytes

    def path(self, name: str) -> str:
        return f"{self.folder}/{name}" if self.folder else name


def folders_below(root: str, *, skip: frozenset[str] = frozenset()) -> Iterator[Files]:
    """Yield the files of every folder below `root`, one folder at a time; what vanishes is passed over.

    Absolute folders in `skip` are left out, so that an archive inside an outbox is not taken for output. Raises
    OSError for a folder that refuses: an answer that leaves files out would be a wrong one.
    """
    pending = [""]
    while pending:
        folder = pending.pop()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            yield Files(folder=folder, sizes=dict(_files_in(root, folder, pending, skip)))


def totals_below(root: str, *, skip: frozenset[str] = frozenset()) -> Iterator[tuple[int, int]]:
    """Yield (files, bytes) of every folder below `root`, as folders_below() does, without remembering any name.

    Between two folders nothing is held open, so that whoever measures may rest there.
    """
    pending = [""]
    while pending:
        folder = pending.pop()
        files = total = 0
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for _, size in _files_in(root, folder, pending, skip):
                files += 1
                total += size
        yield files, total


def files_below(root: str) -> Iterator[str]:
    """Yield the path of everything below `root` that is no folder. A folder that refuses is passed over.

    Not os.walk: on CPython 3.11 it recurses (gh-89727), so that a thousand folders in each other, which anybody can
    make, end in a RecursionError; and it remembers every name of a folder.
    """
    pending = [""]
    while pending:
        folder = pending.pop()
        with contextlib.suppress(OSError):
            for name, _ in _files_in(root, folder, pending, frozenset()):
                yield os.path.join(root, folder, name)


def folders_without_files(root: str) -> Iterator[str]:
    """Yield the folders below `root`, relative to it, that hold nothing or only folders; those inside others first."""
    found: list[str] = []
    pending = [""]
    while pending:
        folder = pending.pop()
        with contextlib.suppress(OSError), os.scandir(os.path.join(root, folder)) as entries:
            has_files = False
            for entry in entries:
                if not entry.is_dir(follow_symlinks=False):
                    has_files = True
                else:
                    pending.append(f"{folder}/{entry.name}" if folder else entry.name)
            if folder and not has_files:
                found.append(folder)
    yield from reversed(found)


def _files_in(root: str, folder: str, pending: list[str], skip: frozenset[str]) -> Iterator[tuple[str, int]]:
    """Yield name and bytes of what is no folder; folders go to `pending`."""
    with os.scandir(os.path.join(root, folder) if folder else root) as entries:
        for entry in entries:
            status = _status(entry)
            if status is None:
                continue
            if not stat.S_ISDIR(status.st_mode):
                yield entry.name, status.st_size
                continue
            path = f"{folder}/{entry.name}" if folder else entry.name
            if os.path.join(root, path) not in skip:
                pending.append(path)


def _status(entry: "os.DirEntry[str]") -> os.stat_result | None:
    try:
        return entry.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # deeper than PATH_MAX: no path of ours is
            return None
        raise


def size_of(path: str) -> int | None:
    """Return the bytes of a regular file, None when it is not there or is none. Raises OSError where we may not look."""
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
