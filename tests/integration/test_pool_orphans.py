"""No worker outlives its daemon, not even one that can run no Python any more; Ctrl-C is the daemon's affair."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.daemon import REPOSITORY, environment
from tests.support.waiting import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(60)]


@contextmanager
def tiny_daemon(folder: Path, kind: str) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-m", "tests.support.tiny_daemon", str(folder), kind]
    daemon = subprocess.Popen(
        argv,
        cwd=REPOSITORY,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == "starting\n"
        yield daemon
    finally:
        for pid in processes.in_session(daemon.pid):
            os.kill(pid, signal.SIGKILL)
        daemon.communicate()


def workers_of(daemon: subprocess.Popen[str]) -> list[int]:
    assert daemon.stdout is not None
    return [int(word) for word in daemon.stdout.readline().split()]


def cpu_ticks(pid: int) -> int:
    return sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))


def is_sleeping_in_python(pid: int) -> bool:
    """Whether the process is in time.sleep() by now, where Python would act on a signal."""
    return "nanosleep" in Path(f"/proc/{pid}/wchan").read_text()


def nobody_is_left(daemon: subprocess.Popen[str]) -> bool:
    return not [pid for pid in processes.in_session(daemon.pid) if pid != daemon.pid]


def test_a_killed_daemon_leaves_no_process_although_its_workers_sit_in_c_code(tmp_path: Path) -> None:
    """They hold the GIL for years: neither a thread nor a handler of theirs could notice anything."""
    with tiny_daemon(tmp_path, "hang_in_c") as daemon:
        workers = workers_of(daemon)
        assert len(workers) == 2
        before = {pid: cpu_ticks(pid) for pid in workers}
        eventually(lambda: all(cpu_ticks(pid) > before[pid] + 10 for pid in workers))  # deep in C code
        daemon.kill()
        eventually(lambda: nobody_is_left(daemon), timeout_s=1.0)


def test_a_killed_daemon_leaves_no_idle_or_stopped_worker_either(tmp_path: Path) -> None:
    with tiny_daemon(tmp_path, "well") as daemon:
        workers = workers_of(daemon)
        processes.freeze(workers[0])
        daemon.kill()
        eventually(lambda: nobody_is_left(daemon), timeout_s=1.0)


def test_a_daemon_that_is_killed_while_workers_start_leaves_none(tmp_path: Path) -> None:
    for _ in range(3):
        with tiny_daemon(tmp_path, "well") as daemon:
            eventually(lambda daemon=daemon: not nobody_is_left(daemon))  # type: ignore[misc]
            daemon.kill()
            eventually(lambda daemon=daemon: nobody_is_left(daemon), timeout_s=2.0)  # type: ignore[misc]


@pytest.mark.parametrize("kind", ["well", "hang_in_c"])
def test_ctrl_c_prints_no_traceback_of_a_worker(tmp_path: Path, kind: str) -> None:
    with tiny_daemon(tmp_path, kind) as daemon:
        workers_of(daemon)
        os.killpg(daemon.pid, signal.SIGINT)
        _, errors = daemon.communicate(timeout=10)
        assert errors == ""
        assert daemon.returncode == 0
        eventually(lambda: nobody_is_left(daemon), timeout_s=1.0)


def test_ctrl_c_prints_no_traceback_of_a_worker_that_is_just_starting(tmp_path: Path) -> None:
    """Before the initializer has run, a new process has the interpreter's own handler."""
    with tiny_daemon(tmp_path, "start_hangs") as daemon:
        # The daemon, the resource tracker, the forkserver and two workers on their way into the initializer.
        eventually(lambda: len(processes.in_session(daemon.pid)) == 5)
        newest = max(processes.in_session(daemon.pid))
        eventually(lambda: is_sleeping_in_python(newest))
        os.killpg(daemon.pid, signal.SIGINT)
        _, errors = daemon.communicate(timeout=10)
        assert errors == ""
        eventually(lambda: nobody_is_left(daemon), timeout_s=1.0)
