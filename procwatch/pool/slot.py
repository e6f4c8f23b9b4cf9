"""One slot: a long-lived ProcessPoolExecutor of exactly one worker, its pid by handshake, its death exactly known.

Why one process an executor: in a shared pool one dead worker fails every future without naming the culprit, a
running task cannot be cancelled, and max_tasks_per_child deadlocks (CPython gh-115634). Here a death implicates
exactly one job, a timeout kills exactly one pid, and recycling is replacing an idle worker.
"""

import contextlib
import multiprocessing
import os
import select
import signal
import time
from concurrent.futures import Future, ProcessPoolExecutor
from ctypes import Array, c_double
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from typing import Any

from procwatch.model import RenderResult, RenderTask
from procwatch.pool.ports import WorkerEntry

#: A cold start of the forkserver with Pillow preloaded took 0.2 s; a machine that swaps may need far longer.
HANDSHAKE_TIMEOUT_S = 60.0
_CLAIM_STARTED = 0


@dataclass(kw_only=True, slots=True)
class Worker:
    """One started worker process and everything by which the daemon holds it."""

    executor: ProcessPoolExecutor
    pid: int
    pidfd: int
    notes: dict[str, str]
    start_s: float  # how long the start took
    _claim: "Array[c_double]"
    _lifeline: Connection  # our end: the kernel kills the worker when it closes
    _process: BaseProcess | None
    _sequence: int = 0
    jobs: int = 0
    rss_bytes: int = 0
    first_rss_bytes: int = 0
    busy_since_s: float = 0.0
    task: RenderTask | None = None
    kill_reason: str = ""
    _closed: bool = field(default=False)

    def submit(
        self, entry: WorkerEntry, task: RenderTask, now_s: float
    ) -> "Future[tuple[RenderResult, int]]":
        """Start the task. Raises BrokenProcessPool when the worker died while it was idle."""
        self._sequence += 1
        self.task, self.busy_since_s = task, now_s
        return self.executor.submit(entry.run, self._sequence, task)

    def release(self, rss_bytes: int) -> None:
        """Note that the task is over and the worker lives."""
        self.task = None
        self.jobs += 1
        self.rss_bytes = rss_bytes
        self.first_rss_bytes = self.first_rss_bytes or rss_bytes

    @property
    def started_task(self) -> bool:
        """Whether the current task had begun, as the worker itself noted it in shared memory."""
        return self._claim[_CLAIM_STARTED] == self._sequence

    def is_dead(self) -> bool:
        """Whether the process has ended; asked of its pidfd, so a recycled pid cannot answer."""
        poller = select.poll()
        poller.register(self.pidfd, select.POLLIN)
        return bool(poller.poll(0))

    def kill(self, reason: str) -> None:
        """SIGKILL the process. `reason` is set first, so that whoever sees the death knows why."""
        self.kill_reason = self.kill_reason or reason
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)

    def close(self) -> str:
        """End the executor and return how the process ended: "SIGKILL", "exit 1", "unknown". Blocks for its join."""
        if self._closed:
            return "unknown"
        self._closed = True
        self._lifeline.close()  # whatever still runs is killed by the kernel now
        self.executor.shutdown(wait=True)
        os.close(self.pidfd)
        return _exit_text(self._process)


def start_worker(context: ForkServerContext, entry: WorkerEntry, slot: int) -> Worker:
    """Start one worker and wait for its handshake. Raises OSError, TimeoutError or BrokenProcessPool."""
    began_s = time.monotonic()
    theirs, ours = context.Pipe(duplex=False)
    claim: Array[c_double] = context.RawArray("d", 2)
    executor = ProcessPoolExecutor(
        1, mp_context=context, initializer=entry.start, initargs=(claim, theirs, slot, *entry.start_args)
    )
    try:
        pid, notes = executor.submit(entry.hello).result(HANDSHAKE_TIMEOUT_S)
        pidfd = os.pidfd_open(pid)
    except BaseException:
        ours.close()
        executor.shutdown(wait=False)
        raise
    finally:
        theirs.close()
    return Worker(
        executor=executor,
        pid=pid,
        pidfd=pidfd,
        notes=notes,
        start_s=time.monotonic() - began_s,
        _claim=claim,
        _lifeline=ours,
        _process=_find_process(pid),
    )


def forkserver(preload: list[str]) -> ForkServerContext:
    """Return the start method that survives threads: fork deadlocked 10 of 10 rounds beside a busy lock."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(preload)
    return context


def _find_process(pid: int) -> BaseProcess | None:
    """Return multiprocessing's own object for the pid: public API, unlike the executor's _processes."""
    return next((child for child in multiprocessing.active_children() if child.pid == pid), None)


def _exit_text(process: BaseProcess | None) -> str:
    code: Any = None if process is None else process.exitcode
    if code is None:
        return "unknown"
    if code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-code).name
        return f"signal {-code}"
    return f"exit {code}"
