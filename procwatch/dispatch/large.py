"""Jobs that wait for memory: told by a worker what they need, taken when the admission says that it fits."""

from collections.abc import Callable, Sequence

from procwatch.dispatch.job import Job
from procwatch.pool.admission import Budget, Deferred, choose, is_over, may_start
from procwatch.units import format_size


class LargeJobs:
    """The deferred jobs in the order in which they came, and what the running ones hold."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._waiting: dict[str, tuple[Job, Deferred]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def set_budget(self, budget: Budget) -> None:
        """Take over what a reload allows; grants of running jobs stay as they are."""
        self._budget = budget

    def refusal(self, needed_bytes: int) -> str:
        """Return why a job that needs so much can never run, or an empty text."""
        if not is_over(self._budget, needed_bytes):
            return ""
        needed, total = format_size(needed_bytes), format_size(self._budget.total_bytes)
        return f"rendering takes about {needed}, all workers together may take {total}: raise [limits] memory"

    def add(self, job: Job, now_s: float) -> None:
        self._waiting[job.id] = job, Deferred(job=job.id, needed_bytes=job.grant_bytes, since_s=now_s)

    def take(self, running: Sequence[Job], now_s: float, may_run: Callable[[Job], bool]) -> Job | None:
        """Return the job to start now, None when none fits."""
        if not self._waiting:
            return None
        waiting = [deferred for job, deferred in self._waiting.values() if may_run(job)]
        chosen = choose(self._budget, self._held(running), waiting, now_s)
        return self._waiting.pop(chosen.job)[0] if chosen is not None else None

    def lets_start(self, running: Sequence[Job], now_s: float, is_paused: Callable[[str], bool]) -> bool:
        """Whether a job that asks for nothing in particular may start; nothing is kept free for a paused inbox."""
        waiting = [deferred for job, deferred in self._waiting.values() if not is_paused(job.inbox)]
        return may_start(self._budget, self._held(running), waiting, now_s)

    def keep(self, is_known: Callable[[Job], bool]) -> None:
        """Forget the jobs that nobody knows any more, such as those of an inbox that is no longer served."""
        if self._waiting:
            self._waiting = {id_: pair for id_, pair in self._waiting.items() if is_known(pair[0])}

    def _held(self, running: Sequence[Job]) -> list[int]:
        return [max(job.grant_bytes, self._budget.grant_bytes) for job in running]
