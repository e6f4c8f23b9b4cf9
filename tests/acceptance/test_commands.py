"""The commands beside a running daemon and without one: the real program, real folders."""

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.daemon import Daemon, environment, procwatch
from tests.support.images import jpeg, move_in, size, slow_png, write
from tests.support.places import Places
from tests.support.waiting import eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]


def explain(places: Places, path: str | Path) -> str:
    """Return the sentence about a path below the site."""
    ended = procwatch("explain", places.root / path, cwd=places.root)
    assert ended.returncode == 0, ended
    return ended.stdout.strip().partition(": ")[2]


def status(places: Places, *, code: int = 0) -> dict[str, object]:
    ended = procwatch("status", "--json", "-d", places.root, cwd=places.root)
    assert ended.returncode == code, ended
    return dict(json.loads(ended.stdout))


def test_explain_follows_a_file_through_its_life(places: Places, tmp_path: Path) -> None:
    config = places.write_config(inbox='settle = "5s"\nincomplete_after = "30s"', pool="workers = 1")
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        slow = [slow_png(8000 + 64 * number) for number in range(3)]  # made before: it takes a while
        pid = daemon.worker_pids()[0]
        # One runs, one waits as the next, and one behind it, for as long as we look.
        move_in(places.inbox / "slow0.png", slow[0], outside=tmp_path)
        assert processes.freeze_at_work([pid], places.inbox / "slow0.png") == pid
        for number in (1, 2):
            move_in(places.inbox / f"slow{number}.png", slow[number], outside=tmp_path)
            daemon.wait_for("job.queued", path=f"slow{number}.png")
        assert explain(places, "inbox/slow0.png").startswith(f"running in pid {pid} for ")
        assert explain(places, "archive/slow0.png").startswith("running in "), "the place that it is to have"
        assert explain(places, "inbox/slow1.png") == "waiting as the next of its inbox"
        assert explain(places, "inbox/slow2.png") == "waiting behind 1 of its inbox"
        os.kill(pid, signal.SIGCONT)

        with (places.inbox / "open.jpg").open("wb") as writer:
            writer.write(jpeg(7)[:500])
            writer.flush()
            eventually(lambda: "never closed since" in explain(places, "inbox/open.jpg"))
            writer.write(jpeg(7)[500:2000])  # not complete, so that it has to settle after it is closed
        eventually(lambda: explain(places, "inbox/open.jpg").startswith("settling "))

        (places.inbox / "x.part").touch()
        assert explain(places, "inbox/x.part") == 'ignored by rule "*.part"'
        os.mkfifo(places.inbox / "pipe.jpg")
        assert explain(places, "inbox/pipe.jpg") == "ignored: it is a named pipe, not a picture file"
        assert explain(places, "never.jpg").startswith("not in any inbox")
        assert explain(places, "inbox/never.jpg").startswith(
            "not in the inbox, and procwatch has never seen it"
        )

        write(places.inbox / "bad.jpg", b"this is no picture" * 100)
        daemon.wait_for("job.failed", path="bad.jpg", timeout_s=60)
        eventually((places.failed / "bad.jpg").exists)
        for path in ("inbox/bad.jpg", "failed/bad.jpg", "failed/bad.jpg.error.json"):
            assert explain(places, path).startswith("failed because not-an-image: ")
        daemon.wait_for("job.done", path="slow0.png")
        eventually((places.archive / "slow0.png").exists)
        for path in ("inbox/slow0.png", "archive/slow0.png", "outbox/slow0-web.jpg"):
            sentence = explain(places, path)
            assert sentence.startswith("done at ")
            assert "slow0-web.jpg, slow0-thumb.jpg; its original is " in sentence
        daemon.was_killed()  # the others need not be waited for
    assert explain(places, "archive/slow0.png").startswith("done at "), "without a daemon, from the ledger"
    write(places.inbox / "later.jpg", jpeg(5))
    assert explain(places, "inbox/later.jpg") == "waiting for procwatch, which is not running"


def test_pause_holds_new_jobs_until_resume_or_restart(places: Places, tmp_path: Path) -> None:
    config = places.write_config()
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        paused = procwatch("pause", "-c", config, cwd=tmp_path)
        assert (paused.returncode, paused.stdout) == (0, "paused: inbox; a restart of procwatch resumes\n")
        daemon.wait_for("intake.paused", inbox="inbox", reason="asked for")
        assert procwatch("pause", "-c", config, cwd=tmp_path).stdout == "already paused\n"
        move_in(places.inbox / "a.jpg", jpeg(1), outside=tmp_path)
        daemon.wait_for("job.queued", path="a.jpg")
        assert explain(places, "inbox/a.jpg") == "waiting, for the inbox is paused: asked for"
        eventually(lambda: procwatch("status", "-c", config, cwd=tmp_path).returncode == 1)
        assert status(places, code=1)["degraded"] == ["inbox inbox is paused: asked for"]
        assert not [line for line in daemon.lines() if line["event"] == "job.started"]
        resumed = procwatch("resume", "inbox", "-c", config, cwd=tmp_path)
        assert (resumed.returncode, resumed.stdout) == (0, "resumed: inbox\n")
        daemon.wait_for("intake.resumed", reason="asked for")
        daemon.wait_for("job.done", path="a.jpg")
        assert procwatch("pause", "no-such", "-c", config, cwd=tmp_path).returncode == 1
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(places.root / ".procwatch" / "control.sock"))
            connection.sendall(b'{"command": "pause", "inbox": {"not": "a name"}}\n')
            assert "there is no inbox" in json.loads(connection.makefile().readline())["error"]
        procwatch("pause", "-c", config, cwd=tmp_path)
    write(places.inbox / "b.jpg", jpeg(2))
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        daemon.wait_for("job.done", path="b.jpg")
    gone = procwatch("resume", "-c", config, cwd=tmp_path)
    assert gone.returncode == 4
    assert "no procwatch is running" in gone.stderr


@pytest.mark.parametrize("live", [True, False])
def test_retry_makes_a_new_job_of_a_failed_file(live: bool, places: Places, tmp_path: Path) -> None:
    config = places.write_config(pool="timeout = '1s'", rest="")
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        (places.inbox / "deep").mkdir()
        move_in(places.inbox / "deep/slow.png", slow_png(), outside=tmp_path)
        first = daemon.wait_for("job.failed", path="deep/slow.png", error="timeout", timeout_s=40)
        eventually((places.failed / "deep/slow.png.error.json").exists)
        eventually((places.failed / "deep/slow.png").exists)
        if live:
            ended = procwatch("retry", places.failed / "deep", cwd=tmp_path)
            assert (ended.returncode, ended.stdout) == (0, "retrying deep/slow.png (failed as timeout)\n"), (
                ended
            )
            second = daemon.wait_for("job.failed", count=2, path="deep/slow.png", timeout_s=40)
            assert second["job"] != first["job"]
            daemon.wait_for("job.started", job=second["job"], attempt=1)
            eventually((places.failed / "deep/slow.png").exists)
    if not live:
        config = places.write_config(pool="timeout = '60s'")
        ended = procwatch("retry", "--error", "timeout", "-c", config, cwd=tmp_path)
        assert ended.returncode == 0, ended
        assert "no daemon is running" in ended.stdout
        assert not (places.failed / "deep/slow.png.error.json").exists()
        assert (places.inbox / "deep/slow.png").exists()
        assert procwatch("audit", "-c", config, cwd=tmp_path).returncode == 0
        once = procwatch("once", "-c", config, cwd=tmp_path)
        assert once.returncode == 0, once
        assert (places.archive / "deep/slow.png").exists()
    assert procwatch("audit", "-c", config, cwd=tmp_path).returncode == 0


def test_audit_is_content_while_a_daemon_works_and_afterwards(places: Places, tmp_path: Path) -> None:
    config = places.write_config()
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        for number in range(40):
            move_in(places.inbox / f"{number}.jpg", jpeg(number, (800, 600)), outside=tmp_path)
            if number % 15 == 0:
                ended = procwatch("audit", "-c", config, cwd=tmp_path)
                assert ended.returncode == 0, ended.stdout
                assert "a daemon is running" in ended.stdout
        daemon.wait_for_ends(40)
        eventually(lambda: len(list(places.archive.iterdir())) == 40)
        (places.outbox / "3-web.jpg").unlink()
        ended = procwatch("audit", "--json", "-c", config, cwd=tmp_path)
        assert ended.returncode == 1
        found = json.loads(ended.stdout)["differences"]
        assert [(one["kind"], one["path"]) for one in found] == [("rendition-missing", "3-web.jpg")]


def test_audit_agrees_after_the_daemon_was_killed(places: Places, tmp_path: Path) -> None:
    config = places.write_config()
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        for number in range(30):
            move_in(places.inbox / f"{number}.jpg", jpeg(number, (1600, 1200)), outside=tmp_path)
        daemon.wait_for_ends(5)
        daemon.kill9()
    ended = procwatch("audit", "-c", config, cwd=tmp_path)
    assert "no daemon is running" in ended.stdout, "a socket that a crash left is no daemon"
    assert procwatch("once", "-c", config, cwd=tmp_path).returncode == 0
    ended = procwatch("audit", "-c", config, cwd=tmp_path)
    assert ended.returncode == 0, ended.stdout
    assert "30 done" in ended.stdout


def test_status_shows_the_daemon_at_work_and_its_end(places: Places, tmp_path: Path) -> None:
    assert procwatch("status", places.root, cwd=tmp_path).returncode == 4
    with Daemon(places.make().root, cwd=tmp_path) as daemon:
        move_in(places.inbox / "bad.png", b"no picture" * 50, outside=tmp_path)
        move_in(places.inbox / "slow.png", slow_png(), outside=tmp_path)
        daemon.wait_for("job.failed", path="bad.png")

        def busy() -> list[dict[str, object]]:
            slots = status(places)["slots"]
            assert isinstance(slots, list)
            return [slot for slot in slots if slot["path"] == "slow.png"]

        slot = eventually(busy)[0]
        assert slot["worker_pid"] in daemon.worker_pids()
        shown = procwatch("status", places.root, cwd=tmp_path)
        assert shown.returncode == 0
        for text in ("procwatch 0", "is running", "slow.png", "native", "not-an-image", "bad.png", "free of"):
            assert text in shown.stdout, shown.stdout
        daemon.wait_for("job.done", path="slow.png")

        def counted() -> bool:
            inbox = status(places)["inboxes"][0]  # type: ignore[index]
            return (inbox["done_today"], inbox["failed_today"], inbox["waiting"]) == (1, 1, 0)

        eventually(counted)
        file = places.root / ".procwatch/status.json"
        assert stat.S_IMODE(file.stat().st_mode) == 0o644
        assert stat.S_IMODE((places.root / ".procwatch/control.sock").stat().st_mode) == 0o600
    assert status(places, code=4)["running"] == "no"
    with Daemon(places.root, cwd=tmp_path):
        eventually(counted)
        failures = status(places)["failures"]
        assert [failure["path"] for failure in failures] == ["bad.png"]  # type: ignore[attr-defined]


def test_status_tells_the_sizes_that_an_audit_measures(places: Places, tmp_path: Path) -> None:
    names = ("inbox", "outbox", "archive", "failed")
    for number, name in enumerate(names[1:]):
        for file in range(number + 1):
            write(places.root / name / "2027" / f"{file}.jpg", bytes(1000 + file))
    write(places.make().inbox / "half.jpg.part", bytes(300))  # a file that is ignored takes room, too
    with Daemon(places.root, cwd=tmp_path) as daemon:
        assert status(places)["inboxes"][0]["sizes"] is None  # type: ignore[index]
        sizes = eventually(lambda: status(places)["inboxes"][0]["sizes"], 20)  # type: ignore[index]
        audit = json.loads(procwatch("audit", "--json", "-d", places.root, cwd=tmp_path).stdout)
        measured = {row["folder"]: {"files": row["files"], "bytes": row["bytes"]} for row in audit["folders"]}
        assert {name: sizes[name] for name in names} == {name: measured[name] for name in names}
        assert sizes["inbox"] == {"files": 1, "bytes": 300}
        written_s = (places.root / ".procwatch/status.json").stat().st_mtime
        assert written_s - 10 < sizes["measured_at_s"] < written_s + 1
        shown = " ".join(procwatch("status", places.root, cwd=tmp_path).stdout.split())
        assert "inbox 1, 300 B 1, 1000 B 2, 2.0 KiB 3, 2.9 KiB " in shown, shown
        daemon.wait_for("service.ready")


def test_status_of_a_killed_daemon_is_not_running_and_the_next_one_replaces_its_socket(
    places: Places, tmp_path: Path
) -> None:
    with Daemon(places.make().root, cwd=tmp_path) as daemon:
        eventually((places.root / ".procwatch/status.json").exists)
        daemon.kill9()
        daemon.wait_for_no_orphans()
    assert (places.root / ".procwatch/control.sock").exists()
    assert status(places, code=4)["running"] == "no"
    with Daemon(places.root, cwd=tmp_path):
        assert procwatch("pause", places.root, cwd=tmp_path).returncode == 0
    assert not (places.root / ".procwatch/control.sock").exists()


def test_commands_reach_a_state_folder_with_a_very_long_path(tmp_path: Path) -> None:
    places = Places(root=tmp_path / ("d" * 120) / ("e" * 120))
    with Daemon(places.make().root, cwd=tmp_path):
        assert procwatch("pause", places.root, cwd=tmp_path).returncode == 0


def test_a_frozen_daemon_makes_no_command_hang_for_ever(places: Places, tmp_path: Path) -> None:
    with Daemon(places.make().root, cwd=tmp_path) as daemon:
        processes.freeze(daemon.pid)
        try:
            ended = procwatch("pause", places.root, cwd=tmp_path, timeout_s=40)
            assert ended.returncode == 1
            assert "did not answer within 15 s" in ended.stderr
            eventually(lambda: procwatch("status", places.root, cwd=tmp_path).returncode == 1)
            assert status(places, code=1)["running"] == "stalled"
        finally:
            daemon.signal(signal.SIGCONT)


def test_logs_are_json_through_a_pipe_and_filtered(places: Places, tmp_path: Path) -> None:
    with Daemon(places.make().root, cwd=tmp_path) as daemon:
        move_in(places.inbox / "bad.png", b"no picture" * 50, outside=tmp_path)
        move_in(places.inbox / "good.jpg", jpeg(1), outside=tmp_path)
        daemon.wait_for_ends(2)
        failed = procwatch("logs", "--failed", places.root, cwd=tmp_path)
        assert [json.loads(line)["path"] for line in failed.stdout.splitlines()] == ["bad.png"]
        stats = json.loads(procwatch("logs", "--stats", "--since", "1h", places.root, cwd=tmp_path).stdout)
        assert (stats["done"], stats["failed"], stats["errors"]) == (1, 1, {"not-an-image": 1})
        assert procwatch("logs", "--slow", "1h", places.root, cwd=tmp_path).stdout == ""


def test_logs_follow_over_a_rotation(places: Places, tmp_path: Path) -> None:
    with Daemon(places.make().root, cwd=tmp_path) as daemon:
        out = tmp_path / "followed"
        with out.open("wb") as stream:
            follower = subprocess.Popen(
                [sys.executable, "-m", "procwatch", "logs", "-f", "-n", "0", str(places.root)],
                stdout=stream,
                env=environment(),
            )
        try:
            eventually(
                lambda: Path(f"/proc/{follower.pid}/fd").exists() and _reads(follower.pid, places.log_file)
            )
            move_in(places.inbox / "a.jpg", jpeg(1), outside=tmp_path)
            daemon.wait_for("job.done", path="a.jpg")
            places.log_file.rename(places.root / "old.log")
            daemon.signal(signal.SIGUSR1)
            eventually(places.log_file.exists)
            move_in(places.inbox / "b.jpg", jpeg(2), outside=tmp_path)
            daemon.wait_for("job.done", path="b.jpg")

            def followed() -> list[str]:
                lines = [json.loads(line) for line in out.read_text().splitlines()]
                return [line["path"] for line in lines if line["event"] == "job.done"]

            eventually(lambda: followed() == ["a.jpg", "b.jpg"])
        finally:
            follower.send_signal(signal.SIGINT)
            assert follower.wait(10) == 0


def _reads(pid: int, file: Path) -> bool:
    for number in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed since it was listed
            if os.readlink(f"/proc/{pid}/fd/{number}") == str(file):
                return True
    return False


def test_kept_originals_are_done_once_whatever_happens_around_them(places: Places, tmp_path: Path) -> None:
    """Restart, touch, a move to another inode (as a restore or another disk makes), changed content."""
    config = places.write_config(inbox='on_success = "keep"')
    original, output = places.inbox / "a.jpg", places.outbox / "a-web.jpg"
    write(original, jpeg(1))

    def once() -> list[str]:
        ended = procwatch("once", "-c", config, cwd=tmp_path)
        assert ended.returncode == 0, ended
        lines = [json.loads(line) for line in ended.stdout.splitlines()]
        return [line["path"] for line in lines if line["event"] == "job.done"]

    assert once() == ["a.jpg"]
    inode = output.stat().st_ino
    assert once() == [], "a restart"
    os.utime(original, (1e9, 1e9))
    assert once() == [], "a touch"
    assert once() == []
    times = original.stat()
    copy = tmp_path / "restored.jpg"
    copy.write_bytes(original.read_bytes())
    os.utime(copy, ns=(times.st_atime_ns, times.st_mtime_ns))
    copy.rename(original)
    assert original.stat().st_ino != times.st_ino
    assert once() == [], "another inode"
    assert output.stat().st_ino == inode
    write(original, jpeg(2))
    assert once() == ["a.jpg"], "changed content"
    assert output.stat().st_ino != inode
    assert sorted(path.name for path in places.outbox.iterdir() if path.is_file()) == [
        "a-thumb.jpg",
        "a-web.jpg",
    ]
    assert procwatch("audit", "-c", config, cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("live", [True, False])
def test_rebuild_renders_again_what_has_another_recipe(live: bool, places: Places, tmp_path: Path) -> None:
    def recipe(side: int) -> str:
        return f'[recipe.small.output.small]\nsteps = [{{ op = "fit", width = {side}, height = {side} }}]\n'

    def config(side: int) -> Path:
        path = places.write_config(inbox='on_success = "keep"\nrecipe = "small"')
        path.write_text(path.read_text() + recipe(side))
        return path

    file = config(100)
    checked = procwatch("check", "-c", file, cwd=tmp_path)
    assert checked.returncode == 0, checked
    for number in range(3):
        write(places.inbox / f"{number}.jpg", jpeg(number))
    assert procwatch("once", "-c", file, cwd=tmp_path).returncode == 0
    assert "nothing is stale" in procwatch("rebuild", "--stale", "-c", file, cwd=tmp_path).stdout
    file = config(50)
    assert procwatch("once", "-c", file, cwd=tmp_path).stdout.count('"job.done"') == 0, "only if asked"
    counted = procwatch("rebuild", "--stale", "--dry-run", "-c", file, cwd=tmp_path)
    assert counted.stdout == "3 originals would be rendered again\n"
    if live:
        with Daemon("-c", file, cwd=tmp_path) as daemon:
            ended = procwatch("rebuild", "--stale", "-c", file, cwd=tmp_path)
            assert ended.stdout == "3 originals are rendered again by the running daemon\n", ended
            daemon.wait_for("job.done", count=3)
    else:
        ended = procwatch("rebuild", "--stale", "-c", file, cwd=tmp_path)
        assert ended.returncode == 0, ended
        assert ended.stdout.count('"job.done"') == 3
    outputs = sorted(path for path in places.outbox.iterdir() if path.is_file())
    assert [path.name for path in outputs] == ["0-small.jpg", "1-small.jpg", "2-small.jpg"]
    assert {max(size(path)) for path in outputs} == {50}
    assert "nothing is stale" in procwatch("rebuild", "--stale", "-c", file, cwd=tmp_path).stdout
    assert procwatch("audit", "-c", file, cwd=tmp_path).returncode == 0


def test_a_file_that_awaits_a_retry_counts_as_waiting(places: Places, tmp_path: Path) -> None:
    """In status and in the last line of an orderly end: it is in the inbox, and nobody has it."""
    with Daemon(places.root, cwd=tmp_path) as daemon:
        move_in(places.inbox / "cut.jpg", jpeg(1)[:-2000], outside=tmp_path)
        daemon.wait_for("job.retrying", path="cut.jpg")

        def waiting() -> int:
            inboxes = status(places)["inboxes"]
            assert isinstance(inboxes, list)
            return int(inboxes[0]["waiting"])

        eventually(lambda: waiting() == 1)
        assert daemon.terminate() == 0
        assert daemon.wait_for("service.stopped")["waiting"] == 1
