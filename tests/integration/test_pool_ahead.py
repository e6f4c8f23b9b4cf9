"""What lies ready at a busy worker: done in its turn, taken back while it has not begun, blamed for nothing."""

import fcntl
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from procwatch.model import Rendered
from procwatch.pool.places import PATIENCE_S
from procwatch.pool.pool import ProcessWorkerPool
from procwatch.pool.ports import Running
from tests.support import processes
from tests.support.pool_bench import PoolBench, no_pool_threads
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


def _kind(running: Running) -> str:
    death = running.result().death
    return "done" if death is None else death.kind


def test_there_is_room_behind_busy_workers_only(tmp_path: Path) -> None:
    with PoolBench(tmp_path, workers=2) as bench:
        assert bench.ready().pool.ahead == 0
        bench.submit("slow")
        assert (bench.pool.idle, bench.pool.ahead) == (1, 1)
        bench.submit("slow")
        bench.submit("slow")
        bench.submit("slow")
        assert (bench.pool.idle, bench.pool.ahead) == (0, 0)


def test_short_tasks_are_handed_out_many_at_a_time_and_long_ones_singly(tmp_path: Path) -> None:
    with PoolBench(tmp_path, workers=1) as bench:
        for _ in range(20):
            bench.ready().report("well")
        bench.submit("well")
        assert bench.pool.ahead == 14
        bench.until(lambda: bench.pool.idle == 1)
        for _ in range(8):
            bench.ready().report("slow")
        bench.submit("slow")
        assert bench.pool.ahead == 1


