"""What was done today, how fast, and what failed last, by inbox: the figures of status. Loop thread only."""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

#: The rate is that of the last minute, counted in buckets of a second.
RATE_WINDOW_S: Final = 60.0
#: Failures that are remembered for a look; the log has them all.
MAX_FAILURES: Final = 10


class Tally:
    """Counts from local midnight on. `add_earlier` brings in what runs before this one did."""

    def __init__(
        self, *, wall_s: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall_s = wall_s
        self._clock = clock
        self._day = self._today()
        self._rolled_at_s = 0
        self._done: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._ended: dict[str, deque[tuple[int, int]]] = {}
        self.failures: deque[Mapping[str, Any]] = deque(maxlen=MAX_FAILURES)

    def count_done(self, inbox: str) -> None:
        self._roll()
        self._done[inbox] += 1
        self._tick(inbox)

    def count_failed(self, line: Mapping[str, Any]) -> None:
        """Take the fields of a job.failed line."""
        self._roll()
        inbox = str(line["inbox"])
        self._failed[inbox] += 1
        self._tick(inbox)
        self.failures.append(
            {"failed_at_s": round(self._wall_s(), 3)}
            | {key: line.get(key) for key in ("inbox", "path", "error", "reason", "job")}
        )

    def add_earlier(
        self,
        day: tuple[int, int],
        done: Mapping[str, int],
        failed: Mapping[str, int],
        failures: Iterable[Mapping[str, Any]],
    ) -> None:
        """Add what the ledger knows from before this run; `day` is the one that it was asked about."""
        self._roll()
        if day == self._day:
            self._done.update(done)
            self._failed.update(failed)
        self.failures.extendleft(list(reversed(list(failures)))[: MAX_FAILURES - len(self.failures)])

    def today(self, inbox: str) -> tuple[int, int]:
        """Return (done, failed) since midnight."""
        self._roll()
        return self._done[inbox], self._failed[inbox]

    def per_minute(self, inbox: str) -> int:
        """Return how many files ended within the last minute."""
        buckets = self._ended.get(inbox)
        if buckets is None:
            return 0
        self._forget_old(buckets)
        return sum(count for _, count in buckets)

    def _tick(self, inbox: str) -> None:
        second = int(self._clock())
        buckets = self._ended.setdefault(inbox, deque())
        if buckets and buckets[-1][0] == second:
            buckets[-1] = (second, buckets[-1][1] + 1)
        else:
            self._forget_old(buckets)
            buckets.append((second, 1))

    def _forget_old(self, buckets: deque[tuple[int, int]]) -> None:
        while buckets and buckets[0][0] <= self._clock() - RATE_WINDOW_S:
            buckets.popleft()

    def _roll(self) -> None:
        second = int(self._wall_s())
        if second == self._rolled_at_s:  # asked for every file, and localtime() is slow
            return
        self._rolled_at_s = second
        today = self._today()
        if today != self._day:
            self._day = today
            self._done.clear()
            self._failed.clear()

    def _today(self) -> tuple[int, int]:
        return day_of(self._wall_s())


def day_of(wall_s: float) -> tuple[int, int]:
    """Return year and day of the year, local time."""
    local = time.localtime(wall_s)
    return local.tm_year, local.tm_yday


def midnight_before(wall_s: float) -> float:
    """Return when the local day of `wall_s` began, in epoch seconds."""
    local = time.localtime(wall_s)
    return time.mktime((local.tm_year, local.tm_mon, local.tm_mday, 0, 0, 0, 0, 0, -1))
