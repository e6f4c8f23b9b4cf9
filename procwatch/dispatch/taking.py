"""Take an original out of the inbox: the very file that the job was about, whatever has its name by now.

Between a look at a name and the rename of it, whoever may write the inbox can put something else there. So the rename
goes to a name that nobody uses; what arrived is checked there; and something else goes back, under the next free name
if its own is taken. Nobody's new file is archived unseen or deleted, and no link ever gets a name in the archive.
"""

import errno
import os
import stat

from procwatch.delivery.fsops import HELD_PREFIX, FsOps, NotPlainFileError
from procwatch.delivery.naming import alternatives
from procwatch.dispatch.orders import UNKNOWN_INODE, DisposeOrder
from procwatch.model import Fingerprint, inode_of


class Taker:
    """Every method runs on the finishing lane. `source` is a path from Folders.beneath()."""

    def __init__(self, fs: FsOps) -> None:
        self._fs = fs
        self._unplaced: set[str] = set()  # jobs whose original is held still, because it could not be placed

    def take(self, order: DisposeOrder, source: str, root: str | None) -> str:
        """Hold the original: in `root`, or beside where it was for another file system and for deletion (no root).

        Returns its path there. NotPlainFileError when something else had its name; that is back in the inbox then.
        """
        beside = os.path.dirname(source)
        held = self._name(order, root or beside)
        try:
            self._fs.rename_noreplace(source, held)
        except OSError as error:
            if error.errno != errno.EXDEV:  # what two mounts answer, also when they are of one file system
                raise
            held = self._name(order, beside)
            self._fs.rename_noreplace(source, held)
        self._check(order, held, source)
        return held

    def find(self, order: DisposeOrder, source: str | None, root: str | None) -> str | None:
        """Return where the original has been held since a crash, or since it could not be placed; None usually."""
        if order.fingerprint.inode != UNKNOWN_INODE and order.job not in self._unplaced:
            return None
        for folder in (root, os.path.dirname(source) if source else None):
            held = self._name(order, folder) if folder is not None else None
            status = self._fs.lstat(held) if held is not None else None
            if held is not None and status is not None and _has_identity(order, status):
                return held
        return None

    def put_back(self, order: DisposeOrder, held: str, source: str) -> None:
        """The original cannot leave the inbox now: give it its name again, or remember where it is."""
        try:
            self._return(held, source)
            self._unplaced.discard(order.job)
        except OSError:
            self._unplaced.add(order.job)

    def placed(self, order: DisposeOrder) -> None:
        self._unplaced.discard(order.job)

    def _check(self, order: DisposeOrder, held: str, source: str) -> None:
        status = self._fs.lstat(held)
        if (
            status is not None
            and stat.S_ISREG(status.st_mode)
            and inode_of(status) == order.fingerprint.inode
        ):
            return
        self._return(held, source)
        raise NotPlainFileError(f"something else took its name: {order.path!a}")

    def _return(self, held: str, source: str) -> None:
        folder, name = os.path.split(source)
        for free in alternatives(name, "back"):
            try:
                self._fs.rename_noreplace(held, os.path.join(folder, free))
                return
            except FileExistsError:
                continue
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), source)

    @staticmethod
    def _name(order: DisposeOrder, folder: str) -> str:
        return os.path.join(folder, HELD_PREFIX + order.job)


def _has_identity(order: DisposeOrder, status: os.stat_result) -> bool:
    before, now = order.fingerprint, Fingerprint.of(status)
    return stat.S_ISREG(status.st_mode) and (now.size, now.mtime_ns) == (before.size, before.mtime_ns)
