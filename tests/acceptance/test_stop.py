"""Stopping: running work is finished, the rest stays in the inbox, and no process is left."""

import os
import time
from pathlib import Path

import pytest

from tests.support import images, logs, processes
from tests.support.daemon import Daemon, procwatch
from tests.support.oracle import Oracle
from tests.support.places import Places
from tests.support.terminal import Session
from tests.support.waiting import eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(60)]


def test_sigterm_finishes_running_jobs_and_leaves_the_rest_in_the_inbox(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    config = places.write_config(inbox='settle = "0s"')
    for number in range(40):
        images.write(
            places.inbox / f"{number}.jpg", oracle.expect(f"{number}.jpg", images.noisy_jpeg(number))
        )
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        daemon.wait_for("job.done", count=2)
        assert daemon.terminate() == 0
        events = [line["event"] for line in daemon.lines()]
        assert events[-1] == "service.stopped"
        assert "service.stopping" in events
    ended = {line["path"] for line in logs.terminal(daemon.lines())}
    assert 2 <= len(ended) < 40, "nothing was left to leave"
    found = oracle.check()
    assert {path for path, place in found.items() if place == "archive"} <= ended
    assert set(found.values()) <= {"archive", "inbox"}
    again = procwatch("once", "-c", config, cwd=tmp_path)
    assert again.returncode == 0, again
    oracle.check(archive=40)


def test_an_idle_daemon_stops_quickly(places: Places, tmp_path: Path) -> None:
    with Daemon(places.root, cwd=tmp_path) as daemon:
        began = time.monotonic()
        assert daemon.terminate() == 0
        assert time.monotonic() - began < 3


def test_ctrl_c_stops_as_sigterm_does(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    """Ctrl-C reaches the workers as well (one process group); they go on with what they have."""
    config = places.write_config()
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        images.move_in(
            places.inbox / "big.jpg", oracle.expect("big.jpg", images.noisy_jpeg(1)), outside=tmp_path
        )
        daemon.wait_for("job.started", path="big.jpg")
        daemon.interrupt()
        assert daemon.process.wait(30) == 0
        assert logs.select(daemon.lines(), "job.done", path="big.jpg")
        oracle.eventually(archive=1)


@pytest.mark.parametrize("command", ["run", "once"])
def test_closing_the_terminal_stops_as_ctrl_c_does(
    command: str, places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    """The kernel sends SIGHUP to the whole foreground group: what runs is finished, and the rest stays in the inbox."""
    places.make()
    slow = [f"slow{number}.png" for number in range(len(os.sched_getaffinity(0)))]  # a worker each
    for number, name in enumerate(slow):
        images.write(places.inbox / name, oracle.expect(name, images.slow_png(6000 + 64 * number)))
    with Session(command, str(places.root), "--level", "debug", cwd=tmp_path) as session:
        eventually(
            lambda: places.log_file.exists() and len(logs.select(places.log(), "job.started")) == len(slow),
            20,
        )
        images.write(places.inbox / "late.jpg", oracle.expect("late.jpg", images.jpeg(1)))
        eventually(lambda: logs.select(places.log(), "job.queued", path="late.jpg"))
        session.hang_up()
        session.wait()
        lines = places.log()
        assert logs.select(lines, "service.stopping", reason="SIGHUP")
        assert {line["path"] for line in logs.select(lines, "job.done")} == set(slow)
        assert lines[-1]["event"] == "service.stopped"
        assert not logs.select(lines, "pool.worker_lost")
        eventually(lambda: not processes.in_session(session.process.pid), 5)
        assert session.wait() == (1 if command == "once" else 0), "for `once`, something is left undone"
    oracle.check(archive=len(slow), inbox=1)


def test_a_second_ctrl_c_stops_at_once(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    config = places.write_config()
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        data = oracle.expect("stuck.png", images.slow_png())
        images.move_in(places.inbox / "stuck.png", data, outside=tmp_path)
        processes.freeze_at_work(daemon.all_workers(), places.inbox / "stuck.png")
        daemon.interrupt()
        daemon.wait_for("service.stopping")
        daemon.interrupt()
        began = time.monotonic()
        assert daemon.process.wait(10) == 130
        assert time.monotonic() - began < 2
        daemon.wait_for_no_orphans(1.0)
        daemon.was_killed()
    assert procwatch("once", "-c", config, cwd=tmp_path).returncode == 0
    oracle.check(archive=1)


def test_a_job_that_outlasts_stop_timeout_is_killed_and_stays_in_the_inbox(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    config = places.write_config(rest='stop_timeout = "1s"')
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        data = oracle.expect("stuck.png", images.slow_png())
        images.move_in(places.inbox / "stuck.png", data, outside=tmp_path)
        processes.freeze_at_work(daemon.all_workers(), places.inbox / "stuck.png")
        began = time.monotonic()
        assert daemon.terminate() == 0
        assert time.monotonic() - began < 5
        daemon.was_killed()
        oracle.eventually(inbox=1)
    assert procwatch("once", "-c", config, cwd=tmp_path).returncode == 0
    oracle.check(archive=1)


def test_a_second_daemon_on_the_same_inbox_exits_5_and_names_the_first(
    places: Places, tmp_path: Path
) -> None:
    with Daemon(places.root, cwd=tmp_path) as daemon:
        second = procwatch("run", places.root, cwd=tmp_path, timeout_s=20)
        assert second.returncode == 5, second
        assert str(daemon.pid) in second.stderr, second
        once = procwatch("once", places.root, cwd=tmp_path, timeout_s=20)
        assert once.returncode == 5, once
        other = places.write_config(rest="", inbox="")
        other.write_text(other.read_text().replace(".procwatch", ".another-state"))
        moved = other.rename(tmp_path / "other.toml")
        third = procwatch("run", "-c", moved, cwd=tmp_path, timeout_s=20)
        assert third.returncode == 5, "another state folder is no way around the lock"
        assert daemon.process.poll() is None
        images.write(places.inbox / "fine.jpg", images.jpeg(2))
        daemon.wait_for("job.done", path="fine.jpg")


def test_the_lock_is_free_after_a_kill(places: Places, tmp_path: Path) -> None:
    """`flock` goes with the process: a crash never needs a lock file to be removed by hand."""
    with Daemon(places.root, cwd=tmp_path) as daemon:
        daemon.kill9()
        with Daemon(places.root, cwd=tmp_path) as second:
            assert processes.alive(second.pid)
