"""A WorkerPool without processes: every task runs in submit(), deaths and timeouts happen on request."""

from collections.abc import Callable
from typing import Final

from procwatch.model import RenderResult, RenderTask
from procwatch.pool.ports import Death, Report, Running, SlotView, WorkerEntry

#: Real pids are smaller: /proc/sys/kernel/pid_max is at most 2**22.
_FIRST_PID: Final = 2**22 + 1

Renderer = Callable[[RenderTask, int], RenderResult]


class InlinePool:
    """Implements WorkerPool for tests. A future is done when submit() returns.

    `renderer` gets (task, slot), by default it is the one of a real worker. `tasks` holds all that were submitted.
    A "worker" that dies is replaced by one with the next pid, as in the real pool.
    """

    def __init__(self, renderer: Renderer | None = None, *, workers: int = 1) -> None:
        self._renderer = renderer or _real_renderer()
        self._pids = {slot: _FIRST_PID + slot for slot in range(1, workers + 1)}
        self._next_pid = _FIRST_PID + workers + 1
        self._jobs = dict.fromkeys(self._pids, 0)
        self._fates: dict[str, list[Death]] = {}
        self._turn = 0
        self.tasks: list[RenderTask] = []
        self.is_started = False
        self.is_degraded = False

    def die(self, path: str, *, exit_text: str = "SIGKILL", started: bool = True, times: int = 1) -> None:
        """Let the worker die of the next `times` tasks with this path."""
        death = Death(kind="crashed", exit=exit_text, started=started)
        self._fates.setdefault(path, []).extend([death] * times)

    def time_out(self, path: str, *, times: int = 1) -> None:
        """Let the next `times` tasks with this path exceed the timeout."""
        death = Death(kind="timeout", exit="SIGKILL", started=True)
        self._fates.setdefault(path, []).extend([death] * times)

    @property
    def size(self) -> int:
        return len(self._pids)

    @property
    def idle(self) -> int:
        return self.size if self.is_started and not self.is_degraded else 0

    @property
    def ahead(self) -> int:
        return 0

    @property
    def room(self) -> int:
        return self.idle

    def start(self) -> None:
        self.is_started = True

    def submit(self, task: RenderTask) -> Running:
        assert self.idle, "submit() is only for an idle worker"
        self.tasks.append(task)
        self._turn += 1
        slot = 1 + self._turn % self.size
        pid = self._pids[slot]
        running = Running(slot, pid)
        fates = self._fates.get(task.path)
        if fates:
            report = Report(slot=slot, worker_pid=pid, run_s=0.0, death=fates.pop(0))
            self._replace(slot)
        else:
            report = Report(slot=slot, worker_pid=pid, run_s=0.0, result=self._renderer(task, slot))
            self._jobs[slot] += 1
        running.set_result(report)
        return running

    def _replace(self, slot: int) -> None:
        self._pids[slot], self._next_pid = self._next_pid, self._next_pid + 1
        self._jobs[slot] = 0

    def revoke(self) -> None:
        """Every task was begun when submit returned."""

    def abandon(self, job: str) -> None:
        """An inline pool's task is over when submit returns."""

    def renew(self, reason: str, entry: WorkerEntry | None = None) -> None:
        for slot in self._pids:
            self._replace(slot)

    def resize(self, workers: int, *, timeout_s: float) -> None:
        """An inline pool runs one task at a time, however many workers it plays."""

    def tick(self, now_s: float) -> float | None:
        return None

    def view(self, now_s: float) -> list[SlotView]:
        return [
            SlotView(slot=slot, worker_pid=pid, job=None, busy_s=0.0, jobs=self._jobs[slot], rss_bytes=0)
            for slot, pid in self._pids.items()
        ]

    def stop(self) -> None:
        self.is_started = False


def _real_renderer() -> Renderer:
    from procwatch.worker.task import render

    return render
