"""procwatch status on snapshots as a daemon writes them: what is shown, and the exit status for monitoring."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from procwatch.cli import main as cli
from procwatch.control.panel import room, write_status
from tests.support.daemon import environment
from tests.support.terminal import Session

pytestmark = pytest.mark.integration


def snapshot(**changes: Any) -> dict[str, Any]:
    """Return what a daemon with one busy inbox writes; this test's own process stands for it."""
    now = time.time()
    inbox = {
        "name": "scans",
        "path": "/srv/scans",
        "mode": "polling",
        "watched": True,
        "lost_because": None,
        "starting": False,
        "paused": None,
        "waiting": 12,
        "queued": 10,
        "settling": 2,
        "running": 1,
        "oldest_at_s": now - 75,
        "done_today": 1204,
        "failed_today": 3,
        "per_minute": 59,
        "missed": 2,
        "missed_at_s": now - 3600,
        "sizes": {
            "measured_at_s": now - 120,
            "inbox": {"files": 12, "bytes": 48 * 1024**2},
            "outbox": {"files": 123456, "bytes": 5 * 1024**3},
            "archive": None,
            "failed": {"files": 0, "bytes": 0},
        },
    }
    busy = {
        "slot": 1,
        "worker_pid": 4102,
        "inbox": "scans",
        "path": "2027/IMG_0042.jpg",
        "started_at_s": now - 3.1,
        "jobs": 7,
        "rss_bytes": 30 * 1024**2,
    }
    down = busy | {"slot": 2, "worker_pid": None, "inbox": None, "path": None, "started_at_s": None}
    failure = {
        "failed_at_s": now - 60,
        "inbox": "scans",
        "path": "x.jpg",
        "error": "timeout",
        "reason": "too slow",
        "job": "1",
    }
    return {
        "pid": os.getpid(),
        "written_at_s": now,
        "state": "running",
        "version": "1.0.0",
        "config": None,
        "started_at_s": now - 7200,
        "inboxes": [inbox],
        "slots": [busy, down],
        "pool": {"size": 2, "up": 1, "busy": 1},
        "failures": [failure],
        "degraded": [],
        "disks": [{"path": "/srv/scans", "free_bytes": 2 * 1024**3, "total_bytes": 8 * 1024**3}],
    } | changes


def site(root: Path, content: dict[str, Any] | None) -> Path:
    (root / ".procwatch").mkdir(exist_ok=True)
    if content is not None:
        (root / ".procwatch/status.json").write_text(json.dumps(content))
    return root


def gone_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_healthy_daemon_is_shown_with_all_its_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["status", str(site(tmp_path, snapshot()))]) == 0
    words = capsys.readouterr().out.split()
    shown = " ".join(words)
    for text in (
        f"procwatch 1.0.0 is running: pid {os.getpid()}, up 2 h, 1 of 2 workers up, 1 busy",
        "scans polling 12 1 min 15 s 1 1204 3 59 2, last 1 h ago",
        "1 4102 3.",
        "30.0 MiB 7 scans: 2027/IMG_0042.jpg",
        "2 down",
        "files, size inbox outbox archive failed measured",
        "scans 12, 48.0 MiB 123,456, 5.0 GiB unreadable 0 2 min ago",
        "disk of /srv/scans: 2.0 GiB free of 8.0 GiB",
        "scans: x.jpg timeout too slow",
    ):
        assert text in shown, shown