@pytest.mark.parametrize(("slots", "ahead"), [(1, 0), (2, 1), (4, 3)])
def test_no_more_lies_ready_than_there_is_room_for_tokens(
    slots: int, ahead: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user with many pipes gets short ones from the kernel (pipe(7), pipe-user-pages-soft)."""
    pipe2 = os.pipe2

    def short_pipe2(flags: int) -> tuple[int, int]:
        reader, writer = pipe2(flags)
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, slots * os.sysconf("SC_PAGE_SIZE"))
        return reader, writer

    monkeypatch.setattr("procwatch.turns.os.pipe2", short_pipe2)
    with PoolBench(tmp_path, workers=1) as bench:
        for _ in range(20):
            bench.ready().report("well")
        pid = bench.ready().report("well").worker_pid
        processes.freeze(pid)
        running = [bench.submit("well")]
        assert bench.pool.ahead == ahead
        running += [bench.submit("well") for _ in range(bench.pool.room)]
        assert bench.pool.room == 0
        os.kill(pid, signal.SIGCONT)
        bench.until(lambda: all(future.done() for future in running))
        assert {_kind(future) for future in running} == {"done"}
        assert bench.witness.lost == []


def test_what_lies_ready_is_done_in_its_turn(tmp_path: Path) -> None:
    with PoolBench(tmp_path, workers=1) as bench:
        running = [bench.ready().submit("slow"), bench.submit("well")]
        bench.until(lambda: all(future.done() for future in running))
        assert bench.ran() == ["slow-1", "well-2"]
        assert running[1].result().run_s < 0.3  # counted from when its worker was free


def test_taken_back_is_never_done_and_what_is_at_work_goes_on(tmp_path: Path) -> None:
    with PoolBench(tmp_path, workers=1) as bench:
        running = [bench.ready().submit("slow"), bench.submit("well")]
        bench.until(lambda: bench.begun(running[0]))
        bench.pool.revoke()
        assert _kind(running[1]) == "revoked"
        bench.until(running[0].done)
        assert isinstance(
            bench.ready().report("well").result, Rendered
        )  # the worker is none the worse for it
        assert bench.ran() == ["slow-1", "well-3"]


def test_what_an_idle_worker_was_given_is_not_taken_back(tmp_path: Path) -> None:
    """A stop finishes what a worker has, also in the moment before it begins."""
    with PoolBench(tmp_path, workers=1) as bench:
        pid = bench.ready().report("well").worker_pid
        processes.freeze(pid)
        running = bench.ready().submit("well")
        bench.pool.revoke()
        assert not running.done()
        os.kill(pid, signal.SIGCONT)
        bench.until(running.done)
        assert _kind(running) == "done"


def test_nothing_waits_behind_a_long_task(tmp_path: Path) -> None:
    with PoolBench(tmp_path, workers=1) as bench:
        running = [bench.ready().submit("hang_in_c"), bench.submit("well")]
        bench.until(lambda: bench.begun(running[0]))
        bench.let_pass(PATIENCE_S + 0.1)
        bench.until(running[1].done)
        assert _kind(running[1]) == "revoked"
        assert bench.pool.ahead == 0
        assert not running[0].done()
        bench.pool.abandon("hang_in_c-1")
        bench.until(running[0].done)
        assert _kind(running[0]) == "abandoned"


@pytest.mark.parametrize("kind", ["sigkill", "sigsegv", "exit_3"])
def test_a_death_is_blamed_on_what_was_at_work(tmp_path: Path, kind: str) -> None:
    with PoolBench(tmp_path, workers=1) as bench:
        running = [bench.ready().submit("slow"), bench.submit(kind)]
        # At that very moment: in the next one the dead worker may be buried.
        running[0].add_done_callback(lambda _: running.append(bench.submit("well")))
        bench.until(lambda: len(running) == 3 and all(future.done() for future in running))
        assert _kind(running[0]) == "done"
        death = running[1].result().death
        assert death is not None
        assert (death.kind, death.started) == ("crashed", True)
        # Handed out ahead of the death, or refused because of it: it did not begin.
        late = running[2].result().death
        assert late is not None
        assert not late.started
        assert bench.ran() == ["slow-1"]


def test_a_timeout_takes_nothing_else_with_it(tmp_path: Path) -> None:
    with PoolBench(tmp_path, workers=1, timeout_s=0.5) as bench:
        running = [bench.ready().submit("hang_in_c"), bench.submit("well")]
        bench.until(lambda: all(future.done() for future in running))
        assert [_kind(future) for future in running] == ["timeout", "revoked"]


def test_an_abandoned_task_that_lay_ready_costs_no_worker(tmp_path: Path) -> None:
    with PoolBench(tmp_path, workers=1) as bench:
        running = [bench.ready().submit("slow"), bench.submit("well")]
        bench.until(lambda: bench.begun(running[0]))
        bench.pool.abandon("well-2")
        bench.until(lambda: all(future.done() for future in running))
        assert [_kind(future) for future in running] == ["done", "revoked"]
        assert bench.witness.lost == []


def test_renewing_takes_back_what_the_old_worker_would_do(tmp_path: Path) -> None:
    with PoolBench(tmp_path, workers=1) as bench:
        running = [bench.ready().submit("slow"), bench.submit("well")]
        bench.until(lambda: bench.begun(running[0]))
        bench.pool.renew("a test")
        bench.until(lambda: all(future.done() for future in running))
        assert [_kind(future) for future in running] == ["done", "revoked"]
        assert bench.ready().report("well").worker_pid != running[0].worker_pid


@pytest.mark.parametrize(
    "ask",
    [
        lambda pool: pool.renew("a test"),
        lambda pool: pool.revoke(),
        lambda pool: pool.abandon("well-2"),
        lambda pool: pool.resize(0, timeout_s=20.0),
        lambda pool: (pool.idle, pool.ahead, pool.room, pool.tick(1e9)),
    ],
    ids=["renew", "revoke", "abandon", "resize", "look"],
)
def test_what_is_asked_while_a_dead_worker_is_put_away_does_not_touch_it(
    ask: Callable[[ProcessWorkerPool], object], tmp_path: Path
) -> None:
    """A thread closes its descriptors, whose numbers may be other files' then. That ended the daemon by EBADF."""
    with PoolBench(tmp_path, workers=1) as bench:
        running = [bench.ready().submit("hang_in_c"), bench.submit("well")]
        bench.until(lambda: bench.begun(running[0]))
        worker = bench.pool._slots[0].worker
        assert worker is not None
        os.kill(worker.pid, signal.SIGKILL)
        bench.until(lambda: worker.is_being_buried)
        eventually(no_pool_threads)
        ask(bench.pool)
        bench.until(lambda: all(future.done() for future in running))
        assert [_kind(future) for future in running] == ["crashed", "revoked"]


def test_stopping_answers_everything(tmp_path: Path) -> None:
    with PoolBench(tmp_path, workers=1) as bench:
        running = [bench.ready().submit("hang_in_c"), bench.submit("well")]
        bench.until(lambda: bench.begun(running[0]))
        bench.pool.stop()
        assert [_kind(future) for future in running] == ["stopped", "stopped"]
        deaths = [future.result().death for future in running]
        assert [death.started for death in deaths if death] == [True, False]
