"""What keeps an inbox well for months: room on the disk, no litter of empty folders, old originals removed if asked.

Every function runs on the inbox's housekeeping lane and leaves alone what it does not understand.
"""

import contextlib
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from procwatch.delivery.fsops import HELD_PREFIX, FsOps, NotPlainFileError
from procwatch.dispatch.journal import Journal
from procwatch.dispatch.lane import Lane
from procwatch.dispatch.ledger import Ledger
from procwatch.dispatch.ledger_reader import Known
from procwatch.dispatch.loop import Loop
from procwatch.dispatch.tree import IsRoot, files_below, folders_without_files
from procwatch.fdopen import open_root
from procwatch.model import InboxSpec

#: A subfolder of the inbox that has been empty for so long was left behind by its files.
EMPTY_FOLDER_AGE_S: Final = 600.0
#: How often room is checked, and how often everything else is looked after.
CHECK_ROOM_EVERY_S: Final = 5.0
TIDY_EVERY_S: Final = 60.0
#: Work resumes when there is this much more than min_free, so that it does not flicker at the edge.
_ROOM_AGAIN: Final = 1.1
#: Rows of old jobs forgotten in one transaction, so that pruning never holds up the work.
_PRUNE_ROWS: Final = 500
_STUCK_ROWS: Final = 1000


class RoomEvents(Protocol):
    """Told on the loop when an inbox has too little room, and when it has enough again."""

    def room_short(self, spec: InboxSpec, folder: str, free_bytes: int) -> None: ...
    def room_again(self, spec: InboxSpec, free_bytes: int) -> None: ...
    def unstuck(self, spec: InboxSpec, known: Known) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Keep:
    """What the configuration asks for; None switches it off."""

    archive_s: float | None
    failed_s: float | None
    min_free_bytes: int | None
    ledger_s: float | None


