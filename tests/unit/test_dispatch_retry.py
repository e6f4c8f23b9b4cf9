"""What a death means for a job, and how long trouble is waited out: decisions without effects."""

import pytest

from procwatch.dispatch.retry import MAX_WORKER_DEATHS, after_death, pause_s
from procwatch.pool.ports import Death

pytestmark = pytest.mark.unit


def death(kind: str = "crashed", *, started: bool = True) -> Death:
    return Death(kind=kind, exit="SIGSEGV", started=started)


def test_the_first_death_is_retried_and_charged() -> None:
    verdict = after_death(death(), deaths=0, timeout_s=120)
    assert (verdict.action, verdict.deaths) == ("retry", 1)


def test_the_last_allowed_death_fails_the_job_and_names_the_signal() -> None:
    verdict = after_death(death(), deaths=MAX_WORKER_DEATHS - 1, timeout_s=120)
    assert (verdict.action, verdict.error) == ("fail", "worker-crashed")
    assert "SIGSEGV" in verdict.reason


def test_a_death_before_the_job_began_is_nobodys() -> None:
    verdict = after_death(death(started=False), deaths=1, timeout_s=120)
    assert (verdict.action, verdict.deaths) == ("retry", 1)


def test_a_timeout_fails_at_once_and_says_how_long() -> None:
    verdict = after_death(death("timeout"), deaths=0, timeout_s=90)
    assert (verdict.action, verdict.error) == ("fail", "timeout")
    assert "90 s" in verdict.reason


def test_waits_double_and_are_bounded() -> None:
    waits = [pause_s(failures, jitter=1.0) for failures in range(1, 12)]
    assert waits[:4] == [1.0, 2.0, 4.0, 8.0]
    assert max(waits) == 60.0


def test_jitter_spreads_waits_by_a_fifth() -> None:
    waits = {pause_s(1) for _ in range(50)}
    assert len(waits) > 1
    assert all(0.8 <= wait <= 1.2 for wait in waits)
