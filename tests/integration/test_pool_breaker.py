"""A canary image on a fresh worker tells a folder full of poison from an installation that is broken."""

from pathlib import Path

import pytest

from procwatch.model import Rendered
from procwatch.worker import canary, entry
from tests.support import bad_workers
from tests.support.pool_bench import PoolBench
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


def test_the_canary_of_a_real_worker_renders() -> None:
    assert canary.render() == ""
    assert entry.canary() == ""


def test_a_folder_full_of_poison_is_charged_and_the_pool_goes_on(tmp_path: Path) -> None:
    with PoolBench(tmp_path, workers=2) as bench:
        for _ in range(5):
            for report in bench.ready().reports(["sigkill", "sigsegv"]):
                assert report.death is not None
                assert (report.death.kind, report.death.started) == ("crashed", True)
        assert bench.witness.breaker == []
        assert isinstance(bench.ready().report("well").result, Rendered)


def canaries(mended: Path) -> int:
    """Return how many canaries died so far."""
    return len(mended.with_name("mended.canaries").read_text().splitlines())


def test_a_broken_installation_charges_nobody_and_recovers_by_itself(tmp_path: Path) -> None:
    mended = tmp_path / "mended"
    worker = bad_workers.worker_entry(
        start=bad_workers.start_unmended,
        arguments=(str(mended),),
        canary=bad_workers.canary_dies_until_mended,
    )
    with PoolBench(tmp_path, workers=2, entry=worker) as bench:
        first, second = bench.ready().reports(["sigsegv", "sigsegv"])
        blamed = [report.death.started for report in (first, second) if report.death is not None]
        assert sorted(blamed) == [False, True], "one death is no pattern; the second asked the canary"
        assert {report.death.kind for report in (first, second) if report.death} == {"crashed", "degraded"}
        assert len(bench.witness.breaker) == 1
        assert bench.witness.breaker[0].startswith(
            "degraded after 2: 2 workers lost in a row, and the worker died"
        )
        bench.until(lambda: bench.is_up)
        assert bench.pool.idle == 0, "nothing moves"

        before = bench.calm()
        for count in (2, 3, 4):  # canaries that fail again, without another word
            bench.let_pass(60.0)
            bench.until(lambda count=count: canaries(mended) == count)  # type: ignore[misc]
            eventually(lambda: bench.calm() == before)
        assert len(bench.witness.breaker) == 1
        assert bench.pool.idle == 0

        mended.touch()
        bench.let_pass(60.0)
        bench.ready()
        assert bench.witness.breaker[1:] == ["recovered"]
        assert isinstance(bench.report("well").result, Rendered)


def test_a_canary_that_says_no_is_as_good_as_a_dead_one(tmp_path: Path) -> None:
    worker = bad_workers.worker_entry(canary=bad_workers.canary_says_no)
    with PoolBench(tmp_path, workers=1, entry=worker) as bench:
        assert bench.ready().report("abort").death is not None
        death = bench.ready().report("abort").death
        assert death is not None
        assert not death.started
        assert "OSError: decoder jpeg not available" in bench.witness.breaker[0]


def test_workers_that_cannot_start_degrade_the_pool(tmp_path: Path) -> None:
    worker = bad_workers.worker_entry(start=bad_workers.start_notes_error)
    with PoolBench(tmp_path, workers=2, entry=worker) as bench:
        bench.until(lambda: bool(bench.witness.breaker))
        assert "libfoo.so.1" in bench.witness.breaker[0]


def test_a_death_that_waits_for_the_canary_is_answered_when_the_pool_stops(tmp_path: Path) -> None:
    with PoolBench(tmp_path, workers=1) as bench:
        bench.ready().report("sigkill")
        running = bench.ready().submit("sigkill")
        bench.until(lambda: len(bench.witness.lost) == 2)
        bench.pool.stop()
        death = running.result(timeout=0).death
        assert death is not None
        assert death.kind in {"stopped", "crashed"}