def test_retries_are_shown_with_those_that_wait(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = snapshot()
    content["inboxes"][0]["retrying"] = 3
    assert cli.main(["status", str(site(tmp_path, content))]) == 0
    assert "12, 3 to retry" in capsys.readouterr().out


def test_sizes_that_are_not_measured_yet_take_no_room(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = snapshot()
    del content["inboxes"][0]["sizes"]
    assert cli.main(["status", str(site(tmp_path, content))]) == 0
    assert "files, size" not in capsys.readouterr().out
    content = snapshot()
    content["inboxes"].append(content["inboxes"][0] | {"name": "new", "sizes": None})
    assert cli.main(["status", str(site(tmp_path, content))]) == 0
    assert "new not yet" in " ".join(capsys.readouterr().out.split())


def test_degraded_is_1_with_every_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reasons = ["inbox scans is paused: ENOSPC: No space left on device", "no worker process is up"]
    assert cli.main(["status", str(site(tmp_path, snapshot(degraded=reasons)))]) == 1
    shown = capsys.readouterr().out
    assert "is running, degraded: " in shown
    assert all(reason in shown for reason in reasons)


@pytest.mark.parametrize(
    "content",
    [None, {}, {"state": "stopped"}, {"pid": -1}, {"pid": "gone"}, {"written_at_s": None, "pid": 0}],
)
def test_no_daemon_is_4(
    content: dict[str, Any] | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content and content.get("pid") == "gone":
        content = {"pid": gone_pid()}
    whole = None if content is None else snapshot(**content) if content else {}
    assert cli.main(["status", str(site(tmp_path, whole))]) == 4
    assert "procwatch is not running" in capsys.readouterr().out
    assert cli.main(["status", "--json", str(tmp_path)]) == 4
    assert json.loads(capsys.readouterr().out)["running"] == "no"


def test_a_daemon_that_writes_no_more_is_degraded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = snapshot(written_at_s=time.time() - 100)
    assert cli.main(["status", str(site(tmp_path, content))]) == 1
    shown = capsys.readouterr().out
    assert "is stalled, degraded" in shown
    assert "no sign of life for 1 min 40 s" in shown


def test_a_daemon_that_cannot_write_its_snapshot_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk it works on, or says why not; it is no stalled one."""
    why = "inbox inbox is paused: ENOSPC: No space left on device"
    live = {"status": snapshot(degraded=[why])}
    monkeypatch.setattr("procwatch.control.protocol.ask", lambda *_, **__: live)
    assert cli.main(["status", str(site(tmp_path, snapshot(written_at_s=time.time() - 100)))]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "stalled" not in shown
    assert "its status file is 1 min 40 s old" in shown
    assert why in shown


def test_names_cannot_act_on_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = snapshot()
    content["slots"][0]["path"] = "[bold]evil[/bold]\x1b[2J\udcff.jpg"
    content["inboxes"][0]["name"] = "\x1b]0;title\x07"
    assert cli.main(["status", str(site(tmp_path, content))]) == 0
    shown = capsys.readouterr().out
    assert "[bold]evil[/bold]\\x1b[2J\\xff.jpg" in shown
    assert "\x1b" not in shown


def test_watch_shows_changes_until_ctrl_c(tmp_path: Path) -> None:
    site(tmp_path, snapshot(version="1.0.0"))
    with Session("status", "--watch", str(tmp_path), cwd=tmp_path) as session:
        session.wait_for_text("procwatch 1.0.0 is running")
        write_status(
            str(tmp_path / ".procwatch/status.json"), json.dumps(snapshot(version="1.0.1")).encode(), 0o644
        )
        session.wait_for_text("procwatch 1.0.1 is running")
        session.press_ctrl_c()
        assert session.process.wait(10) == 0
    assert "Traceback" not in session.text()


def test_watch_through_a_pipe_is_a_line_a_look(tmp_path: Path) -> None:
    site(tmp_path, snapshot())
    process = subprocess.Popen(
        [sys.executable, "-m", "procwatch", "status", "--watch", "--json", str(tmp_path)],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout:
        looks = [json.loads(process.stdout.readline()) for _ in range(2)]
    assert [look["running"] for look in looks] == ["yes", "yes"]
    assert process.wait(10) == 141, "as any program whose reader left"


def test_the_snapshot_is_replaced_at_once_and_anybody_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "status.json"
    before = os.umask(0o077)
    try:
        write_status(str(path), b"one", 0o644)
        inode = path.stat().st_ino
        write_status(str(path), b"two", 0o644)
    finally:
        os.umask(before)
    assert path.read_bytes() == b"two"
    assert path.stat().st_ino != inode
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_room_is_told_once_a_file_system_and_missing_folders_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    disks = room([str(tmp_path), str(tmp_path / "a"), str(tmp_path / "missing")])
    assert [disk["path"] for disk in disks] == [str(tmp_path)]
    assert 0 < disks[0]["free_bytes"] <= disks[0]["total_bytes"]
