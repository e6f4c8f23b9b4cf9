"""What a worker process is made of, looked at from outside while it runs."""

import os
import signal
from pathlib import Path

import pytest

from tests.support import images, processes
from tests.support.daemon import Daemon
from tests.support.places import Places
from tests.support.waiting import eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(60)]

#: Read by every interpreter that starts with its folder on PYTHONPATH: it answers a signal with its module list.
#: The file is opened early, so that neither a sandbox nor a changed folder can be in the way.
ASK = signal.SIGRTMIN + 5
HOOK = f"""
import os, signal, sys
_answers = os.open(os.environ["PROCWATCH_TEST_ANSWERS"], os.O_WRONLY | os.O_APPEND)
def _answer(number, frame):
    os.write(_answers, (" ".join([str(os.getpid()), *sys.modules]) + "\\n").encode())
signal.signal({ASK}, _answer)
os.register_at_fork(after_in_child=lambda: signal.signal({ASK}, _answer))
"""
#: The daemon's side of the house; importing it would make every worker bigger and slower to start.
NOT_IN_A_WORKER = (
    "pydantic",
    "pydantic_core",
    "watchdog",
    "structlog",
    "rich",
    "sqlite3",
    "tomllib",
    "procwatch.settings",
    "procwatch.dispatch",
    "procwatch.intake",
    "procwatch.observe",
    "procwatch.delivery",
    "procwatch.service",
    "procwatch.cli",
)


def test_a_worker_has_imaging_and_nothing_of_the_daemon(places: Places, tmp_path: Path) -> None:
    images.write(tmp_path / "hooks/sitecustomize.py", HOOK.encode())
    answers = images.write(tmp_path / "answers", b"")
    env = {"PYTHONPATH": str(tmp_path / "hooks"), "PROCWATCH_TEST_ANSWERS": str(answers)}
    with Daemon("-c", places.write_config(), cwd=tmp_path, env=env) as daemon:
        images.write(places.inbox / "a.jpg", images.jpeg(1))
        worker = daemon.wait_for("job.done", path="a.jpg")["worker_pid"]
        os.kill(worker, ASK)

        def answered() -> list[str]:
            lines = [line.split() for line in answers.read_text().splitlines()]
            return next((words[1:] for words in lines if words[0] == str(worker)), [])

        modules = set(eventually(answered))
    assert {"procwatch.worker.task", "procwatch.imaging.render", "PIL.Image"} <= modules
    unwanted = [
        name
        for name in modules
        if any(name == root or name.startswith(f"{root}.") for root in NOT_IN_A_WORKER)
    ]
    assert not unwanted, sorted(unwanted)


def test_workers_are_children_of_a_forkserver_and_keep_their_pids(places: Places, tmp_path: Path) -> None:
    """Long-lived: the processes that did the first files do the last ones too."""
    with Daemon("-c", places.write_config(), cwd=tmp_path) as daemon:
        before = sorted(daemon.all_workers())
        assert set(before) <= set(daemon.descendants())
        assert not set(before) & set(processes.children(daemon.pid)), "a fork of the threaded daemon"
        for number in range(20):
            images.write(places.inbox / f"{number}.jpg", images.jpeg(number))
        daemon.wait_for_ends(20)
        assert sorted(daemon.worker_pids()) == before


def test_a_killed_daemon_takes_its_workers_along(places: Places, tmp_path: Path) -> None:
    """Even a worker that is in the middle of a long computation, and even one that is stopped."""
    config = places.write_config()
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        frozen = daemon.all_workers()[0]
        processes.freeze(frozen)
        images.move_in(places.inbox / "slow.png", images.slow_png(), outside=tmp_path)
        daemon.wait_for("job.started", path="slow.png")
        daemon.kill9()
        daemon.wait_for_no_orphans(2.0)
