"""The dispatcher's thread: a mailbox that anybody may post to, timers, and one loop that acts.

The mailbox is a queue.SimpleQueue because its put is reentrant: signal handlers post too, and a queue.Queue
deadlocks when its put interrupts its own get (measured after 408 signals).
"""

import heapq
import itertools
import queue
import time
from collections.abc import Callable
from typing import Any

#: Messages handled before timers and the tick get their turn; keeps one flood from starving everything else.
_BURST = 1000
#: The longest sleep: bounds how late a missed wake-up or a clock change can be noticed.
_MAX_WAIT_S = 5.0
#: Other threads get the GIL for so long when somebody asks for it: a lane plans a publication in half of it.
_REST_S = 0.0005


class Timer:
    """A pending call; cancel() forgets it."""

    __slots__ = ("arguments", "function", "when_s")

    def __init__(self, when_s: float, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
        self.when_s = when_s
        self.function: Callable[..., None] | None = function
        self.arguments = arguments

    def cancel(self) -> None:
        self.function = None
        self.arguments = ()


class Loop:
    """Runs posted calls and timers on one thread, with a tick after each burst."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._mailbox: queue.SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]]] = queue.SimpleQueue()
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._stopped = False
        self._rests = False
        self.clock = clock
        self.turns = 0  # progress, for whoever watches over the loop

    def post(self, function: Callable[..., None], *arguments: Any) -> None:
        """Run the call soon on the loop's thread. Safe from any thread and from signal handlers."""
        self._mailbox.put((function, arguments))

    def call_at(self, when_s: float, function: Callable[..., None], *arguments: Any) -> Timer:
        """Run the call at a monotonic time. Loop thread only."""
        timer = Timer(when_s, function, arguments)
        heapq.heappush(self._timers, (when_s, next(self._order), timer))
        return timer

    def call_later(self, delay_s: float, function: Callable[..., None], *arguments: Any) -> Timer:
        """Run the call after a delay. Loop thread only."""
        return self.call_at(self.clock() + delay_s, function, *arguments)

    def rest(self) -> None:
        """Let other threads go first, for a moment, when this burst is over: they do what somebody waits for. Loop thread only."""
        self._rests = True

    def stop(self) -> None:
        """Leave run() after the current turn."""
        self._stopped = True

    def run(self, tick: Callable[[float], float | None]) -> None:
        """Loop until stop(). `tick(now_s)` runs once a turn and returns when it wants to run again at the latest."""
        wait_s = 0.0
        while not self._stopped:
            self._drain(wait_s)
            now_s = self.clock()
            self._run_timers(now_s)
            again_s = tick(now_s)
            self.turns += 1
            wait_s = self._wait_s(self.clock(), again_s)

    def _drain(self, wait_s: float) -> None:
        self._burst(wait_s)
        if self._rests:
            self._rests = False
            self._burst(_REST_S)

    def _burst(self, wait_s: float) -> None:
        try:
            function, arguments = (
                self._mailbox.get(timeout=wait_s) if wait_s > 0 else self._mailbox.get_nowait()
            )
            function(*arguments)
            for _ in range(_BURST):
                function, arguments = self._mailbox.get_nowait()
                function(*arguments)
        except queue.Empty:
            return

    def _run_timers(self, now_s: float) -> None:
        while self._timers and self._timers[0][0] <= now_s:
            timer = heapq.heappop(self._timers)[2]
            if timer.function is not None:
                timer.function(*timer.arguments)

    def _wait_s(self, now_s: float, again_s: float | None) -> float:
        if not self._mailbox.empty():
            return 0.0
        while self._timers and self._timers[0][2].function is None:
            heapq.heappop(self._timers)
        due = [_MAX_WAIT_S + now_s]
        if again_s is not None:
            due.append(again_s)
        if self._timers:
            due.append(self._timers[0][0])
        return max(0.0, min(due) - now_s)
