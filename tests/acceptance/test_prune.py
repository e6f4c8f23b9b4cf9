"""Outputs of kept originals that were deleted stay, until somebody asks for their removal."""

from pathlib import Path

import pytest

from tests.support import images
from tests.support.daemon import Daemon, procwatch

pytestmark = pytest.mark.acceptance

CONFIG = """
[[inbox]]
path = "inbox"
on_success = "keep"
settle = "100ms"
[state]
dir = "state"
"""


def configure(root: Path) -> Path:
    (root / "inbox").mkdir()
    (root / "outside").mkdir()
    config = root / "procwatch.toml"
    config.write_text(CONFIG)
    for number, name in enumerate(("gone.jpg", "here.jpg")):
        images.move_in(root / "inbox" / name, images.jpeg(number), outside=root / "outside")
    return config


def outputs(root: Path) -> set[str]:
    return {path.name for path in (root / "outbox").glob("*.*") if path.is_file()}


BOTH = {"gone-web.jpg", "gone-thumb.jpg", "here-web.jpg", "here-thumb.jpg"}


def test_without_a_daemon(tmp_path: Path) -> None:
    config = configure(tmp_path)
    assert procwatch("once", "-c", config, cwd=tmp_path).returncode == 0
    (tmp_path / "inbox" / "gone.jpg").unlink()
    assert procwatch("once", "-c", config, cwd=tmp_path).returncode == 0
    assert outputs(tmp_path) == BOTH, "nothing is removed unasked"
    counted = procwatch("rebuild", "--prune", "--dry-run", "-c", config, cwd=tmp_path)
    assert "2 outputs" in counted.stdout
    assert outputs(tmp_path) == BOTH
    pruned = procwatch("rebuild", "--prune", "-c", config, cwd=tmp_path)
    assert (pruned.returncode, pruned.stdout) == (0, "2 outputs of deleted originals removed\n"), pruned
    assert outputs(tmp_path) == {"here-web.jpg", "here-thumb.jpg"}
    assert procwatch("audit", "-c", config, cwd=tmp_path).returncode == 0


def test_by_the_running_daemon(tmp_path: Path) -> None:
    config = configure(tmp_path)
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        daemon.wait_for_ends(2)
        (tmp_path / "inbox" / "gone.jpg").unlink()
        pruned = procwatch("rebuild", "--prune", "-c", config, cwd=tmp_path)
        assert (pruned.returncode, pruned.stdout) == (0, "2 outputs of deleted originals removed\n"), pruned
        assert outputs(tmp_path) == {"here-web.jpg", "here-thumb.jpg"}


def test_an_empty_inbox_looks_like_a_missing_mount_and_is_refused(tmp_path: Path) -> None:
    config = configure(tmp_path)
    assert procwatch("once", "-c", config, cwd=tmp_path).returncode == 0
    for name in ("gone.jpg", "here.jpg"):
        (tmp_path / "inbox" / name).unlink()
    refused = procwatch("rebuild", "--prune", "-c", config, cwd=tmp_path)
    assert refused.returncode == 2
    assert "mounted" in refused.stderr
    assert outputs(tmp_path) == BOTH
    assert procwatch("rebuild", "--prune", "--even-if-empty", "-c", config, cwd=tmp_path).returncode == 0
    assert outputs(tmp_path) == set()
