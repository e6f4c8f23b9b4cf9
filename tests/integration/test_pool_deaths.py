"""Real workers die in every known way: each death is blamed exactly, told in words, and hurts nobody else."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from procwatch.model import Rendered, RenderFailed
from procwatch.pool.exits import parent_of
from procwatch.pool.ports import Report
from tests.support import bad_workers, processes
from tests.support.pool_bench import PoolBench
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(90)]

DEATHS = {
    "sigkill": "SIGKILL",
    "sigsegv": "SIGSEGV",
    "abort": "SIGABRT",
    "exit_3": "exit 3",
    "exit_255": "exit 255",
}


def is_well(report: Report) -> bool:
    return isinstance(report.result, Rendered) and report.death is None


def test_each_death_is_blamed_on_its_job_and_told_in_words(tmp_path: Path) -> None:
    with PoolBench(tmp_path) as bench:
        for kind, exit_text in DEATHS.items():
            bench.ready()
            victim, neighbour = bench.reports([kind, "slow"])
            death = victim.death
            assert death is not None
            if death.exit != "unknown":  # multiprocessing's 255 says nothing on a kernel before 6.15
                assert death.exit == exit_text
            assert (death.kind, death.started) == ("crashed", True)
            assert is_well(neighbour), "the neighbour was hurt"
            told = bench.witness.lost[-1]
            assert (told["job"].partition("-")[0], told["pid"]) == (kind, victim.worker_pid)
        assert len(bench.witness.lost) == len(DEATHS)
        assert len(bench.ran()) == len(DEATHS), "each neighbour once"


@pytest.mark.parametrize(
    ("kind", "code", "reason"),
    [
        ("raise_odd", "internal-error", "NeedsTwoArgumentsError"),
        ("leave", "internal-error", "SystemExit"),
        ("allocate", "out-of-memory", ""),
    ],
)
def test_what_a_decoder_raises_costs_its_file_and_no_worker(
    tmp_path: Path, kind: str, code: str, reason: str
) -> None:
    with PoolBench(tmp_path, workers=1) as bench:
        first = bench.ready().report(kind)
        second = bench.report("well")
        assert isinstance(first.result, RenderFailed)
        assert first.result.code == code
        assert reason in first.result.reason
        assert is_well(second)
        assert second.worker_pid == first.worker_pid
        assert bench.witness.lost == []


@pytest.mark.parametrize("run", [bad_workers.run_without_net, bad_workers.run_returns_odd])
def test_even_an_exception_that_breaks_the_executor_is_one_death(tmp_path: Path, run: object) -> None:
    """BrokenProcessPool out of the parent's own unpickling, on every version of CPython."""
    with PoolBench(tmp_path, entry=bad_workers.worker_entry(run=run)) as bench:  # type: ignore[arg-type]
        report = bench.ready().report("raise_odd")
        assert report.death is not None
        assert report.death.started
        bench.ready()
        assert len(bench.witness.lost) == 1


def test_a_hang_in_c_is_killed_at_most_half_a_second_late(tmp_path: Path) -> None:
    """The process holds the GIL for years, so only SIGKILL from outside ends it."""
    with PoolBench(tmp_path, timeout_s=0.7) as bench:
        bench.ready()
        began_s = time.monotonic()
        hung, neighbour = bench.reports(["hang_in_c", "slow"])
        late_s = time.monotonic() - began_s - 0.7
        assert 0.0 <= late_s <= 0.5
        assert hung.death is not None
        assert (hung.death.kind, hung.death.exit, hung.death.started) == ("timeout", "SIGKILL", True)
        assert is_well(neighbour)


def test_an_idle_worker_that_dies_is_replaced_and_nobody_is_blamed(tmp_path: Path) -> None:
    with PoolBench(tmp_path) as bench:
        bench.ready()
        slot, pid = bench.witness.started[0]
        os.kill(pid, signal.SIGKILL)
        bench.until(lambda: len(bench.witness.started) == 3, timeout_s=5.0)
        assert bench.witness.lost == [
            {"slot": slot, "pid": pid, "exit": "SIGKILL", "reason": "died while idle", "job": None}
        ]
        assert all(is_well(report) for report in bench.ready().reports(["well", "well"]))


def test_a_job_given_to_a_worker_that_has_just_died_comes_back_unblamed(tmp_path: Path) -> None:
    """Between a death and its discovery: the job never started, whatever order the news comes in."""
    with PoolBench(tmp_path, workers=1) as bench:
        for _ in range(5):
            bench.ready()
            pid = bench.witness.started[-1][1]
            os.kill(pid, signal.SIGKILL)
            report = bench.report("well")
            assert report.death is not None
            assert not report.death.started
        assert bench.ran() == []


@pytest.mark.parametrize("ends_them", [True, False])
def test_the_forkserver_may_die_and_nobody_is_blamed(
    ends_them: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its death breaks every executor at once, also those whose workers are well; the next start makes a new one.

    An executor may then take its worker for dead and not end it: starting any process asks after all children first.
    """
    if not ends_them:
        monkeypatch.setattr("multiprocessing.popen_fork.Popen._send_signal", lambda popen, number: None)
    with PoolBench(tmp_path) as bench:
        bench.ready()
        forkserver = parent_of(bench.witness.started[0][1])
        running = [bench.submit("hang_in_c"), bench.submit("hang_in_c")]
        os.kill(forkserver, signal.SIGKILL)
        bench.until(lambda: all(future.done() for future in running), timeout_s=5.0)
        for future in running:
            death = future.result().death
            assert death is not None
            assert not death.started
        bench.ready()
        assert all(is_well(report) for report in bench.reports(["well", "well"]))
        assert {lost["reason"] for lost in bench.witness.lost} == {"lost with the fork server"}
        assert parent_of(bench.witness.started[-1][1]) != forkserver
        old = [pid for _, pid in bench.witness.started[:2]]
        eventually(lambda: not any(processes.alive(pid) for pid in old))


def test_sixty_deaths_leave_descriptors_and_threads_as_they_were(tmp_path: Path) -> None:
    with PoolBench(tmp_path, workers=2) as bench:
        bench.ready().reports(["sigkill", "well"])
        bench.ready()
        before = bench.calm()
        for _ in range(30):
            bench.ready().reports(["sigkill", "exit_3"])
            bench.report_well_on_all()
        assert bench.calm() == before
        assert len(bench.witness.lost) == 61


def test_stopping_answers_running_jobs_and_leaves_no_process(tmp_path: Path) -> None:
    with PoolBench(tmp_path, workers=2) as bench:
        bench.ready()
        before = threading.active_count()
        hung = bench.submit("hang_in_c")
        bench.until(lambda: True)
        bench.pool.stop()
        death = hung.result(timeout=0).death
        assert death is not None
        assert death.kind == "stopped"
        assert not any(processes.alive(pid) for _, pid in bench.witness.started)
        assert threading.active_count() < before