class Housekeeping:
    """Looks after one inbox on a lane of its own, at its own pace."""

    def __init__(
        self,
        *,
        spec: InboxSpec,
        keep: Keep,
        fs: FsOps,
        journal: Journal,
        loop: Loop,
        lane: Lane,
        is_inbox: IsRoot,
        events: RoomEvents,
        apart: Callable[[], frozenset[str]] = frozenset,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        """`is_inbox` says of an open folder whether it is the inbox that is served; `apart` are all folders of ours."""
        self._spec = spec
        self._keep = keep
        self._fs = fs
        self._journal = journal
        self._loop = loop
        self._lane = lane
        self._is_inbox = is_inbox
        self._events = events
        self._apart = apart
        self._wall_s = wall_s
        self._short = False
        self._next_tidy_s = 0.0
        self._closed = False

    def start(self) -> None:
        self._lane.submit(self._round)

    def close(self) -> None:
        self._closed = True
        self._lane.close(timeout_s=0.0)

    def _round(self) -> None:
        """Lane: check room; tidy when it is time; come again."""
        try:
            self.check_room()
            if self._loop.clock() >= self._next_tidy_s:
                self.tidy()
                self._next_tidy_s = self._loop.clock() + TIDY_EVERY_S
        except OSError:
            pass  # a folder that is away: the watch tells, here there is nothing to do
        self._loop.post(self._again)

    def _again(self) -> None:
        if not self._closed:
            self._loop.call_later(CHECK_ROOM_EVERY_S, self._lane.submit, self._round)

    def check_room(self) -> None:
        """Compare the free space of outbox, archive and failed folder with min_free."""
        wanted = self._keep.min_free_bytes
        if wanted is None:
            return
        folder, free = min(
            (
                (folder, free_bytes(folder))
                for folder in (self._spec.outbox, self._spec.archive, self._spec.failed)
            ),
            key=lambda pair: pair[1],
        )
        if not self._short and free < wanted:
            self._short = True
            self._loop.post(self._events.room_short, self._spec, folder, free)
        elif self._short and free >= wanted * _ROOM_AGAIN:
            self._short = False
            self._loop.post(self._events.room_again, self._spec, free)

    def tidy(self) -> None:
        """Remove empty folders of the inbox, old originals, old rows of the ledger; try stuck originals again."""
        now_s = self._wall_s()
        self.retry_stuck()
        if self._spec.recursive and self._spec.on_success != "keep":
            self.remove_empty_folders(self._spec.path, now_s)
        if self._keep.archive_s is not None:
            self.remove_old_files(self._spec.archive, now_s - self._keep.archive_s)
        if self._keep.failed_s is not None:
            self.remove_old_files(self._spec.failed, now_s - self._keep.failed_s)
        if self._keep.ledger_s is not None:
            self.forget_old_jobs(now_s - self._keep.ledger_s)

    def retry_stuck(self) -> int:
        """Hand back originals that could not be removed and now can, since somebody followed the hint."""
        stuck = self._journal.call(lambda ledger: ledger.stuck(self._spec.name, _STUCK_ROWS))
        free = [known for known in stuck if _is_movable(os.path.join(self._spec.path, known.identity.path))]
        for known in free:
            self._loop.post(self._events.unstuck, self._spec, known)
        return len(free)

    def remove_empty_folders(self, root: str, now_s: float) -> int:
        """Remove subfolders of the inbox that have been empty for a while; deepest first. Return how many."""
        removed = 0
        try:
            descriptor = open_root(root, self._is_inbox)
        except OSError:
            return 0  # the watch tells
        try:
            held = f"/proc/self/fd/{descriptor}"  # whatever becomes of its name meanwhile
            for folder in folders_without_files(held):
                # One that holds a folder is not removed; or somebody just put something there, or it is not ours.
                with contextlib.suppress(OSError, NotPlainFileError):
                    removed += self._remove_empty_folder(held, folder, now_s)
        finally:
            os.close(descriptor)
        return removed

    def _remove_empty_folder(self, root: str, path: str, now_s: float) -> bool:
        """Not by its name alone: whoever writes the inbox may have put a link in its way since we looked."""
        with self._fs.beneath(root, path) as folder:
            status = None if folder is None else self._fs.lstat(folder)
            if folder is None or status is None or now_s - status.st_mtime < EMPTY_FOLDER_AGE_S:
                return False
            self._fs.rmdir(folder)
            return True

    def remove_old_files(self, root: str, before_s: float) -> int:
        """Remove regular files that came to `root` before the time; not what lies in another folder of ours inside it."""
        removed = 0
        for path, status in files_below(root, self._apart()):
            if os.path.basename(path).startswith(HELD_PREFIX):
                continue  # an original on its way
            # ctime: moving a file here set it, while mtime is still that of the camera.
            if stat.S_ISREG(status.st_mode) and status.st_ctime < before_s:
                with contextlib.suppress(OSError, NotPlainFileError):
                    removed += self._remove_old_file(root, path, before_s)
        return removed

    def _remove_old_file(self, root: str, path: str, before_s: float) -> bool:
        """Not by its name alone: since we looked, another file may have come there, or a link in its way."""
        with self._fs.beneath(root, path) as file:
            status = None if file is None else self._fs.lstat(file)
            if file is None or status is None or status.st_ctime >= before_s:
                return False
            self._fs.unlink(file, missing_ok=True)
            return True

    def forget_old_jobs(self, before_s: float) -> int:
        """Forget ended jobs from before the time whose original has left the inbox; names in use stay owned."""
        forgotten = 0
        while not self._closed:
            jobs = self._journal.call(lambda ledger: ledger.prune(self._spec.name, before_s, _PRUNE_ROWS))
            forgotten += len(jobs)
            self._free_names(jobs)
            if len(jobs) < _PRUNE_ROWS:
                break
        return forgotten

    def _free_names(self, jobs: list[str]) -> None:
        """Give up names of forgotten jobs whose files somebody has taken out of the outbox."""
        owned = self._journal.call(lambda ledger: ledger.names_of(jobs))
        free = [
            (outbox, key) for outbox, key, name in owned if self._fs.lstat(os.path.join(outbox, name)) is None
        ]
        if free:
            self._journal.call(lambda ledger: _disown(ledger, free))


def _is_movable(path: str) -> bool:
    """Whether its folder lets us take the file away, or the file is gone already."""
    return os.access(os.path.dirname(path), os.W_OK | os.X_OK) or not os.path.lexists(path)


def _disown(ledger: Ledger, names: list[tuple[str, str]]) -> None:
    for outbox, key in names:
        ledger.disown(outbox, key)


def free_bytes(folder: str) -> int:
    """Return what an unprivileged process may still write below the folder, in bytes."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize
