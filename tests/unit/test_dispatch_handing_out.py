"""Who gets which job when: idle workers first, then what lies ready at busy ones, and nothing beside a suspect."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog

from procwatch.dispatch.backlog import Backlog
from procwatch.dispatch.dispatcher import Dispatcher
from procwatch.dispatch.job import Job, RecipePlan
from procwatch.dispatch.loop import Loop
from procwatch.dispatch.registry import Registry
from procwatch.model import Fingerprint, InboxSpec, Limits, RenderTask
from procwatch.pool.admission import Budget
from procwatch.pool.ports import Death, Report, Running

pytestmark = pytest.mark.unit

SPEC = InboxSpec(name="in", path="/in", outbox="/out", archive="/archive", failed="/failed", recipe="web")
RECIPE = RecipePlan(name="web", hash="0", templates={}, payload=None, extensions={})
GIB = 1024**3


class Workers:
    """A pool whose workers never end by themselves; each takes `depth` jobs behind the one it has."""

    def __init__(self, workers: int, depth: int) -> None:
        self.has: list[list[tuple[RenderTask, Running]]] = [[] for _ in range(workers)]
        self.depth = depth
        self.size = workers

    @property
    def idle(self) -> int:
        return sum(not has for has in self.has)

    @property
    def ahead(self) -> int:
        return sum(1 + self.depth - len(has) for has in self.has if has)

    @property
    def room(self) -> int:
        return self.idle + self.ahead

    def tick(self, now_s: float) -> None:
        return None

    def submit(self, task: RenderTask) -> Running:
        number = min(range(self.size), key=lambda n: len(self.has[n]))
        running = Running(number, number)
        self.has[number].append((task, running))
        return running

    def revoke(self) -> None:
        for has in self.has:
            for _, running in has[1:]:
                running.set_result(
                    Report(
                        slot=1, worker_pid=1, run_s=0.0, death=Death(kind="revoked", exit="", started=False)
                    )
                )
            del has[1:]

    def jobs(self) -> list[list[str]]:
        return [[task.job for task, _ in has] for has in self.has]


class Desk:
    """A dispatcher with such a pool and a journal that commits when it is told to."""

    def __init__(self, workers: int = 2, depth: int = 1) -> None:
        structlog.configure(processors=[structlog.testing.LogCapture()])
        self.loop, self.backlog, self.pool = Loop(), Backlog(), Workers(workers, depth)
        self.registry = Registry()
        self.writes: list[tuple[str, Callable[[], None]]] = []
        arrivals = SimpleNamespace(settling={})
        self.runtime = SimpleNamespace(
            spec=SPEC, recipe=RECIPE, arrivals=arrivals, is_full=False,
            finishing=SimpleNamespace(unfinished=0, set_backlogged=lambda *, backlogged: None, expect=lambda *_: None),
            set_backpressure=lambda *, full: None,
        )  # fmt: skip
        parts: dict[str, Any] = {
            "loop": self.loop, "pool": self.pool, "registry": self.registry, "backlog": self.backlog,
            "journal": SimpleNamespace(submit=self.submit), "inboxes": {"in": self.runtime},
            "endings": SimpleNamespace(flush_logged=lambda now_s, at_once: None),
        }  # fmt: skip
        budget = Budget(total_bytes=4 * GIB, grant_bytes=GIB // 2)
        self.dispatcher = Dispatcher(limits=Limits(), memory=budget, log=structlog.get_logger(), **parts)

    def submit(self, operation: Any, *, point: str = "", then: Any = None) -> SimpleNamespace:
        ticket = SimpleNamespace(exception=lambda: None, wait=lambda timeout_s: None)
        self.writes.append((point, (lambda: then(ticket)) if then else lambda: None))
        return ticket

    def add(self, *names: str, suspicion: int = 0) -> None:
        for name in names:
            job = Job(
                id=name, inbox="in", path=name, fingerprint=Fingerprint(device=1, inode=1, size=1, mtime_ns=1),
                ctime_ns=0, changed_ns=0, queued_s=0.0, queued_at=0.0, removable_after_s=0.0, want_digest=False,
                suspicion=suspicion,
            )  # fmt: skip
            self.registry.add(job)
            self.backlog.add(job)

    def turn(self) -> list[str]:
        """One turn of the loop, then everything is committed and handled; return what was written."""
        cast("Any", self.dispatcher).tick(time.monotonic())
        writes, self.writes = self.writes, []
        for _, commit in writes:
            commit()
        self.loop.post(self.loop.stop)
        self.loop._stopped = False
        self.loop.run(lambda now_s: None)
        return [point for point, _ in writes if point]


def test_idle_workers_come_first_and_then_each_has_one_ready() -> None:
    desk = Desk()
    desk.add(*"abcdef")
    desk.turn()
    assert sorted(map(len, desk.pool.jobs())) == [1, 1]
    desk.turn()
    assert desk.pool.jobs() == [["a", "c"], ["b", "d"]]
    assert (desk.dispatcher.running, desk.dispatcher.waiting) == (2, 4)


def test_the_attempts_of_many_are_one_write_and_nobody_has_a_job_before_it() -> None:
    desk = Desk(workers=1, depth=8)
    desk.add(*"abcdefghijkl")
    desk.turn()
    cast("Any", desk.dispatcher).tick(time.monotonic())
    assert [point for point, _ in desk.writes] == ["ledger.started"]
    assert desk.pool.jobs() == [["a"]]
    desk.turn()
    assert desk.pool.jobs() == [list("abcdefghi")]


def test_a_job_alone_does_not_wait_behind_another_one() -> None:
    desk = Desk(depth=8)
    desk.add(*"ab")
    desk.turn()
    assert desk.pool.jobs() == [["a"], ["b"]]


def test_a_worker_without_work_gets_what_lies_ready_at_another_one() -> None:
    desk = Desk()
    desk.add(*"abc")
    desk.turn()
    desk.turn()
    assert desk.pool.jobs() == [["a", "c"], ["b"]]
    desk.pool.has[1].clear()  # it is done with b
    for _ in range(3):
        desk.turn()
    assert desk.pool.jobs() == [["a"], ["c"]]


def test_nothing_lies_ready_while_somebody_has_to_run_alone() -> None:
    desk = Desk()
    desk.add(*"abcd")
    desk.turn()
    desk.add("suspect", suspicion=1)
    desk.turn()
    assert desk.pool.jobs() == [["a"], ["b"]]


def test_at_the_end_nothing_is_left_at_a_worker_but_what_it_works_at() -> None:
    desk = Desk()
    desk.add(*"abcd")
    desk.turn()
    desk.turn()
    desk.dispatcher.stop()
    desk.turn()
    assert desk.pool.jobs() == [["a"], ["b"]]
    assert [job.attempt for job in map(desk.registry.get, "abcd") if job] == [1, 1, 0, 0]


def test_when_the_disk_has_caught_up_the_same_turn_hands_out_again() -> None:
    """No other turn may come: workers are idle, nothing is on its way. One came by a timer of a second."""
    desk = Desk()
    desk.runtime.finishing.unfinished = 201
    desk.add(*"ab")
    desk.turn()
    assert desk.pool.jobs() == [[], []]
    desk.runtime.finishing.unfinished = 99
    desk.turn()
    assert desk.pool.jobs() == [["a"], ["b"]]
