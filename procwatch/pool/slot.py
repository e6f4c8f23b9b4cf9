"""One slot: a long-lived ProcessPoolExecutor of exactly one worker, its pid by handshake, its death exactly known.

Why one process an executor: in a shared pool one dead worker fails every future without naming the culprit, a
running task cannot be cancelled, and max_tasks_per_child deadlocks (CPython gh-115634). Here a death implicates
exactly one job, a timeout kills exactly one pid, and recycling is replacing an idle worker.
"""

import contextlib
import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any, Final, Protocol, cast

from procwatch.claim import PRESSURE, STARTED, Claim
from procwatch.model import RenderTask
from procwatch.pool.answers import CheckedQueue
from procwatch.pool.exits import UNREAD, exit_text, is_over, parent_of
from procwatch.pool.handover import HandoverExecutor
from procwatch.pool.locks import OwnLock, Unbounded
from procwatch.pool.ports import WorkerEntry
from procwatch.pool.results import read_hello, read_text
from procwatch.turns import Turns

#: A cold start of the forkserver with Pillow preloaded took 0.2 s; a machine that swaps may need far longer.
HANDSHAKE_TIMEOUT_S: Final = 60.0
#: While a worker starts, how often it is asked whether anybody still wants it.
_GIVE_UP_CHECK_S: Final = 0.1
#: A killed process is dead within milliseconds, with gigabytes to give back within a second. One that waits for a file
#: system that does not answer dies when it answers (man 5 proc, state D): nobody waits longer than this for it.
DEATH_S: Final = 3.0
_FORKSERVER_GRACE_MS: Final = 200
#: How often the pool looks when nothing happens, and asks the kernel whether an idle worker lives: at every turn of the
#: loop that was 6 % of its time.
IDLE_CHECK_S: Final = 1.0
#: Real slots count from 1.
CANARY_SLOT: Final = 0
#: How much the newest job counts in a worker's mean time for one.
_NEWEST: Final = 0.2
#: The threads of an executor end within milliseconds of its process. One that does not is left behind, as a daemon.
_JOIN_S: Final = 5.0


class GiveUp(Protocol):
    """Says whether a worker that is being started is still wanted: an Event, or several."""

    def is_set(self) -> bool: ...


class WorkerStartError(Exception):
    """A worker process could not be made ready; the message says why."""


