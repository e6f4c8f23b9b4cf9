"""The backlog: fair between inboxes, suspects alone, pauses with reasons."""

import pytest

from procwatch.dispatch.backlog import Backlog
from procwatch.dispatch.job import Job
from procwatch.model import Fingerprint

pytestmark = pytest.mark.unit


def job(name: str, inbox: str = "a", suspicion: int = 0) -> Job:
    return Job(
        id=name,
        inbox=inbox,
        path=name,
        fingerprint=Fingerprint(device=1, inode=1, size=1, mtime_ns=1),
        ctime_ns=0,
        changed_ns=0,
        queued_s=0.0,
        queued_at=0.0,
        removable_after_s=0.0,
        want_digest=False,
        suspicion=suspicion,
    )


def take(backlog: Backlog, count: int = 1) -> list[str]:
    found = [backlog.next(running=0, suspect_running=False) for _ in range(count)]
    return [each.id for each in found if each is not None]


def test_inboxes_take_turns_however_many_wait_in_one_of_them() -> None:
    backlog = Backlog()
    for number in range(100):
        backlog.add(job(f"a{number}", "a"))
    backlog.add(job("b0", "b"))
    assert "b0" in take(backlog, 2)


def test_jobs_of_one_inbox_run_in_the_order_in_which_they_came() -> None:
    backlog = Backlog()
    for number in range(5):
        backlog.add(job(str(number)))
    assert take(backlog, 5) == list("01234")


def test_a_suspect_waits_until_nothing_runs_and_then_nothing_else_starts() -> None:
    backlog = Backlog()
    backlog.add(job("innocent"))
    backlog.add(job("suspect", suspicion=1))
    assert backlog.next(running=1, suspect_running=False) is None
    assert take(backlog) == ["suspect"]
    assert backlog.next(running=1, suspect_running=True) is None
    assert take(backlog) == ["innocent"]


def test_an_inbox_starts_again_only_when_every_reason_of_its_pause_is_over() -> None:
    backlog = Backlog()
    backlog.add(job("one"))
    backlog.pause("a", "room")
    backlog.pause("a", "trouble")
    backlog.resume("a", "room")
    assert take(backlog) == []
    backlog.resume("a", "trouble")
    assert take(backlog) == ["one"]


def test_a_paused_inbox_does_not_hold_up_another() -> None:
    backlog = Backlog()
    backlog.add(job("one", "a"))
    backlog.add(job("two", "b"))
    backlog.pause("a")
    assert take(backlog, 2) == ["two"]


def test_a_suspect_of_a_paused_inbox_does_not_hold_up_the_others() -> None:
    backlog = Backlog()
    backlog.add(job("suspect", "a", suspicion=1))
    backlog.add(job("two", "b"))
    backlog.pause("a")
    assert take(backlog) == ["two"]


def test_position_counts_those_before() -> None:
    backlog = Backlog()
    for name in ("x", "y", "z"):
        backlog.add(job(name))
    assert backlog.position("z") == 2
    assert backlog.position("nobody") is None


def test_what_comes_back_unbegun_is_the_next_of_its_inbox() -> None:
    backlog = Backlog()
    for number in range(3):
        backlog.add(job(str(number)))
    taken = backlog.next(running=0, suspect_running=False)
    assert taken is not None
    backlog.add(taken, first=True)
    assert take(backlog, 3) == list("012")
