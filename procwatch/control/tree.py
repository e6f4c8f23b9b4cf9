"""Walk folders that people and other programs may change meanwhile, and measure them."""

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
        sizes: dict[str, int] = {}
        try:
            with os.scandir(os.path.join(root, folder) if folder else root) as entries:
                for entry in entries:
                    status = _status(entry)
                    path = f"{folder}/{entry.name}" if folder else entry.name
                    if status is None:
                        continue
                    if not stat.S_ISDIR(status.st_mode):
                        sizes[entry.name] = status.st_size
                    elif os.path.join(root, path) not in skip:
                        pending.append(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        yield Files(folder=folder, sizes=sizes)


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
