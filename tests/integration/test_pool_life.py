"""Real workers start, are replaced when they have done enough or grown too much, and are started again."""

import errno
import threading
import time
from pathlib import Path
from typing import Any, cast

import pytest

from procwatch.model import Rendered
from procwatch.pool import slot
from procwatch.pool.ports import WorkerEntry
from procwatch.pool.slot import DEATH_S
from tests.support import bad_workers, processes
from tests.support.pool_bench import PoolBench, no_pool_threads, open_files
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


def test_workers_live_long(tmp_path: Path) -> None:
    with PoolBench(tmp_path) as bench:
        bench.ready()
        pids = {report.worker_pid for _ in range(20) for report in bench.reports(["well", "well"])}
        assert pids == {pid for _, pid in bench.witness.started}
        assert len(set(bench.ran())) == len(bench.ran()) == 40


def test_a_worker_is_replaced_after_its_share_of_jobs(tmp_path: Path) -> None:
    with PoolBench(tmp_path, workers=1, recycle_after_jobs=3) as bench:
        pids = [bench.ready().report("well").worker_pid for _ in range(9)]
        bench.ready()
        assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 3]
        assert [reason for _, _, reason in bench.witness.recycled] == ["3 jobs done"] * 3
        assert bench.witness.lost == []
        assert not any(processes.alive(pid) for pid in pids)


def test_a_worker_that_grows_is_replaced(tmp_path: Path) -> None:
    with PoolBench(tmp_path, workers=1, max_rss_growth_bytes=60 * 1024**2) as bench:
        first = bench.ready().report("well").worker_pid
        pids = [bench.ready().report("leak").worker_pid for _ in range(4)]
        assert pids[:3] == [first] * 3  # 24 MiB each: the third makes 72
        assert pids[3] != first
        assert [reason for _, _, reason in bench.witness.recycled] == ["resident memory grew"]


def test_a_start_that_fails_early_leaves_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when there are none left: each attempt took four more with it."""

    def refuse(**_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(slot, "HandoverExecutor", refuse)
    entry = WorkerEntry(
        start=print, hello=cast("Any", print), run=cast("Any", print), canary=cast("Any", print)
    )
    before = open_files()
    for _ in range(3):
        with pytest.raises(OSError, match="Too many"):
            slot.start_worker(entry, 1, threading.Event())
    assert open_files() == before


def test_recycling_leaves_descriptors_and_threads_as_they_were(tmp_path: Path) -> None:
    with PoolBench(tmp_path, workers=2, recycle_after_jobs=1) as bench:
        bench.ready().reports(["well", "well"])
        bench.ready()
        before = bench.calm()
        for _ in range(20):
            bench.ready().reports(["well", "well"])
        assert bench.calm() == before


@pytest.mark.parametrize("notes_only", [False, True])
def test_a_worker_that_cannot_start_is_tried_again_and_told(tmp_path: Path, notes_only: bool) -> None:
    start = bad_workers.start_notes_error if notes_only else bad_workers.start_raises
    arguments = () if notes_only else (str(tmp_path / "mended"),)
    entry = bad_workers.worker_entry(start=start, arguments=arguments)
    with PoolBench(tmp_path, workers=1, entry=entry) as bench:
        bench.until(lambda: len(bench.witness.lost) == 2)
        assert bench.pool.idle == 0
        told = bench.witness.lost[0]
        assert told["reason"].startswith("did not start: ")
        if notes_only:
            assert "libfoo.so.1" in told["reason"]
            return
        (tmp_path / "mended").touch()
        assert isinstance(bench.ready().report("well").result, Rendered)


def test_failed_starts_leave_nothing_behind(tmp_path: Path) -> None:
    entry = bad_workers.worker_entry(start=bad_workers.start_notes_error)
    with PoolBench(tmp_path, workers=1, entry=entry) as bench:
        bench.until(lambda: len(bench.witness.lost) == 2)
        bench.until(lambda: bool(bench.witness.breaker))  # the canary's worker is gone too
        bench.until(no_pool_threads)
        before = open_files(), threading.active_count()
        bench.let_pass(1.0)
        bench.until(lambda: len(bench.witness.lost) == 3)
        bench.until(no_pool_threads)
        assert (open_files(), threading.active_count()) == before


def test_stopping_does_not_wait_for_a_start_that_hangs(tmp_path: Path) -> None:
    before = threading.active_count()
    with PoolBench(
        tmp_path, workers=2, entry=bad_workers.worker_entry(start=bad_workers.start_hangs)
    ) as bench:
        bench.until(lambda: True)
        time.sleep(0.5)  # the processes are there and hang; there is nothing of theirs to wait for
        began_s = time.monotonic()
        bench.pool.stop()
        assert time.monotonic() - began_s < 2.0
    assert threading.active_count() == before


def test_a_worker_that_cannot_be_killed_is_done_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits in the kernel for a file system that does not answer: SIGKILL is delivered when that answers."""
    monkeypatch.setattr("procwatch.pool.slot.signal.pidfd_send_signal", lambda *_: None)
    with PoolBench(tmp_path, workers=1) as bench:
        running = bench.ready().submit("hang_in_c")
        bench.until(lambda: bench.begun(running))
        bench.pool.abandon("hang_in_c-1")
        bench.until(lambda: bench.pool.tick(bench.clock()) is not None)
        assert not running.done()
        bench.let_pass(DEATH_S)
        bench.until(running.done)
        death = running.result().death
        assert death is not None
        assert death.kind == "abandoned"
        assert bench.ready().report("well").worker_pid != running.worker_pid
        assert [lost["pid"] for lost in bench.witness.lost] == [running.worker_pid]


def test_the_end_does_not_wait_for_workers_that_cannot_be_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = threading.active_count()
    with PoolBench(tmp_path, workers=3) as bench:
        bench.ready()
        pids = [view.worker_pid for view in bench.pool.view(bench.clock())]
        with monkeypatch.context() as dead:
            dead.setattr(
                "procwatch.pool.slot.is_over", lambda pidfd, *, wait_ms=0: time.sleep(wait_ms / 1000)
            )
            began_s = time.monotonic()
            bench.pool.stop()
            assert DEATH_S - 0.5 < time.monotonic() - began_s < 2 * DEATH_S
    eventually(lambda: not any(processes.alive(pid) for pid in pids if pid))
    eventually(lambda: threading.active_count() == before)  # the executors end with their processes


def test_the_view_tells_what_each_slot_does(tmp_path: Path) -> None:
    with PoolBench(tmp_path) as bench:
        running = bench.ready().submit("slow")
        busy, idle = sorted(bench.pool.view(time.monotonic() + 1.0), key=lambda view: view.job is None)
        assert (busy.slot, busy.worker_pid, busy.job) == (running.slot, running.worker_pid, "slow-1")
        assert 1.0 <= busy.busy_s < 1.5
        assert (idle.job, idle.busy_s) == (None, 0.0)
        bench.until(running.done)
        assert sum(view.jobs for view in bench.pool.view(time.monotonic())) == 1
        assert max(view.rss_bytes for view in bench.pool.view(time.monotonic())) > 10 * 1024**2
