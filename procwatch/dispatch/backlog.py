"""The backlog: jobs that are ready to run, served fairly by inbox; suspects run alone."""

from collections import OrderedDict, deque
from typing import Final

from procwatch.dispatch.job import Job

#: A reason for a pause that nobody has to be told: the disk takes what is finished already, which lasts a moment.
FINISHING: Final = "finishing"


class Backlog:
    """A queue an inbox, taken in turn, so that ten thousand files in one inbox do not delay one in another."""

    def __init__(self) -> None:
        self._queues: OrderedDict[str, deque[Job]] = OrderedDict()
        self._suspects: deque[Job] = deque()
        self._paused: dict[str, set[str]] = {}  # inbox → why it is paused

    def __len__(self) -> int:
        return len(self._suspects) + sum(len(queue) for queue in self._queues.values())

    def count(self, inbox: str) -> int:
        suspects = sum(job.inbox == inbox for job in self._suspects)
        return suspects + len(self._queues.get(inbox, ()))

    def add(self, job: Job, *, first: bool = False) -> None:
        """Put a job at an end of its inbox's queue; one that may have killed the daemon waits to run alone."""
        if job.suspicion:
            self._suspects.append(job)
            return
        queue = self._queues.setdefault(job.inbox, deque())
        if first:
            queue.appendleft(job)
        else:
            queue.append(job)

    def pause(self, inbox: str, why: str = "trouble") -> None:
        """Start no job of the inbox until every `why` is over."""
        self._paused.setdefault(inbox, set()).add(why)

    def resume(self, inbox: str, why: str = "trouble") -> None:
        reasons = self._paused.get(inbox, set())
        reasons.discard(why)
        if not reasons:
            self._paused.pop(inbox, None)

    def is_paused(self, inbox: str) -> bool:
        return inbox in self._paused

    def why_paused(self, inbox: str) -> frozenset[str]:
        return frozenset(self._paused.get(inbox, ()))

    def hold(self, inbox: str) -> None:
        """Start no job of the inbox until it is released, whatever becomes of trouble meanwhile."""
        self.pause(inbox, "asked")

    def release(self, inbox: str) -> None:
        self.resume(inbox, "asked")

    def is_held(self, inbox: str) -> bool:
        return "asked" in self.why_paused(inbox)

    def oldest_queued_s(self, inbox: str) -> float | None:
        """Return since when the first job in line has waited, monotonic; None when none waits."""
        queue = self._queues.get(inbox)
        first = [queue[0].queued_s] if queue else []
        return min([*first, *(job.queued_s for job in self._suspects if job.inbox == inbox)], default=None)

    @property
    def has_suspects(self) -> bool:
        """Whether a job waits that must run alone."""
        return any(job.inbox not in self._paused for job in self._suspects)

    def next(self, *, running: int, suspect_running: bool) -> Job | None:
        """Return the next job to run now, None when there is none or when a suspect must be waited for."""
        if suspect_running:
            return None
        suspect = next((job for job in self._suspects if job.inbox not in self._paused), None)
        if suspect is not None:
            if running:
                return None
            self._suspects.remove(suspect)
            return suspect
        for inbox, queue in self._queues.items():
            if queue and inbox not in self._paused:
                self._queues.move_to_end(inbox)
                return queue.popleft()
        return None

    def position(self, job: str) -> int | None:
        """Return how many jobs of its inbox are before it, None when it does not wait here."""
        for queue in (self._suspects, *self._queues.values()):
            for index, waiting in enumerate(queue):
                if waiting.id == job:
                    return index
        return None

    def drop_inbox(self, inbox: str) -> None:
        """Forget the jobs of an inbox that is no longer served; its files stay where they are."""
        self._queues.pop(inbox, None)
        self._suspects = deque(job for job in self._suspects if job.inbox != inbox)
        self._paused.pop(inbox, None)
