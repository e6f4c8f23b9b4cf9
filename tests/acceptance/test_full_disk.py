"""A full disk is nobody's fault in the inbox: work pauses, and goes on by itself when there is room."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import images, logs
from tests.support.daemon import Daemon
from tests.support.oracle import Oracle, files_below
from tests.support.places import Places

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(90)]


@pytest.fixture
def small_outbox(places: Places) -> Iterator[Path]:
    """An outbox of 600 KiB; skips where file systems may not be mounted."""
    places.outbox.mkdir(parents=True)
    if os.geteuid() != 0:
        pytest.skip("only root may mount the small file system that this test fills")
    argv = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(places.outbox)]
    mounted = subprocess.run(argv, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system: {mounted.stderr.strip()}")
    yield places.outbox
    subprocess.run(["umount", "--lazy", places.outbox], check=True)


def test_a_full_outbox_pauses_and_resumes_and_costs_no_file(
    small_outbox: Path, oracle: Oracle, places: Places, tmp_path: Path
) -> None:
    with Daemon("-c", places.write_config(), cwd=tmp_path) as daemon:
        for number in range(6):
            path = f"{number}.jpg"
            images.write(places.inbox / path, oracle.expect(path, images.noisy_jpeg(number, (800, 600))))
        paused = daemon.wait_for("intake.paused")
        assert paused["error"] == "ENOSPC"
        assert not logs.select(daemon.lines(), "job.failed")
        assert all(
            images.size(file) == (800, 600) for file in files_below(small_outbox) if "-web" in file.name
        )
        subprocess.run(["mount", "-o", "remount,size=50m", small_outbox], check=True)
        oracle.eventually(40, archive=6)
        daemon.wait_for("intake.resumed")
        assert {line["event"] for line in logs.terminal(daemon.lines())} == {"job.done"}
