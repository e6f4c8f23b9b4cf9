"""A pool on a bench: a mailbox pumped by the test's own thread, and a witness of everything that the pool tells."""

import gc
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from procwatch.model import Fingerprint, Limits, RenderTask
from procwatch.pool.pool import ProcessWorkerPool
from procwatch.pool.ports import Report, Running, WorkerEntry
from procwatch.pool.slot import Worker
from tests.support.bad_workers import worker_entry


class Witness:
    """Records what the pool tells of its processes. Implements pool.Events."""

    def __init__(self) -> None:
        self.started: list[tuple[int, int]] = []  # (slot, pid)
        self.lost: list[dict[str, Any]] = []
        self.recycled: list[tuple[int, int, str]] = []
        self.breaker: list[str] = []

    def worker_started(self, slot: int, worker: Worker) -> None:
        self.started.append((slot, worker.pid))

    def worker_lost(
        self, slot: int, worker_pid: int | None, exit_text: str, reason: str, job: str | None
    ) -> None:
        self.lost.append({"slot": slot, "pid": worker_pid, "exit": exit_text, "reason": reason, "job": job})

    def worker_recycled(self, slot: int, worker: Worker, reason: str) -> None:
        self.recycled.append((slot, worker.pid, reason))

    def pool_degraded(self, reason: str, deaths: int) -> None:
        self.breaker.append(f"degraded after {deaths}: {reason}")

    def pool_recovered(self, seconds: float) -> None:
        self.breaker.append("recovered")

    def capacity_changed(self) -> None:
        """Asked again at every turn anyway."""


class PoolBench:
    """A started ProcessWorkerPool, with the test as its dispatcher."""

    def __init__(
        self, root: Path, *, workers: int = 2, entry: WorkerEntry | None = None, timeout_s: float = 20.0,
        **options: Any,
    ) -> None:  # fmt: skip
        self._mailbox: queue.SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]]] = queue.SimpleQueue()
        self.root = root
        self.witness = Witness()
        self.pool = ProcessWorkerPool(
            workers=workers,
            entry=entry or worker_entry(),
            post=lambda function, *arguments: self._mailbox.put((function, arguments)),
            events=self.witness,
            timeout_s=timeout_s,
            clock=self.clock,
            **options,
        )
        self._count = 0
        self._ahead_s = 0.0

    def clock(self) -> float:
        return time.monotonic() + self._ahead_s

    def let_pass(self, seconds: float) -> None:
        """Move the pool's clock on."""
        self._ahead_s += seconds

    def __enter__(self) -> Self:
        self.pool.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.pool.stop()

    def ready(self, count: int | None = None) -> Self:
        """Wait until so many workers are idle, by default all."""
        wanted = self.pool.size if count is None else count
        self.until(lambda: self.pool.idle >= wanted)
        return self

    @property
    def is_up(self) -> bool:
        """Whether every slot has a worker, whatever the pool says of its capacity."""
        return all(view.worker_pid is not None for view in self.pool.view(self.clock()))

    def until(self, done: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Be the dispatcher's loop until the condition holds."""
        deadline_s = time.monotonic() + timeout_s
        while not done():
            assert time.monotonic() < deadline_s, f"still not after {timeout_s} s; lost: {self.witness.lost}"
            again_s = self.pool.tick(self.clock())
            wait_s = 0.05 if again_s is None else min(0.05, max(0.0, again_s - self.clock()))
            self._turn(wait_s)

    def _turn(self, wait_s: float) -> None:
        try:
            function, arguments = self._mailbox.get(timeout=wait_s) if wait_s else self._mailbox.get_nowait()
            function(*arguments)
            while True:
                function, arguments = self._mailbox.get_nowait()
                function(*arguments)
        except queue.Empty:
            return

    def begun(self, running: Running) -> bool:
        """Say whether the worker has noted that it began this task."""
        for slot in self.pool._slots:
            for turn in slot.turns:
                if turn.future is running and slot.worker is not None:
                    return slot.worker.has_begun(turn.number)
        return False

    def calm(self) -> tuple[int, int]:
        """Wait until every slot has its worker and nothing is being started or ended; return descriptors and threads."""
        self.until(lambda: self.is_up and no_pool_threads(), timeout_s=10.0)
        gc.collect()  # descriptors of ended processes are closed with their objects, which are part of cycles
        return open_files(), threading.active_count()

    def submit(self, kind: str) -> Running:
        """Submit a task with a decoder of this kind (see bad_workers) to an idle worker."""
        self._count += 1
        return self.pool.submit(self.task(kind, self._count))

    def task(self, kind: str, number: int, attempt: int = 1, grant_bytes: int = 0) -> RenderTask:
        return RenderTask(
            job=f"{kind}-{number}",
            attempt=attempt,
            root=str(self.root),
            path=f"{kind}/{number}.jpg",
            fingerprint=Fingerprint(device=0, inode=0, size=0, mtime_ns=0),
            recipe=None,
            staging_root=str(self.root),
            limits=Limits(),
            grant_bytes=grant_bytes,
        )

    def report(self, kind: str) -> Report:
        """Run one task to its end."""
        return self.reports([kind])[0]

    def reports(self, kinds: Iterable[str]) -> list[Report]:
        """Run tasks side by side to their ends."""
        running = [self.submit(kind) for kind in kinds]
        self.until(lambda: all(future.done() for future in running))
        return [future.result() for future in running]

    def report_well_on_all(self) -> None:
        """Let every slot finish a job, so that each counts as healthy again."""
        for report in self.ready().reports(["well"] * self.pool.size):
            assert report.death is None, report

    def ran(self) -> list[str]:
        """Return the jobs that a good decoder did, in order, each as often as it did it."""
        path = self.root / "ran"
        return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def no_pool_threads() -> bool:
    """Whether no worker is being started or ended right now."""
    return not any(thread.name == "procwatch-pool" for thread in threading.enumerate())
