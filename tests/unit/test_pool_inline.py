"""The pool without processes keeps the promises of the real one."""

import pytest

from procwatch.model import Fingerprint, Limits, Rendered, RenderTask
from procwatch.pool.ports import WorkerPool
from procwatch.testing import InlinePool

pytestmark = pytest.mark.unit

WELL = Rendered(renditions=(), width=1, height=1, format="JPEG", frames=1)


def task(path: str = "a.jpg") -> RenderTask:
    return RenderTask(
        job="0",
        attempt=1,
        root="/inbox",
        path=path,
        fingerprint=Fingerprint(device=0, inode=0, size=0, mtime_ns=0),
        recipe=None,
        staging_root="/staging",
        limits=Limits(),
    )


@pytest.fixture
def pool() -> InlinePool:
    pool = InlinePool(lambda task, slot: WELL, workers=2)
    pool.start()
    return pool


def test_it_is_a_worker_pool(pool: InlinePool) -> None:
    port: WorkerPool = pool
    assert (port.size, port.idle) == (2, 2)
    assert port.tick(0.0) is None


def test_a_task_is_done_when_submit_returns_and_slots_take_turns(pool: InlinePool) -> None:
    reports = [pool.submit(task()).result(timeout=0) for _ in range(4)]
    assert [report.result for report in reports] == [WELL] * 4
    assert sorted(report.slot for report in reports) == [1, 1, 2, 2]
    assert sum(view.jobs for view in pool.view(0.0)) == 4


def test_a_worker_dies_of_the_path_it_was_told_to_and_is_replaced(pool: InlinePool) -> None:
    pool.die("bad.jpg", exit_text="SIGSEGV", times=2)
    first, second, third = (pool.submit(task("bad.jpg")).result(timeout=0) for _ in range(3))
    assert first.death is not None
    assert (first.death.kind, first.death.exit, first.death.started) == ("crashed", "SIGSEGV", True)
    assert second.death is not None
    assert third.result == WELL
    assert first.worker_pid not in {view.worker_pid for view in pool.view(0.0)}
    assert pool.submit(task("good.jpg")).result(timeout=0).death is None


def test_a_timeout_looks_like_one(pool: InlinePool) -> None:
    pool.time_out("slow.jpg")
    death = pool.submit(task("slow.jpg")).result(timeout=0).death
    assert death is not None
    assert (death.kind, death.started) == ("timeout", True)


def test_nobody_is_idle_before_the_start_while_degraded_and_after_the_stop() -> None:
    pool = InlinePool(lambda task, slot: WELL)
    assert pool.idle == 0
    pool.start()
    assert pool.idle == 1
    pool.is_degraded = True
    assert pool.idle == 0
    pool.stop()
    assert pool.idle == 0
