"""One place for a worker in the pool, and the tasks that the worker has: the one at work and those handed to it ahead.

A worker that had to wait for the daemon between two pictures of 20 ms was idle for 3 % of the time; so the next task
lies ready at it. What lies there can be taken back (procwatch.turns): when another worker is idle, when the one at work
takes long, when the daemon stops.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from procwatch.model import RenderTask
from procwatch.pool.ports import Death, Report, Running, SlotView
from procwatch.pool.slot import Worker

#: Tasks for so long a time are handed out ahead, by the worker's mean time for one; one at least, and no more than so
#: many. More are handed out when half of them are done, and their attempts recorded in one commit: of pictures of one
#: pixel the ledger took 18,950 writes for 2,400 instead of 41,668, eight at a time; fourteen gain another 1 % at 14 ms a file.
_AHEAD_S: Final = 0.4
_AHEAD_MOST: Final = 14
#: Behind a task that takes longer than this nothing waits.
PATIENCE_S: Final = 1.0


@dataclass(slots=True, eq=False)
class Turn:
    """One task that a worker has. `revoked`: it was taken back, and only its worker's answer is awaited."""

    number: int
    task: RenderTask
    future: Running
    revoked: bool = False

    def revoke(self) -> None:
        """Tell whoever submitted it that it never began."""
        self.revoked = True
        death = Death(kind="revoked", exit="", started=False)
        self.future.set_result(
            Report(slot=self.future.slot, worker_pid=self.future.worker_pid, run_s=0.0, death=death)
        )


@dataclass(slots=True, eq=False)
class Place:
    """A slot of the pool."""

    number: int
    worker: Worker | None = None
    turns: deque[Turn] = field(default_factory=deque)
    failures: int = 0  # starts that failed in a row, for the back-off
    restart_at_s: float | None = None
    leaving: bool = False  # the pool was made smaller: gone after its jobs

    @property
    def is_idle(self) -> bool:
        return self.worker is not None and not self.turns and not self.leaving

    @property
    def has_begun(self) -> bool:
        """Whether the worker is at work on one of its turns."""
        return self.worker is not None and any(self.worker.has_begun(turn.number) for turn in self.turns)

    def ahead(self, now_s: float) -> int:
        """Return how many tasks are wanted behind those that it has; none while half of them are left."""
        room = self.room(now_s)
        return room if room > (room + len(self.turns) - 1) // 2 else 0

    def room(self, now_s: float) -> int:
        """Return how many tasks may be handed out behind those that it has."""
        worker = self.worker
        if worker is None or not self.turns or self.leaving or worker.kill_reason:
            return 0
        if now_s - worker.busy_since_s > PATIENCE_S or any(turn.revoked for turn in self.turns):
            return 0
        most = _AHEAD_MOST
        if worker.mean_run_s > 0.0:
            most = max(1, min(most, int(_AHEAD_S / worker.mean_run_s)))
        elif not worker.jobs:
            most = 1
        # The first of its turns may not have begun either.
        return max(min(most, worker.most_turns - 1) - (len(self.turns) - 1), 0)

    def revoke(self) -> None:
        """Take back what the worker has not begun."""
        by_number = {turn.number: turn for turn in self.turns}
        while self.worker is not None and (number := self.worker.take_back()) is not None:
            turn = by_number.get(number)
            if turn is not None and not turn.revoked:
                turn.revoke()

    def view(self, now_s: float) -> SlotView:
        """Return what status and logs show."""
        worker = self.worker
        busy = worker is not None and bool(self.turns)
        return SlotView(
            slot=self.number,
            worker_pid=worker.pid if worker else None,
            job=self.turns[0].task.job if self.turns and not self.turns[0].revoked else None,
            busy_s=now_s - worker.busy_since_s if worker and busy else 0.0,
            jobs=worker.jobs if worker else 0,
            rss_bytes=worker.rss_bytes if worker else 0,
            ready=tuple(turn.task.job for turn in list(self.turns)[1:] if not turn.revoked),
        )
