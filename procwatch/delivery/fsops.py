"""Every effect that delivery has on a file system, each behind one method: the port.

Paths are absolute `str`. Folders on the way may be symbolic links (people link outboxes to other disks); the last
component is never followed. Whoever may write an inbox can swap folders in it at any time: what is there is handled
`beneath` it. Not defended: the same in an outbox.
"""

import os
import stat
from contextlib import AbstractContextManager
from typing import Final, Protocol

#: Files on their way to a name start like this. What a crash leaves of one goes when the same work is done again;
#: anyone may remove it.
TEMP_PREFIX: Final = ".procwatch-tmp-"

#: An original on its way out of an inbox has such a name for a moment. It is somebody's only copy: nobody removes it.
HELD_PREFIX: Final = ".procwatch-held-"


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
    """The port: real_fs.RealFs, and MemoryFs in procwatch.testing. Errors are OSError, unless a method says otherwise."""

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

    def same_bytes(self, one: str, other: str) -> bool:
        """Whether both are regular files with the same content; False when one is not there."""

    def lstat(self, path: str) -> os.stat_result | None:
        """Return the status of `path` itself, None when there is nothing."""

    def list_dir(self, path: str) -> list[str]:
        """Return the names in a folder, sorted."""

    def remove_tree(self, path: str) -> None:
        """Remove whatever is at `path`, never following a symbolic link; nothing there is fine."""


def bars_folder(fs: FsOps, path: str) -> bool:
    """Return whether something other than a folder, or than a link to one, has this name."""
    status = fs.lstat(path)
    if status is None or stat.S_ISDIR(status.st_mode):
        return False
    return not (stat.S_ISLNK(status.st_mode) and fs.lstat(f"{path}/.") is not None)
