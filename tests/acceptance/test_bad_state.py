"""What is wrong with the state folder, the ledger or the clock is told in one line, or does no harm."""

import os
import sqlite3
import time
from pathlib import Path

import pytest

from tests.support import images, logs, privileges
from tests.support.daemon import Daemon, procwatch
from tests.support.oracle import Oracle
from tests.support.places import Places

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(60)]

_YEAR_2040 = 2_208_988_800


@pytest.mark.parametrize("command", ["run", "once"])
def test_a_state_folder_that_cannot_be_written_is_one_clear_line_and_exit_4(
    command: str, places: Places, tmp_path: Path
) -> None:
    config = places.write_config()
    state = places.root / ".procwatch"
    state.mkdir()
    state.chmod(0o555)
    try:
        ended = procwatch(
            command, "-c", config, cwd=tmp_path, timeout_s=20, prefix=privileges.without_override()
        )
    finally:
        state.chmod(0o755)
    assert ended.returncode == 4, ended
    assert str(state) in ended.stderr
    assert len(ended.stderr.strip().splitlines()) == 1
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("command", ["run", "once"])
def test_a_ledger_of_a_newer_procwatch_is_left_alone_with_exit_3(
    command: str, places: Places, tmp_path: Path
) -> None:
    config = places.write_config()
    images.write(places.inbox / "a.jpg", images.jpeg(1))
    ledger = places.root / ".procwatch/ledger.sqlite"
    ledger.parent.mkdir()
    with sqlite3.connect(ledger) as newer:
        newer.execute("PRAGMA journal_mode = WAL")
        newer.execute("PRAGMA user_version = 9999")
    newer.close()
    before = ledger.read_bytes()
    ended = procwatch(command, "-c", config, cwd=tmp_path, timeout_s=20)
    assert ended.returncode == 3, ended
    assert "9999" in ended.stderr
    assert "upgrade" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ledger.read_bytes() == before
    assert (places.inbox / "a.jpg").exists()


def test_files_from_the_future_and_from_1970_are_done(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    """A camera with a wrong clock: one file by each way in, before and after the start."""
    config = places.write_config()

    def drop(name: str, seed: int, mtime_s: int) -> None:
        path = images.write(tmp_path / name, oracle.expect(name, images.webp(seed)))
        os.utime(path, (mtime_s, mtime_s))
        path.rename(places.inbox / name)

    drop("before-2040.webp", 1, _YEAR_2040)
    drop("before-1970.webp", 2, 1)
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        drop("after-2040.webp", 3, _YEAR_2040)
        drop("after-1970.webp", 4, 1)
        path = images.write(places.inbox / "touched.webp", oracle.expect("touched.webp", images.webp(5)))
        os.utime(path, (_YEAR_2040, _YEAR_2040))
        daemon.wait_for_ends(5)
        oracle.eventually(archive=5)
        assert {line["event"] for line in logs.terminal(daemon.lines())} == {"job.done"}


def test_a_clock_that_was_ahead_in_an_earlier_run_does_no_harm(places: Places, tmp_path: Path) -> None:
    """Kept originals: were the newest job of a file chosen by the clock, it would be rendered again and again."""
    config = places.write_config(inbox='on_success = "keep"\nrescan = "1s"')
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        images.write(places.inbox / "kept.jpg", images.jpeg(1))
        daemon.wait_for("job.done")
        time.sleep(0.5)
    ledger = sqlite3.connect(places.root / ".procwatch/ledger.sqlite")
    with ledger:
        (job,) = ledger.execute("SELECT job FROM jobs").fetchone()
        ahead = f"{int(job[:12], 16) + 10**11:012x}{job[12:]}"  # three years
        for table in ("jobs", "attempts", "renditions", "names"):
            ledger.execute(f"UPDATE {table} SET job = ?", (ahead,))
    ledger.close()
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        images.write(places.inbox / "kept.jpg", images.jpeg(2))
        daemon.wait_for("job.done")
        scans = len(logs.select(daemon.lines(), "scan.finished"))
        daemon.wait_for("scan.finished", count=scans + 4)
        assert len(logs.terminal(daemon.lines())) == 1
