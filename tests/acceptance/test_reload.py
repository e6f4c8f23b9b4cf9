"""Reload: a changed configuration takes hold without stopping work; a mistake changes nothing."""

import os
import signal
from pathlib import Path

import pytest

from tests.support import images
from tests.support.daemon import Daemon
from tests.support.waiting import eventually

pytestmark = pytest.mark.acceptance

HEAD = """
[state]
dir = "state"
[pool]
workers = {workers}
[recipe.small.output.s]
steps = [{{ op = "fit", width = {width}, height = {width} }}]
"""
INBOX = """
[[inbox]]
name = "{name}"
path = "{name}/in"
outbox = "{name}/out"
archive = "{name}/archive"
failed = "{name}/failed"
recipe = "small"
settle = "100ms"
rescan = "1s"
"""


def configure(root: Path, *names: str, width: int = 64, workers: int = 1) -> Path:
    for name in names:
        (root / name / "in").mkdir(parents=True, exist_ok=True)
    config = root / "procwatch.toml"
    config.write_text(
        HEAD.format(width=width, workers=workers) + "".join(INBOX.format(name=n) for n in names)
    )
    return config


def drop(root: Path, inbox: str, name: str, seed: int) -> None:
    images.move_in(root / inbox / "in" / name, images.jpeg(seed), outside=root / "outside")


def test_inboxes_recipes_and_workers_change_while_it_runs(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    config = configure(tmp_path, "one", "two")
    with Daemon("-c", config, "--level", "debug", cwd=tmp_path) as daemon:
        drop(tmp_path, "one", "a.jpg", 1)
        daemon.wait_for_ends(1)
        configure(tmp_path, "one", "three", width=32, workers=2)
        daemon.signal(signal.SIGHUP)
        told = daemon.wait_for("service.reloaded")
        assert (told["added"], told["removed"]) == (["three"], ["two"])
        assert set(told["changed"]) == {"recipe.small", "pool"}
        daemon.wait_for("watch.started", inbox="three")
        drop(tmp_path, "one", "b.jpg", 2)
        drop(tmp_path, "three", "c.jpg", 3)
        daemon.wait_for_ends(3)
        assert images.size(tmp_path / "one" / "out" / "a-s.jpg")[0] == 64
        assert images.size(tmp_path / "one" / "out" / "b-s.jpg")[0] == 32
        assert images.size(tmp_path / "three" / "out" / "c-s.jpg")[0] == 32
        eventually(lambda: len(set(daemon.worker_pids())) == 2)
        drop(tmp_path, "two", "ignored.jpg", 4)
        configure(tmp_path, "one", "two", "three", width=32, workers=1)
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("service.reloaded", count=2)
        daemon.wait_for_ends(4)  # what was dropped while the inbox was not served is found
        eventually(lambda: len(set(daemon.worker_pids())) == 1)
        eventually((tmp_path / "two" / "archive" / "ignored.jpg").exists)


def test_an_inbox_that_moves_is_served_at_its_new_place_and_running_work_ends_at_the_old(
    tmp_path: Path,
) -> None:
    (tmp_path / "outside").mkdir()
    config = configure(tmp_path, "one")
    slow = images.slow_png(4000)
    with Daemon("-c", config, "--level", "debug", cwd=tmp_path) as daemon:
        images.move_in(tmp_path / "one" / "in" / "slow.png", slow, outside=tmp_path / "outside")
        daemon.wait_for("job.started")
        (tmp_path / "elsewhere").mkdir()
        config.write_text(config.read_text().replace('path = "one/in"', 'path = "elsewhere"'))
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("service.reloaded")
        daemon.wait_for("watch.started", count=2)
        drop(tmp_path, "one", "../../elsewhere/b.jpg", 2)
        daemon.wait_for_ends(2)
        eventually((tmp_path / "one" / "archive" / "b.jpg").exists)
    assert (tmp_path / "one" / "out" / "slow-s.jpg").exists()


def test_a_mistake_leaves_the_old_configuration_in_force_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    config = configure(tmp_path, "one")
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        config.write_text(config.read_text().replace("settle", "setle"))
        daemon.signal(signal.SIGHUP)
        told = daemon.wait_for("config.rejected")
        assert any("setle" in mistake and "settle" in mistake for mistake in told["mistakes"]), told
        drop(tmp_path, "one", "a.jpg", 1)
        daemon.wait_for_ends(1)
        assert images.size(tmp_path / "one" / "out" / "a-s.jpg")[0] == 64


def test_a_file_that_no_reader_survives_is_a_mistake_as_any_other(tmp_path: Path) -> None:
    """Nested a hundred thousand deep: the reload's thread ended, and systemd waited for an answer."""
    config = configure(tmp_path, "one")
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        config.write_text(config.read_text() + "\nx = " + "[" * 100_000)
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("config.rejected")
        drop(tmp_path, "one", "a.jpg", 1)
        daemon.wait_for_ends(1)


def test_without_a_configuration_file_a_reload_is_refused_and_the_daemon_goes_on(tmp_path: Path) -> None:
    with Daemon(tmp_path / "site", cwd=tmp_path) as daemon:
        daemon.signal(signal.SIGHUP)
        daemon.wait_for("config.rejected")
        assert os.path.exists(f"/proc/{daemon.pid}")
