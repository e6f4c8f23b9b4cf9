"""What the run before this one left unfinished in one inbox, put in order before anything new is taken."""

import contextlib
import json
import os
import stat
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from procwatch.delivery.fsops import FsOps, NotDurableError, NotPlainFileError
from procwatch.dispatch.journal import Journal, nothing
from procwatch.dispatch.ledger import Ledger
from procwatch.dispatch.ledger_reader import Known, LedgerReader
from procwatch.dispatch.orders import Recovered
from procwatch.dispatch.planning import StagedLostError
from procwatch.dispatch.publishing import Publisher
from procwatch.model import STAGING, InboxSpec, State, slot_folder

#: What is staged for a job that our ledger does not know may belong to another daemon that shares the outbox.
_FOREIGN_STAGING_AGE_S: Final = 86400.0


class Recovery:
    """Runs once an inbox, on its finishing lane, before it is watched."""

    def __init__(
        self, *, spec: InboxSpec, fs: FsOps, journal: Journal, reader: LedgerReader, publisher: Publisher
    ) -> None:
        self._spec = spec
        self._fs = fs
        self._journal = journal
        self._reader = reader
        self._publisher = publisher

    def run(self, *, slots: int, forgiven: bool) -> Recovered:
        """Roll publishing forward, put interrupted attempts back, sweep staging, make the slots' folders.

        `forgiven`: the last run ended in order or with the machine; then the jobs that were running are no suspects.
        """
        # After a reload the same daemon comes here: what it has written before must be seen.
        self._journal.call(nothing)
        rolled, lost = self._roll_forward()
        requeued = self._put_back(forgiven=forgiven) + lost
        swept = self._sweep()
        self.make_slots(slots)
        lines = []
        for job, state, text in self._reader.unlogged(self._spec.name):
            if state in (State.DONE, State.FAILED):
                lines.append((job, f"job.{state}", json.loads(text) | {"recovered": True}))
        return Recovered(
            lines=tuple(lines),
            undisposed=tuple(self._reader.undisposed(self._spec.name)),
            rolled_forward=rolled,
            requeued=requeued,
            swept=swept,
        )

    def make_slots(self, slots: int) -> None:
        """Make the folders into which workers put their files."""
        root = os.path.join(self._spec.outbox, STAGING)
        if self._is_link(root):
            return
        for slot in range(1, slots + 1):
            self._fs.make_dirs(slot_folder(root, slot), 0o700)

    def _roll_forward(self) -> tuple[int, int]:
        rolled = lost = 0
        for known in self._reader.in_state(self._spec.name, State.PUBLISHING):
            try:
                self._finish(known)
                rolled += 1
            except (
                StagedLostError,
                NotDurableError,
                FileExistsError,
                IsADirectoryError,
                NotADirectoryError,
                ValueError,
            ):
                # Not durable before a power cut, or the name was taken since: render it again.
                self._journal.call(_requeue(known, known.suspicion))
                self._give_up_names(known)
                lost += 1
        return rolled, lost

    def _give_up_names(self, known: Known) -> None:
        """A new name under which nothing of ours is may be somebody's by now: it is chosen again, not taken."""
        lost = [
            rendition
            for rendition in self._reader.renditions(known.job)
            if not rendition.replace and not self._publisher.is_in_place(rendition)
        ]
        for rendition in lost:
            self._journal.call(partial(Ledger.disown, outbox=rendition.outbox, key=rendition.key))

    def _finish(self, known: Known) -> None:
        renditions = self._reader.renditions(known.job)
        torn = not self._reader.is_of_this_boot(known.job)  # may be: the intent may be older than their fsync
        if torn and not all(map(self._publisher.is_in_place, renditions)):
            raise StagedLostError("the machine went down before they were in place")
        self._publisher.seal_all(renditions)
        self._publisher.place_all(renditions)
        self._publisher.sync(renditions)
        self._publisher.remove_obsolete(known.job)
        self._journal.call(
            lambda ledger: ledger.done(known.job, worker_pid=known.worker_pid),
            durable=True,
            point="ledger.done",
        )

    def _put_back(self, *, forgiven: bool) -> int:
        count = 0
        for known in self._reader.in_state(self._spec.name, State.RUNNING, State.QUEUED):
            if self._is_gone(known.identity.path):
                self._journal.call(_vanished(known.job))
            elif known.state is State.RUNNING:
                self._journal.call(_requeue(known, known.suspicion + (0 if forgiven else 1)))
                count += 1
        return count

    def _is_gone(self, path: str) -> bool:
        """Whether the file is not there; what only cannot be asked for now is left to a closer look."""
        try:
            with self._fs.beneath(self._spec.path, path) as entry:
                return entry is None or self._fs.lstat(entry) is None
        except NotPlainFileError:
            return True  # a folder on its way is a link by now: what is behind it is not the job's file
        except OSError:
            return False

    def _sweep(self) -> int:
        """Remove what is staged for jobs that are not being published, and what no job of ours can have put there.

        Earlier versions had a folder for each attempt, whose name begins with the job too: it goes as a file does.
        """
        root = os.path.join(self._spec.outbox, STAGING)
        swept = 0
        if self._fs.lstat(root) is None or self._is_link(root):
            return 0
        for slot in self._fs.list_dir(root):
            folder = os.path.join(root, slot)
            if not slot.startswith("slot-") or self._is_link(folder):
                continue
            for name in self._fs.list_dir(folder):
                path = os.path.join(folder, name)
                # One entry that refuses must not keep the inbox from being served: a decoder may have been taken over.
                with contextlib.suppress(OSError):
                    if not _may_be_a_job(name) or self._is_ours(name.partition(".")[0], path):
                        self._fs.remove_tree(path)
                        swept += 1
        return swept

    def _is_link(self, path: str) -> bool:
        """Whether somebody who may write to the outbox wants our folders to be made, and swept, elsewhere."""
        status = self._fs.lstat(path)
        return status is not None and stat.S_ISLNK(status.st_mode)

    def _is_ours(self, job: str, path: str) -> bool:
        known = self._reader.job(job)
        if known is not None:
            return known.identity.inbox == self._spec.name and known.state is not State.PUBLISHING
        status = self._fs.lstat(path)
        return status is not None and time.time() - status.st_mtime > _FOREIGN_STAGING_AGE_S


def _may_be_a_job(name: str) -> bool:
    return name.isascii() and name.partition(".")[0].isalnum()


def _requeue(known: Known, suspicion: int) -> Callable[[Ledger], None]:
    return lambda ledger: ledger.requeue(known.job, deaths=known.deaths, suspicion=suspicion)


def _vanished(job: str) -> Callable[[Ledger], None]:
    return lambda ledger: ledger.vanished(job)
