"""What binds a real worker, read from outside, and what happens at the limit of its memory."""

from pathlib import Path

import pytest

from procwatch.model import Rendered, RenderFailed
from tests.support import bad_workers
from tests.support.pool_bench import PoolBench

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]

GIB = 1024**3


def limits_of(pid: int) -> dict[str, tuple[str, str]]:
    """Return name → (soft, hard) as proc(5) shows them."""
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()[1:]
    return {line[:26].strip(): (line[26:47].strip(), line[47:68].strip()) for line in lines}


def address_space(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * 4096


def test_a_worker_is_bound_before_its_first_job(tmp_path: Path) -> None:
    with PoolBench(tmp_path, workers=1) as bench:
        pid = bench.ready().witness.started[0][1]
        limits = limits_of(pid)
        assert limits["Max core file size"] == ("0", "0")
        assert limits["Max open files"] == ("128", "128")
        assert limits["Max file size"] == (str(4 * GIB), str(4 * GIB))
        soft, hard = limits["Max address space"]
        assert soft == hard
        assert GIB < int(hard) <= GIB + address_space(pid)
        assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "500"


def test_a_running_job_has_its_grant_and_a_bounded_cpu_time(tmp_path: Path) -> None:
    with PoolBench(tmp_path, workers=1) as bench:
        running = bench.ready().submit("slow")
        bench.until(lambda: limits_of(running.worker_pid)["Max cpu time"][0] != "unlimited")
        soft, hard = (int(value) for value in limits_of(running.worker_pid)["Max address space"])
        assert hard - soft == GIB - bad_workers.BOUNDS.grant_bytes
        bench.until(running.done)
        soft, hard = (int(value) for value in limits_of(running.worker_pid)["Max address space"])
        assert soft == hard, "between jobs nothing may fail for memory"


def test_too_much_memory_is_a_failure_of_that_file_alone(tmp_path: Path) -> None:
    with PoolBench(tmp_path, workers=1) as bench:
        for _ in range(3):
            result = bench.ready().report("allocate").result
            assert isinstance(result, RenderFailed)
            assert result.code == "out-of-memory"
            assert isinstance(bench.report("well").result, Rendered)
        assert bench.witness.lost == []


def test_an_abort_near_the_limit_is_out_of_memory_and_far_from_it_a_crash(tmp_path: Path) -> None:
    """Rust aborts where Python raises MemoryError (cykooz-resizer under RLIMIT_AS)."""
    with PoolBench(tmp_path, workers=1) as bench:
        near = bench.ready().report("abort_near_the_limit").death
        far = bench.ready().report("abort").death
        assert near is not None
        assert far is not None
        assert (near.kind, far.kind) == ("out-of-memory", "crashed")
        assert near.exit in {"SIGABRT", "unknown"}


def test_a_job_that_needs_more_than_its_grant_says_so_before_it_takes_anything(tmp_path: Path) -> None:
    with PoolBench(tmp_path, workers=1) as bench:
        result = bench.ready().report("needs_768_mib").result
        assert result == RenderFailed(code="deferred", reason=str(768 * 1024**2))
        again = bench.pool.submit(bench.task("needs_768_mib", 2, grant_bytes=768 * 1024**2))
        bench.until(again.done)
        assert isinstance(again.result().result, Rendered)