class SlotContext(ForkServerContext):
    """The forkserver start method, for one executor: knows its process, its answers, and shares no lock with a worker.

    A lock that both sides have is one that a worker can keep, and every thread of the daemon that wants it with it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.started: list[ForkServerProcess] = []
        self.answers = CheckedQueue()

    def Process(self, *arguments: Any, **options: Any) -> ForkServerProcess:  # type: ignore[override]  # noqa: N802
        """Make a process as the executor asks for it (a context's public name for its kind of process)."""
        process = ForkServerProcess(*arguments, **options)
        self.started.append(process)
        return process

    def SimpleQueue(self) -> CheckedQueue:  # type: ignore[override]  # noqa: N802
        """Return the queue of results as the executor asks for it: one that does not believe what it reads."""
        return self.answers

    def Lock(self) -> OwnLock:  # type: ignore[override]  # noqa: N802
        """Make a lock of the queue of calls."""
        return OwnLock()

    def BoundedSemaphore(self, value: int = 1) -> Unbounded:  # type: ignore[override]  # noqa: N802
        """Make what counts the calls in that queue: the pipe that they lie in is bounded by handover."""
        return Unbounded()

    def ask(
        self, executor: ProcessPoolExecutor, function: Callable[..., Any], *arguments: Any
    ) -> "Future[bytes]":
        """Have the worker call it; its answer comes closed, to be read by what was asked (pool.results)."""
        self.answers.expect()
        return cast("Future[bytes]", executor.submit(function, *arguments))


@dataclass(kw_only=True, slots=True, eq=False)
class Worker:
    """One started worker process and everything by which the daemon holds it."""

    executor: ProcessPoolExecutor
    pid: int
    pidfd: int
    notes: dict[str, str]
    start_s: float  # how long the start took
    _context: SlotContext
    _claim: Claim
    _turns: Turns
    _lifeline: Connection  # our end: the kernel kills the worker when it closes
    _forkserver_pidfd: int
    generation: int = 0  # of the pool's workers: an older one is replaced as soon as it is idle
    _sequence: int = 0  # the number of the newest call
    answered: int = 0  # how many calls; counted by the executor's thread
    answers: "deque[tuple[Future[bytes], float]]" = field(
        default_factory=deque
    )  # not handled yet, and when they came
    jobs: int = 0
    mean_run_s: float = 0.0  # of its last jobs; 0: none yet
    rss_bytes: int = 0
    first_rss_bytes: int = 0
    busy_since_s: float = 0.0  # since when it has had the first of its turns
    kill_reason: str = ""
    killed_s: float = math.inf  # when the pool saw that it was killed while it had a task
    is_being_buried: bool = False  # it is gone, or as good as; a thread finds out how
    is_given_up: bool = False  # killed, but not dead: what it waits for does not answer
    is_orphan: bool = False  # lost because the forkserver died, whatever this worker was doing
    _look_at_s: float = 0.0
    _closed: bool = False
    #: A thread closes the worker while the loop may be about to kill it: the descriptor's number may be another's then.
    _ending: threading.Lock = field(default_factory=threading.Lock)

    def submit(self, entry: WorkerEntry, task: RenderTask) -> tuple[int, "Future[bytes]"]:
        """Hand it the task, behind those that it has; return the number of the call and its future.

        results.read_result reads the answer. Raises BrokenProcessPool when the worker is dead.
        """
        self._sequence += 1
        self._turns.offer(self._sequence)
        return self._sequence, self._context.ask(self.executor, entry.run, self._sequence, task)

    @property
    def most_turns(self) -> int:
        """How many calls may wait for it to begin them."""
        return self._turns.most

    @property
    def unanswered(self) -> int:
        """How many calls it has not answered yet."""
        return self._sequence - self.answered

    def take_back(self) -> int | None:
        """Return the number of the oldest call that it has not begun and will not begin now."""
        return self._turns.take_back()

    def ask_canary(self, entry: WorkerEntry, timeout_s: float) -> str:
        """Have it render the canary image. Raises whatever comes of it."""
        return read_text(self._context.ask(self.executor, entry.canary).result(timeout_s))

    def release(self, rss_bytes: int, run_s: float) -> None:
        """Note that a task is over and the worker lives."""
        self.mean_run_s = run_s if not self.jobs else _NEWEST * run_s + (1 - _NEWEST) * self.mean_run_s
        self.jobs += 1
        self.rss_bytes = rss_bytes
        self.first_rss_bytes = self.first_rss_bytes or rss_bytes

    def has_begun(self, number: int) -> bool:
        """Whether this call had begun, as the worker itself noted it in shared memory."""
        return self._claim[STARTED] == number

    def digest_of(self, number: int) -> str | None:
        """Return the sha256 that the worker noted after this call's answer; None until then, empty if it never will."""
        digest = self._claim.digest_of(number)
        return "" if digest is None and self._closed else digest

    @property
    def pressure(self) -> float:
        """How much of its grant the newest task was expected to need; 0 where that is not known."""
        return self._claim[PRESSURE]

    def died_idle(self, now_s: float) -> bool:
        """Whether the process has ended; asks the kernel once in a while, and knows at once that its pipe has."""
        if self._context.answers.is_over or self.is_cut_off:
            return True
        if now_s < self._look_at_s:
            return False
        self._look_at_s = now_s + IDLE_CHECK_S
        return is_over(self.pidfd)

    @property
    def is_cut_off(self) -> bool:
        """Whether it lives, but its executor is broken: that hears of it from the fork server, which is dead.

        An executor ends its worker then, unless some thread has just asked multiprocessing for its children. Where the
        worker is dead, too, what it answered before counts, and the end of its pipe tells.
        """
        return bool(getattr(self.executor, "_broken", False)) and not is_over(self.pidfd)

    def kill(self, reason: str) -> None:
        """SIGKILL the process. `reason` is set first, so that whoever sees the death knows why."""
        self.kill_reason = self.kill_reason or reason
        with self._ending, contextlib.suppress(ProcessLookupError):
            if not self._closed:
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def close(self, wait_s: float = DEATH_S) -> str:
        """End the executor and return how the process ended: "SIGKILL", "exit 1", "unknown". Blocks, for seconds at most.

        A process that a dead file system keeps from dying is left to the kernel after `wait_s`, its executor to itself.
        """
        with self._ending:
            if self._closed:
                return "unknown"
            self._closed = True
        self._lifeline.close()  # whatever still runs is killed by the kernel now
        dies = is_over(self.pidfd, wait_ms=int(wait_s * 1000))
        end_executor(self.executor, _JOIN_S if dies else 0.0)
        code = self._context.started[0].exitcode if dies else UNREAD
        text = exit_text(self.pidfd, code)
        # A dying forkserver closes its pipes, which breaks the executors, a moment before it is dead.
        self.is_orphan = code == UNREAD and is_over(self._forkserver_pidfd, wait_ms=_FORKSERVER_GRACE_MS)
        os.close(self.pidfd)
        os.close(self._forkserver_pidfd)
        self._turns.close()
        return text


def start_worker(entry: WorkerEntry, slot: int, give_up: GiveUp) -> Worker:
    """Start one worker and wait for its handshake. Raises OSError, BrokenProcessPool or WorkerStartError."""
    began_s = time.monotonic()
    _prepare(entry, slot, give_up)
    context = SlotContext()
    with contextlib.ExitStack() as undo, contextlib.ExitStack() as handed_over:
        # Each is the start's to close as soon as it is there: where descriptors are short the next may not come.
        theirs, ours = context.Pipe(duplex=False)
        handed_over.callback(theirs.close)
        undo.callback(ours.close)
        turns = Turns()
        undo.callback(turns.close)
        handed_over.callback(turns.close_theirs)
        claim = Claim(turns=turns)
        handed_over.callback(claim.close_descriptor)
        executor = HandoverExecutor(
            mp_context=context, initializer=entry.start, initargs=(claim, theirs, slot, *entry.start_args)
        )
        undo.callback(_abandon, executor, context, ours)
        pid, notes = _shake_hands(executor, context, entry, give_up)
        handed_over.close()
        if "error" in notes:  # it would fail every file, or run without its limits
            raise WorkerStartError(notes["error"])
        pidfd = os.pidfd_open(pid)
        undo.callback(os.close, pidfd)
        forkserver_pidfd = os.pidfd_open(parent_of(pid))
        undo.pop_all()
    return Worker(
        executor=executor,
        pid=pid,
        pidfd=pidfd,
        notes=dict(notes),
        start_s=time.monotonic() - began_s,
        _context=context,
        _claim=claim,
        _turns=turns,
        _lifeline=ours,
        _forkserver_pidfd=forkserver_pidfd,
    )


def ask_canary(entry: WorkerEntry, timeout_s: float, give_up: GiveUp) -> str:
    """Render the canary image on a fresh worker. Return an empty text, or how it failed. Blocks; never raises."""
    try:
        worker = start_worker(entry, CANARY_SLOT, give_up)
    except Exception as error:  # noqa: BLE001 (whatever kept it from starting is the answer)
        return f"no worker started: {type(error).__name__}: {error}"
    try:
        return worker.ask_canary(entry, timeout_s)
    except TimeoutError:
        return f"the canary image took longer than {timeout_s:g} s"
    except Exception:  # noqa: BLE001 (its death is the answer)
        return "the worker died of the canary image"
    finally:
        worker.kill("canary")
        worker.close()


def prepare_forkserver(preload: Sequence[str]) -> None:
    """Choose what every worker is born with. Forkserver, because fork deadlocked 10 of 10 rounds beside a busy lock."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(list(preload))


def _prepare(entry: WorkerEntry, slot: int, give_up: GiveUp) -> None:
    """Have the folders made; a file system that hangs keeps a thread of its own, not the start of other workers."""
    failures: list[BaseException] = []

    def prepare() -> None:
        try:
            entry.prepare(slot)
        except BaseException as error:  # noqa: BLE001 (raised below, in the thread that asked)
            failures.append(error)

    thread = threading.Thread(target=prepare, name=f"prepare-{slot}", daemon=True)
    thread.start()
    deadline_s = time.monotonic() + HANDSHAKE_TIMEOUT_S
    while thread.is_alive():
        thread.join(_GIVE_UP_CHECK_S)
        if thread.is_alive() and (give_up.is_set() or time.monotonic() > deadline_s):
            raise WorkerStartError("the folders of an inbox do not answer")
    if failures:
        raise failures[0]


def _shake_hands(
    executor: ProcessPoolExecutor, context: SlotContext, entry: WorkerEntry, give_up: GiveUp
) -> tuple[int, Mapping[str, str]]:
    # Starts the process, and the forkserver if there is none: a Ctrl-C before the worker ignores it would print a
    # traceback, and the forkserver must outlive its terminal as long as running jobs do. The resource tracker goes
    # first: its start unblocks SIGINT.
    with _blocked(signal.SIGHUP):
        resource_tracker.ensure_running()
    with _blocked(signal.SIGINT, signal.SIGHUP):
        answer = context.ask(executor, entry.hello)
    context.answers.close_writer()
    deadline_s = time.monotonic() + HANDSHAKE_TIMEOUT_S
    while not wait([answer], _GIVE_UP_CHECK_S).done:
        if give_up.is_set() or time.monotonic() > deadline_s:
            why = (
                "it is not wanted any more" if give_up.is_set() else f"no answer in {HANDSHAKE_TIMEOUT_S:g} s"
            )
            raise WorkerStartError(why)
    return read_hello(answer.result())


@contextlib.contextmanager
def _blocked(*signals: signal.Signals) -> Iterator[None]:
    """Keep what a terminal sends from processes that are started in here: they inherit this thread's mask."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _abandon(executor: ProcessPoolExecutor, context: SlotContext, ours: Connection) -> None:
    """Leave nothing of a start that failed: no process, no thread, no descriptor."""
    ours.close()
    dies = True
    for process in context.started:
        if process.pid is not None:
            process.kill()
            dies = bool(multiprocessing.connection.wait([process.sentinel], DEATH_S))
    end_executor(executor, _JOIN_S if dies else 0.0)


def end_executor(executor: ProcessPoolExecutor, wait_s: float) -> None:
    """Shut it down and wait so long for its threads; what does not end then is left to itself."""
    thread = threading.Thread(target=executor.shutdown, name="procwatch-end", daemon=True)
    if wait_s:
        thread.start()
        thread.join(wait_s)
    else:
        executor.shutdown(wait=False)
