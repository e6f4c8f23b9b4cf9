"""The figures of status: today's counts, the rate of the last minute, the last failures."""

import time

import pytest

from procwatch.dispatch.tally import MAX_FAILURES, Tally, day_of, midnight_before

pytestmark = pytest.mark.unit

NOON = time.mktime((2027, 3, 14, 12, 0, 0, 0, 0, -1))


class Clock:
    """Wall and monotonic time that a test moves."""

    def __init__(self) -> None:
        self.now_s = NOON

    def __call__(self) -> float:
        return self.now_s


def tally() -> tuple[Tally, Clock]:
    clock = Clock()
    return Tally(wall_s=clock, clock=clock), clock


def line(path: str, inbox: str = "inbox") -> dict[str, str]:
    return {
        "inbox": inbox,
        "path": path,
        "error": "timeout",
        "reason": "too slow",
        "job": "0001",
        "slot": "1",
    }


def test_counts_are_by_inbox_and_begin_anew_at_midnight() -> None:
    figures, clock = tally()
    figures.count_done("a")
    figures.count_done("a")
    figures.count_failed(line("x.jpg", "b"))
    assert (figures.today("a"), figures.today("b"), figures.today("c")) == ((2, 0), (0, 1), (0, 0))
    clock.now_s += 13 * 3600
    assert (figures.today("a"), figures.today("b")) == ((0, 0), (0, 0))


def test_the_rate_is_that_of_the_last_minute() -> None:
    figures, clock = tally()
    for _ in range(90):
        figures.count_done("a")
        clock.now_s += 1
    assert figures.per_minute("a") == 59
    clock.now_s += 30
    assert figures.per_minute("a") == 29
    clock.now_s += 3600
    assert figures.per_minute("a") == 0
    assert figures.per_minute("never") == 0


def test_the_last_failures_are_kept_and_no_more() -> None:
    figures, _ = tally()
    for number in range(MAX_FAILURES + 3):
        figures.count_failed(line(f"{number}.jpg"))
    assert [failure["path"] for failure in figures.failures] == [
        f"{n}.jpg" for n in range(3, MAX_FAILURES + 3)
    ]
    assert figures.failures[0] == {
        "failed_at_s": NOON,
        "inbox": "inbox",
        "path": "3.jpg",
        "error": "timeout",
        "reason": "too slow",
        "job": "0001",
    }


def test_what_earlier_runs_did_comes_before_what_this_one_did() -> None:
    figures, clock = tally()
    figures.count_failed(line("new.jpg"))
    figures.add_earlier(day_of(NOON), {"inbox": 5}, {"inbox": 2}, [line("old.jpg"), line("older.jpg")][::-1])
    assert figures.today("inbox") == (5, 3)
    assert [failure["path"] for failure in figures.failures] == ["older.jpg", "old.jpg", "new.jpg"]
    clock.now_s += 86400
    figures.add_earlier(day_of(NOON), {"inbox": 5}, {}, [])
    assert figures.today("inbox") == (0, 0), "an answer about yesterday"


def test_of_many_earlier_failures_the_newest_fill_the_room_that_is_left() -> None:
    figures, _ = tally()
    figures.count_failed(line("new.jpg"))
    figures.add_earlier(day_of(NOON), {}, {}, [line(f"{number}.jpg") for number in range(MAX_FAILURES)])
    expected = [*(f"{number}.jpg" for number in range(1, MAX_FAILURES)), "new.jpg"]
    assert [failure["path"] for failure in figures.failures] == expected


def test_midnight_is_the_local_one() -> None:
    assert NOON - midnight_before(NOON) == 12 * 3600
    assert midnight_before(midnight_before(NOON)) == midnight_before(NOON)
