"""`procwatch once` drains what is there, tells what it did, and ends."""

import re
from pathlib import Path

import pytest

from tests.support import images, logs, terminal
from tests.support.daemon import procwatch
from tests.support.oracle import Oracle
from tests.support.places import Places
from tests.support.waiting import eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(60)]


def fill(places: Places, oracle: Oracle, count: int) -> None:
    places.make()
    for number in range(count):
        images.write(
            places.inbox / f"{number}.jpg", oracle.expect(f"{number}.jpg", images.noisy_jpeg(number))
        )


def test_it_drains_the_backlog_and_prints_a_summary(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    """Progress and summary are plain lines on stderr, so that the JSON lines on stdout stay pure."""
    fill(places, oracle, 10)
    ended = procwatch("once", places.root, cwd=tmp_path)
    assert ended.returncode == 0, ended
    oracle.check(archive=10)
    lines = logs.parse(ended.stdout)
    logs.judge(lines, orderly=True)
    assert len(logs.terminal(lines)) == 10
    assert re.search(r"\b10 done, 0 failed in [\d.]+ s, [\d.]+ images/s", ended.stderr), ended.stderr
    assert "10 of 10 files" in ended.stderr
    assert "\x1b" not in ended.stderr, "escape sequences in a file"
    counted = {int(pid): int(n) for pid, n in re.findall(r"worker (\d+): (\d+) file", ended.stderr)}
    assert counted == logs.done_pids(lines)


def test_it_exits_1_when_a_file_failed(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    fill(places, oracle, 2)
    config = places.write_config()
    images.write(places.inbox / "bad.jpg", oracle.expect("bad.jpg", b"certainly not a picture " * 50))
    ended = procwatch("once", "-c", config, cwd=tmp_path)
    assert ended.returncode == 1, ended
    assert oracle.check(archive=2, failed=1)["bad.jpg"] == "failed"
    assert oracle.error_file("bad.jpg")["code"] == "not-an-image"


def test_an_empty_inbox_is_done_at_once(places: Places, tmp_path: Path) -> None:
    ended = procwatch("once", places.root, cwd=tmp_path, timeout_s=20)
    assert ended.returncode == 0, ended
    assert places.inbox.is_dir()


def test_it_does_not_repeat_what_was_done(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    fill(places, oracle, 3)
    assert procwatch("once", places.root, cwd=tmp_path).returncode == 0
    before = {file: file.stat().st_mtime_ns for file in places.outbox.iterdir() if file.is_file()}
    assert procwatch("once", places.root, cwd=tmp_path).returncode == 0
    assert {file: file.stat().st_mtime_ns for file in places.outbox.iterdir() if file.is_file()} == before
    oracle.check(archive=3)


def test_on_a_terminal_it_shows_a_progress_bar(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    fill(places, oracle, 6)
    with terminal.Session("once", str(places.root), cwd=tmp_path) as session:
        assert session.wait() == 0
        session.wait_for_text("images/s")
        assert "━" in session.text() or "%" in session.text()
        oracle.eventually(archive=6)


def test_ctrl_c_says_how_many_files_are_left_and_why(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    fill(places, oracle, 40)
    with terminal.Session("once", str(places.root), cwd=tmp_path) as session:
        session.wait_for_text("/40")
        eventually(lambda: any(places.archive.glob("*.jpg")))
        session.press_ctrl_c()
        assert session.wait() == 1
        session.wait_for_text("interrupted (SIGINT)")
        left = len(list(places.inbox.glob("*.jpg")))
        assert 0 < left < 40
        assert f"interrupted (SIGINT): {left} file" in session.text()
        assert "still changing" not in session.text()


def test_it_says_what_it_waits_for(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    """A picture that ends early may still be growing; once it has been tried, it waits to be tried again."""
    places.make()
    images.write(places.inbox / "cut.jpg", oracle.expect("cut.jpg", images.noisy_jpeg(1)[:-5000]))
    ended = procwatch("once", places.root, "--wait", "4s", cwd=tmp_path)
    assert re.search(r"; 1 file (may still be growing|to be tried again): 4\.0 s at most", ended.stderr), (
        ended.stderr
    )
    assert "1 file still changing or not complete; left in the inbox" in ended.stderr
    assert ended.returncode == 0
    oracle.check(inbox=1)


def test_it_lists_what_failed_with_the_reasons(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    config = places.write_config()
    for number in range(12):
        images.write(
            places.inbox / f"{number}.jpg", oracle.expect(f"{number}.jpg", b"%d no picture" % number * 50)
        )
    ended = procwatch("once", "-c", config, cwd=tmp_path)
    assert ended.returncode == 1, ended
    told = [line for line in ended.stderr.splitlines() if line.startswith("failed: ")]
    assert len(told) == 10
    assert all(re.match(r"failed: \d+\.jpg: not-an-image: .+", line) for line in told), told
    assert "and 2 more before these: failed/NAME.error.json" in ended.stderr
