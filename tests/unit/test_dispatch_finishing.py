"""Finished jobs of an inbox go to its lane at once when somebody may wait for them, together when nobody does."""

import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from procwatch.dispatch import finishing as room
from procwatch.dispatch.finishing import Finishing
from procwatch.dispatch.loop import Loop
from procwatch.dispatch.orders import PublishOrder
from procwatch.model import InboxSpec

pytestmark = pytest.mark.unit

SPEC = InboxSpec(name="in", path="/in", outbox="/out", archive="/a", failed="/f", recipe="web")


class Bench:
    """A finishing lane that publishes nothing but notes what it was given."""

    def __init__(self) -> None:
        self.loop = Loop()
        self.batches: list[int] = []
        nothing: Any = None
        self.finishing = Finishing(
            spec=SPEC,
            loop=self.loop,
            fs=nothing,
            journal=nothing,
            reader=nothing,
            results=nothing,
            is_there=lambda: True,
            lines_together=nullcontext,
            on_error=self._failed,
        )
        parts: Any = self.finishing
        parts._publisher = SimpleNamespace(publish=lambda orders: self.batches.append(len(orders)))
        parts._disposer = SimpleNamespace(fail=lambda orders: None, dispose=lambda orders: None)

    def _failed(self, error: BaseException) -> None:
        raise AssertionError from error

    def order(self, count: int) -> None:
        for _ in range(count):
            self.finishing.order(PublishOrder.__new__(PublishOrder))

    def until(self, done: Callable[[], bool]) -> None:
        """Run the loop until so."""
        deadline_s = time.monotonic() + 10

        def tick(now_s: float) -> float:
            if done() or now_s > deadline_s:
                self.loop.stop()
            return now_s + 0.01

        self.loop._stopped = False
        self.loop.run(tick)
        assert done()


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.finishing.close(5)


def test_one_that_somebody_may_wait_for_goes_at_once(bench: Bench) -> None:
    bench.order(1)
    assert bench.finishing.is_busy
    bench.until(lambda: not bench.finishing.is_busy)
    assert bench.batches == [1]


def test_while_jobs_wait_for_workers_finished_ones_wait_for_company(bench: Bench) -> None:
    bench.finishing.set_backlogged(backlogged=True)
    bench.order(room._GATHER_MANY - 1)
    assert bench.finishing.unfinished == room._GATHER_MANY - 1
    assert bench.batches == []
    bench.order(1)
    bench.until(lambda: not bench.finishing.is_busy)
    assert bench.batches == [room._GATHER_MANY]


def test_but_not_for_long(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_GATHER_S", 0.01)
    bench.finishing.set_backlogged(backlogged=True)
    bench.order(2)
    bench.until(lambda: not bench.finishing.is_busy)
    assert bench.batches == [2]


def test_when_no_more_jobs_wait_those_that_gathered_go_at_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_GATHER_S", 3600.0)
    bench.finishing.set_backlogged(backlogged=True)
    bench.order(2)
    bench.finishing.set_backlogged(backlogged=True)
    assert bench.batches == []
    bench.finishing.set_backlogged(backlogged=False)
    bench.until(lambda: not bench.finishing.is_busy)
    assert bench.batches == [2]


def test_what_comes_while_the_lane_works_is_its_next_batch(bench: Bench) -> None:
    bench.order(3)
    assert bench.finishing.unfinished == 3
    bench.until(lambda: not bench.finishing.is_busy)
    assert bench.batches == [1, 2]
