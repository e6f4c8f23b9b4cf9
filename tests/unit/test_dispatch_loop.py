"""The loop: messages in order, timers on time, signals may post while it waits."""

import signal
import threading
import time

import pytest

from procwatch.dispatch import loop as loop_room
from procwatch.dispatch.loop import Loop

pytestmark = pytest.mark.unit


def test_messages_run_in_the_order_in_which_they_were_posted() -> None:
    loop = Loop()
    seen: list[object] = []
    for number in range(2500):
        loop.post(seen.append, number)
    loop.post(loop.stop)
    loop.run(lambda now_s: None)
    assert seen == list(range(2500))


def test_timers_run_in_the_order_of_their_times_and_a_cancelled_one_does_not() -> None:
    loop = Loop()
    seen: list[object] = []
    loop.call_later(0.02, seen.append, "late")
    loop.call_later(0.01, seen.append, "early")
    loop.call_later(0.015, seen.append, "never").cancel()
    loop.call_later(0.03, loop.stop)
    loop.run(lambda now_s: None)
    assert seen == ["early", "late"]


def test_a_flood_of_messages_does_not_starve_timers() -> None:
    loop = Loop()
    fired: list[bool] = []

    def again() -> None:
        if not fired:
            loop.post(again)

    loop.post(again)
    loop.call_later(0.01, fired.append, True)
    loop.call_later(0.02, loop.stop)
    loop.run(lambda now_s: None)
    assert fired


def test_the_tick_runs_again_when_it_asked_to() -> None:
    loop = Loop()
    ticks: list[float] = []

    def tick(now_s: float) -> float | None:
        ticks.append(now_s)
        if len(ticks) == 3:
            loop.stop()
        return now_s + 0.01

    began_s = time.monotonic()
    loop.run(tick)
    assert time.monotonic() - began_s < 2.0


def test_a_signal_handler_may_post_while_the_loop_waits() -> None:
    loop = Loop()
    before = signal.signal(signal.SIGUSR2, lambda number, frame: loop.post(loop.stop))
    try:
        main = threading.main_thread().ident
        assert main is not None
        threading.Timer(0.05, signal.pthread_kill, (main, signal.SIGUSR2)).start()
        began_s = time.monotonic()
        loop.run(lambda now_s: None)
        assert time.monotonic() - began_s < 4.0  # not the longest sleep
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_other_threads_wake_the_loop() -> None:
    loop = Loop()
    threading.Timer(0.05, loop.post, (loop.stop,)).start()
    began_s = time.monotonic()
    loop.run(lambda now_s: None)
    assert time.monotonic() - began_s < 4.0


def test_a_call_that_asks_for_rest_lets_other_threads_go_before_the_tick(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop_room, "_REST_S", 10.0)
    loop = Loop()
    seen: list[str] = []
    begin = threading.Event()

    def lane() -> None:
        begin.wait()
        loop.post(seen.append, "done by another thread")

    def hand_on() -> None:
        seen.append("handed on")
        begin.set()
        loop.rest()

    def tick(now_s: float) -> None:
        seen.append("tick")
        if len(seen) > 1:
            loop.stop()

    other = threading.Thread(target=lane)
    other.start()
    loop.post(hand_on)
    loop.run(tick)
    other.join()
    assert seen == ["handed on", "done by another thread", "tick"]


def test_a_rest_is_short_when_nothing_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop_room, "_REST_S", 0.02)
    loop = Loop()
    loop.post(loop.rest)
    ticks: list[float] = []

    def tick(now_s: float) -> None:
        ticks.append(now_s)
        loop.stop()

    began_s = loop.clock()
    loop.run(tick)
    assert 0.02 <= ticks[0] - began_s < 5
