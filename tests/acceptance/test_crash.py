"""Nothing is lost and nothing is done twice when the daemon or a worker dies."""

import os
import random
import signal
import time
from collections import defaultdict
from pathlib import Path

import pytest

from tests.support import images, logs, processes
from tests.support.daemon import Daemon, procwatch
from tests.support.oracle import Oracle, files_below
from tests.support.places import Places
from tests.support.waiting import eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(110)]

#: Seconds after `service.ready`; the first rounds hit the first jobs, the later ones the stream.
MOMENTS = random.Random(2).sample([0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4], 6)


@pytest.mark.parametrize(
    ("rounds", "files"),
    [
        (6, 60),
        pytest.param(200, 500, marks=[pytest.mark.soak, pytest.mark.timeout(1800)]),
    ],
)
def test_kill_9_at_random_moments_loses_nothing_and_does_nothing_twice(
    rounds: int, files: int, places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    config = places.write_config(inbox='settle = "0s"')
    # In the long run each suspect gets the time to end: four deaths of the daemon in its company would fail it.
    moments = MOMENTS if rounds == len(MOMENTS) else random.Random(3).choices([0.3, 0.4, 0.5, 0.7], k=rounds)
    for number in range(files):
        path = f"{'sub/' if number % 3 == 0 else ''}{number}.jpg"
        images.write(places.inbox / path, oracle.expect(path, images.noisy_jpeg(number, (1200, 900))))
    told: list[list[logs.Line]] = []
    for moment in moments:
        with Daemon("-c", config, cwd=tmp_path) as daemon:
            if len(told) % 3 == 2:
                # A job in whose company the daemon dies four times fails, as it should. On a busy machine a suspect may
                # need longer than every one of these moments: now and then it gets the time. Suspects run first.
                eventually(lambda: has_fresh_end(daemon.lines()) or not files_below(places.inbox), 60)
            time.sleep(moment)  # not a wait for anything: the moment of the kill is the input of this test
            daemon.kill9()
            daemon.wait_for_no_orphans(2.0)
        told.append(daemon.lines())
    with Daemon("-c", config, cwd=tmp_path) as last:
        oracle.eventually(120, archive=files)
    told.append(last.lines())
    oracle.check(archive=files)
    assert sum(len(logs.select(lines, "job.done")) > 0 for lines in told) >= 2, "every kill came too early"
    check_history(told, files)


def has_fresh_end(lines: list[logs.Line]) -> bool:
    """Whether a job ended in this run that no run before it had begun."""
    return any(line["attempt"] == 1 and not line.get("recovered") for line in logs.terminal(lines))


def check_history(rounds: list[list[logs.Line]], files: int = 60) -> None:
    """Across a crash a terminal line may come twice, but only with the same job and attempt."""
    ends = defaultdict(set)
    for line in (line for lines in rounds for line in logs.terminal(lines)):
        assert line["event"] == "job.done", line
        ends[line["path"]].add((line["job"], line["attempt"]))
    assert len(ends) == files, "each file has a terminal line in one of the runs"
    twice = {path: jobs for path, jobs in ends.items() if len(jobs) > 1}
    assert not twice, f"done twice: {twice}"


def test_a_killed_worker_costs_only_its_own_job_an_attempt(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    """The OOM killer takes a worker in the middle of a job: that job alone runs again, on another pid."""
    with Daemon("-c", places.write_config(), cwd=tmp_path) as daemon:
        frozen = daemon.all_workers()
        for pid in frozen:
            processes.freeze(pid)
        data = oracle.expect("victim.jpg", images.jpeg(1))
        images.move_in(places.inbox / "victim.jpg", data, outside=tmp_path)
        killed = daemon.wait_for("job.started", path="victim.jpg")["worker_pid"]
        assert killed in frozen
        os.kill(killed, signal.SIGKILL)
        for pid in set(frozen) - {killed}:
            os.kill(pid, signal.SIGCONT)
        for number in range(6):
            path = f"innocent-{number}.jpg"
            images.write(places.inbox / path, oracle.expect(path, images.noisy_jpeg(number)))
        done = daemon.wait_for("job.done", path="victim.jpg")
        assert done["attempt"] == 2
        assert done["worker_pid"] != killed
        daemon.wait_for_ends(7)
        innocent = [line for line in logs.terminal(daemon.lines()) if line["path"] != "victim.jpg"]
        assert {line["attempt"] for line in innocent} == {1}
        assert logs.select(daemon.lines(), "pool.worker_lost", worker_pid=killed)
        assert logs.select(daemon.lines(), "job.retrying", path="victim.jpg")
        oracle.eventually(archive=7)


def test_a_file_that_kills_its_worker_twice_fails_as_worker_crashed(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    with Daemon("-c", places.write_config(pool="workers = 1"), cwd=tmp_path) as daemon:
        data = oracle.expect("poison.png", images.slow_png())
        images.move_in(places.inbox / "poison.png", data, outside=tmp_path)
        for attempt in (1, 2):
            started = daemon.wait_for("job.started", path="poison.png", count=attempt)
            os.kill(started["worker_pid"], signal.SIGKILL)
        failed = daemon.wait_for("job.failed", path="poison.png")
        assert (failed["error"], failed["attempt"]) == ("worker-crashed", 2)
        images.write(places.inbox / "next.jpg", oracle.expect("next.jpg", images.jpeg(2)))
        daemon.wait_for("job.done", path="next.jpg", attempt=1)
        oracle.eventually(archive=1, failed=1)
    assert oracle.error_file("poison.png")["code"] == "worker-crashed"


def test_an_idle_worker_that_dies_is_replaced_and_nobody_is_blamed(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    with Daemon("-c", places.write_config(), cwd=tmp_path) as daemon:
        before = daemon.all_workers()
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: not any(map(processes.alive, before)))
        for number in range(4):
            path = f"{number}.jpg"
            images.write(places.inbox / path, oracle.expect(path, images.jpeg(number)))
        lines = daemon.wait_for_ends(4)
        assert {(line["event"], line["attempt"]) for line in lines} == {("job.done", 1)}
        assert not {line["worker_pid"] for line in lines} & set(before)
        oracle.eventually(archive=4)


def test_a_dead_forkserver_is_survived(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    """The forkserver and its workers are killed at once; work goes on with new ones."""
    with Daemon("-c", places.write_config(), cwd=tmp_path) as daemon:
        daemon.all_workers()
        # Without the resource tracker: its death makes Python itself print tracebacks.
        before = [
            pid for pid in daemon.descendants() if "resource_tracker" not in processes.command_line(pid)
        ]
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: not any(map(processes.alive, before)))
        images.write(places.inbox / "after.jpg", oracle.expect("after.jpg", images.jpeg(3)))
        daemon.wait_for("job.done", path="after.jpg", timeout_s=40)
        oracle.eventually(archive=1)


def test_a_file_over_its_timeout_fails_and_the_daemon_goes_on(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    config = places.write_config(pool='timeout = "1s"')
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        data = oracle.expect("slow.png", images.slow_png())
        images.move_in(places.inbox / "slow.png", data, outside=tmp_path)
        started = daemon.wait_for("job.started", path="slow.png")
        failed = daemon.wait_for("job.failed", path="slow.png", timeout_s=10)
        assert failed["error"] == "timeout"
        assert failed["worker_pid"] == started["worker_pid"]
        assert failed["run_s"] < 3
        eventually(lambda: not processes.alive(started["worker_pid"]))
        for number in range(4):
            path = f"{number}.jpg"
            images.write(places.inbox / path, oracle.expect(path, images.jpeg(number)))
            daemon.wait_for("job.done", path=path)
        oracle.eventually(archive=4, failed=1)
    assert oracle.error_file("slow.png")["code"] == "timeout"


def test_once_finishes_what_a_killed_daemon_left(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    config = places.write_config(inbox='settle = "0s"')
    for number in range(12):
        images.write(
            places.inbox / f"{number}.jpg", oracle.expect(f"{number}.jpg", images.noisy_jpeg(number))
        )
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        daemon.wait_for("job.done")
        daemon.kill9()
    ended = procwatch("once", "-c", config, cwd=tmp_path)
    assert ended.returncode == 0, ended
    oracle.check(archive=12)


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
def test_what_is_done_but_not_archived_yet_is_only_archived_after_a_restart(
    end: signal.Signals, places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    """The original waits for `settle` after the outputs are there; a stop in between must not cost a second run."""
    config = places.write_config(inbox='settle = "3s"')
    with Daemon("-c", config, cwd=tmp_path) as first:
        images.write(places.inbox / "once.jpg", oracle.expect("once.jpg", images.jpeg(1)))
        done = first.wait_for("job.done", path="once.jpg")
        assert (places.inbox / "once.jpg").exists()
        if end is signal.SIGKILL:
            first.kill9()
    outputs = {file: file.stat().st_ino for file in files_below(places.outbox)}
    with Daemon("-c", config, cwd=tmp_path) as second:
        oracle.eventually(archive=1)
        ends = [(line["job"], line["attempt"]) for line in logs.terminal(second.lines())]
        assert ends in ([], [(done["job"], 1)]), "it was rendered again"
    assert {file: file.stat().st_ino for file in files_below(places.outbox)} == outputs
