"""What the dispatcher sees of the pool: a port with submit(), and the frozen values that come back."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol

from procwatch.model import RenderResult, RenderTask

#: post(function, *arguments) runs the function on the dispatcher's thread; reentrant, never blocks.
Post = Callable[..., None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Death:
    """How a worker ended while it had a job. `started` is False when the job had not begun: blame nobody."""

    kind: str  # "crashed" | "timeout" | "stopped" | "out-of-memory" | "abandoned" (asked for)
    #  | "degraded" (workers die of everything) | "revoked" (it never had a turn, its worker need not be dead)
    exit: str  # "SIGKILL", "exit 3", "unknown"
    started: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What became of one submitted task: either a result or a death, never both."""

    slot: int
    worker_pid: int
    run_s: float
    result: RenderResult | None = None
    death: Death | None = None
    #: For a task whose digest may come later: the sha256 in hex, None until it is there, empty if it will not be.
    late_digest: Callable[[], str | None] | None = None


def no_preparation(slot: int) -> None:
    """Do nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerEntry:
    """The functions that a worker process offers; the pool knows nothing else of what it runs."""

    start: Callable[..., None]  # (claim, pipe to the daemon, slot, *start_args)
    hello: Callable[[], tuple[int, dict[str, str]]]
    run: Callable[[int, RenderTask], tuple[RenderResult, int]]
    canary: Callable[[], str]  # renders a built-in image; returns what is wrong, or an empty text
    start_args: tuple[Any, ...] = ()
    prepare: Callable[[int], None] = (
        no_preparation  # called in the daemon before a worker of this slot starts
    )
    preload: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class SlotView:
    """One slot as status and logs show it."""

    slot: int
    worker_pid: int | None
    job: str | None
    busy_s: float
    jobs: int
    rss_bytes: int
    ready: tuple[str, ...] = ()  # jobs that lie ready behind the one at work


class Running(Future[Report]):
    """The future of a submitted task, which also says who runs it."""

    def __init__(self, slot: int, worker_pid: int) -> None:
        super().__init__()
        self.slot = slot
        self.worker_pid = worker_pid


class WorkerPool(Protocol):
    """Long-lived worker processes behind one submit(). Every method is called on the dispatcher's thread."""

    def start(self) -> None:
        """Begin to start the workers; `Events.worker_started` follows for each, on the dispatcher's thread."""

    @property
    def size(self) -> int:
        """How many jobs may run at once when all workers are up."""

    @property
    def idle(self) -> int:
        """How many jobs could be submitted right now; none while it is open whether workers die of everything."""

    @property
    def ahead(self) -> int:
        """How many more jobs are wanted for workers that are busy, each behind what its worker has."""

    @property
    def room(self) -> int:
        """How many more jobs submit() takes now."""

    @property
    def is_degraded(self) -> bool:
        """Whether workers die of everything, so that nothing is handed out until a canary image lives."""

    def submit(self, task: RenderTask) -> Running:
        """Hand a task to an idle worker, or else behind what a busy one has; only while there is room.

        The future never fails and is never cancelled; it holds a Report.
        """

    def tick(self, now_s: float) -> float | None:
        """Kill what is overdue and notice idle deaths; return when to be called again (monotonic seconds)."""

    def revoke(self) -> None:
        """Take back every job that lies ready behind one that its worker has begun: death kind "revoked"."""
        ...

    def abandon(self, job: str) -> None:
        """Kill the worker that has begun the job, for reasons that are neither's fault: death kind "abandoned"."""
        ...

    def renew(self, reason: str, entry: WorkerEntry | None = None) -> None:
        """Replace every worker by a new one, the busy ones after their task; `entry` is theirs from now on."""

    def resize(self, workers: int, *, timeout_s: float) -> None:
        """Grow at once, shrink as workers end their jobs; the timeout holds for running jobs too."""

    def view(self, now_s: float) -> list[SlotView]:
        """Return what every slot does."""

    def stop(self) -> None:
        """Kill every worker and return when none is left."""
