"""Jobs that need more memory than others wait for a grant, and are forgotten with their inbox."""

import pytest

from procwatch.dispatch.job import Job
from procwatch.dispatch.large import LargeJobs
from procwatch.model import Fingerprint
from procwatch.pool.admission import RESERVE_AFTER_S, Budget

pytestmark = pytest.mark.unit


def job(name: str, grant_bytes: int = 0) -> Job:
    return Job(
        id=name,
        inbox="inbox",
        path=name,
        fingerprint=Fingerprint(device=0, inode=0, size=0, mtime_ns=0),
        ctime_ns=0,
        changed_ns=0,
        queued_s=0.0,
        queued_at=0.0,
        removable_after_s=0.0,
        want_digest=False,
        grant_bytes=grant_bytes,
    )


def anybody(job: Job) -> bool:
    return True


def nothing(inbox: str) -> bool:
    """Whether an inbox is paused: none is."""
    return False


@pytest.fixture
def large() -> LargeJobs:
    return LargeJobs(Budget(total_bytes=1000, grant_bytes=100))


def test_a_large_job_runs_when_the_small_ones_leave_it_room(large: LargeJobs) -> None:
    big = job("big", 900)
    large.add(big, 0.0)
    assert large.take([job("a"), job("b")], 1.0, anybody) is None
    assert large.lets_start([job("a"), job("b")], 1.0, nothing), "small ones flow on"
    assert large.take([job("a")], 1.0, anybody) is big
    assert len(large) == 0


def test_small_jobs_stop_when_it_has_waited_long(large: LargeJobs) -> None:
    large.add(job("big", 900), 0.0)
    assert not large.lets_start([job("a")], RESERVE_AFTER_S, nothing)


def test_nothing_is_kept_free_for_a_paused_inbox(large: LargeJobs) -> None:
    large.add(job("big", 900), 0.0)
    assert large.lets_start([job("a")], RESERVE_AFTER_S, lambda inbox: True)


def test_a_running_large_job_holds_its_grant(large: LargeJobs) -> None:
    assert large.lets_start([job("big", 900)], 0.0, nothing)
    assert not large.lets_start([job("big", 901)], 0.0, nothing)


def test_who_may_not_run_is_passed_over(large: LargeJobs) -> None:
    paused, other = job("paused", 500), job("other", 500)
    large.add(paused, 0.0)
    large.add(other, 1.0)
    assert large.take([], 2.0, lambda job: job is not paused) is other


def test_a_job_that_nobody_knows_any_more_is_forgotten(large: LargeJobs) -> None:
    large.add(job("gone", 900), 0.0)
    large.keep(lambda job: False)
    assert len(large) == 0
    assert large.lets_start([job("a")], RESERVE_AFTER_S, nothing)


def test_what_can_never_run_is_refused_with_what_to_do(large: LargeJobs) -> None:
    assert large.refusal(1000) == ""
    assert "raise [limits] memory" in large.refusal(1001)
