"""An executor that hands a call straight to its worker is an executor all the same."""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import process as stock
from concurrent.futures.process import BrokenProcessPool

import pytest

from procwatch.pool import handover
from procwatch.pool.handover import HandoverExecutor
from procwatch.pool.slot import SlotContext, end_executor
from tests.support import processes
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


@pytest.fixture
def executor() -> Iterator[tuple[HandoverExecutor, SlotContext]]:
    context = SlotContext()
    made = HandoverExecutor(mp_context=context)
    assert made._direct == (sys.version_info[:2] in handover._KNOWN), (
        "an executor of this CPython looks different"
    )
    yield made, context
    end_executor(made, 5.0)


def _first(made: HandoverExecutor, context: SlotContext) -> int:
    """Start the worker; its process id."""
    pid = int(context.ask(made, os.getpid).result(30))
    context.answers.close_writer()
    return pid


def test_calls_are_answered_in_order_and_wake_no_thread_on_their_way(
    executor: tuple[HandoverExecutor, SlotContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, context = executor
    _first(made, context)
    woken: list[int] = []
    wakeup = made._executor_manager_thread_wakeup
    monkeypatch.setattr(type(wakeup), "wakeup", lambda self: woken.append(1))
    futures = [context.ask(made, abs, -number) for number in range(8)]
    assert [int(future.result(30)) for future in futures] == list(range(8))
    if made._direct:
        assert not woken


def test_what_does_not_fit_goes_the_long_way_and_is_not_overtaken(
    executor: tuple[HandoverExecutor, SlotContext],
) -> None:
    made, context = executor
    _first(made, context)
    large = "x" * handover._MAX_UNREAD_BYTES
    futures = [context.ask(made, len, text) for text in (large, "a", large, large, "ab")]
    assert [int(future.result(30)) for future in futures] == [len(large), 1, len(large), len(large), 2]
    assert int(context.ask(made, len, "abc").result(30)) == 3


def test_nobody_waits_for_a_worker_that_stands_still(executor: tuple[HandoverExecutor, SlotContext]) -> None:
    made, context = executor
    pid = _first(made, context)
    processes.freeze(pid)
    try:
        began_s = time.monotonic()
        futures = [context.ask(made, len, "x" * 3000) for _ in range(60)]  # three pipes full
        assert time.monotonic() - began_s < 5.0
        assert not any(future.done() for future in futures)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert [int(future.result(30)) for future in futures] == [3000] * 60


def test_a_death_ends_all_calls_and_later_ones(executor: tuple[HandoverExecutor, SlotContext]) -> None:
    made, context = executor
    pid = _first(made, context)
    processes.freeze(pid)
    futures = [context.ask(made, abs, -1) for _ in range(4)]
    os.kill(pid, signal.SIGKILL)
    assert [type(future.exception(30)) for future in futures] == [BrokenProcessPool] * 4
    eventually(lambda: made._broken)
    with pytest.raises(BrokenProcessPool):
        context.ask(made, abs, -1)


def test_whoever_asks_a_dead_worker_hears_of_it_even_while_the_executor_is_shut_down(
    executor: tuple[HandoverExecutor, SlotContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    made, context = executor
    if not made._direct:
        pytest.skip("this CPython's executor reads the answers by itself")
    may_go_on, manager = threading.Event(), stock._ExecutorManagerThread
    broken = manager.terminate_broken
    monkeypatch.setattr(manager, "terminate_broken", lambda *a: may_go_on.wait(30) and broken(*a))
    pid = _first(made, context)
    future = context.ask(made, time.sleep, 60)
    os.kill(pid, signal.SIGKILL)
    assert isinstance(future.exception(30), BrokenProcessPool)
    made.shutdown(wait=False)
    with pytest.raises(BrokenProcessPool):
        context.ask(made, abs, -1)
    may_go_on.set()


def test_what_a_worker_answered_before_it_died_counts(executor: tuple[HandoverExecutor, SlotContext]) -> None:
    made, context = executor
    if not made._direct:
        pytest.skip("this CPython's executor reads the answers by itself")
    pid = _first(made, context)
    may_go_on = threading.Event()
    answers = context.answers._answers.fileno()
    processes.freeze(pid)  # a callback of what is done already would run here
    first = context.ask(made, abs, -1)
    first.add_done_callback(lambda _: may_go_on.wait(30))
    os.kill(pid, signal.SIGCONT)
    second, third = context.ask(made, abs, -2), context.ask(made, time.sleep, 60)
    eventually(lambda: first.done() and select.select([answers], [], [], 0)[0])
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: made._broken)
    may_go_on.set()
    assert int(second.result(30)) == 2
    assert isinstance(third.exception(30), BrokenProcessPool)


def test_another_cpython_gets_the_executors_own_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "_KNOWN", frozenset())
    context = SlotContext()
    made = HandoverExecutor(mp_context=context)
    try:
        _first(made, context)
        assert not made._direct
        futures = [context.ask(made, abs, -number) for number in range(4)]
        assert [int(future.result(30)) for future in futures] == list(range(4))
    finally:
        end_executor(made, 5.0)
