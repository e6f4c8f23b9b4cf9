"""What stands in the way of one file stands in the way of that file only: the inbox goes on, also after a crash."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import images, logs
from tests.support.daemon import Daemon
from tests.support.places import Places
from tests.support.waiting import eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(110)]

CONFIG = 'settle = "0s"\nincomplete_after = "2s"'


@pytest.fixture
def daemon(places: Places, tmp_path: Path) -> Iterator[Daemon]:
    with Daemon("-c", places.write_config(inbox=CONFIG), cwd=tmp_path) as daemon:
        yield daemon


def others_go_on(places: Places, daemon: Daemon) -> None:
    images.write(places.inbox / "other.jpg", images.jpeg(3))
    daemon.wait_for("job.done", path="other.jpg", timeout_s=30)
    assert not logs.select(daemon.lines(), "intake.paused")


def make_deep(top: Path, levels: int, name: str) -> int:
    """Return a descriptor of the innermost of so many folders; paths could not be that long."""
    here = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir(name, dir_fd=here)
        inner = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    return here


def test_a_folder_that_became_a_link_while_its_picture_was_rendered(places: Places, daemon: Daemon) -> None:
    slow = images.slow_png(5000)
    images.write(places.inbox / "sub/a.png", slow)
    daemon.wait_for("job.started", path="sub/a.png")
    (places.inbox / "sub").rename(places.root / "away")
    (places.inbox / "sub").symlink_to("sub")
    others_go_on(places, daemon)


def test_a_folder_that_became_a_link_while_the_daemon_was_dead(places: Places, tmp_path: Path) -> None:
    config = places.write_config(inbox=CONFIG)
    with Daemon("-c", config, cwd=tmp_path) as first:
        images.write(places.inbox / "sub/a.png", images.slow_png(5000))
        first.wait_for("job.started", path="sub/a.png")
        first.kill9()
    (places.inbox / "sub").rename(places.root / "away")
    (places.inbox / "sub").symlink_to("sub")
    with Daemon("-c", config, cwd=tmp_path) as second:
        others_go_on(places, second)


@pytest.mark.parametrize("content", ["good", "bad"])
def test_a_path_that_is_too_long_for_outbox_archive_and_failed(
    content: str, places: Places, daemon: Daemon
) -> None:
    """Below the inbox it is within the limit of the system, with any folder's name before it it is not."""
    folder = make_deep(places.inbox, 20, "d" * 200)
    data = images.jpeg(1) if content == "good" else b"no picture" * 100
    fd = os.open(f"{'y' * 50}.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=folder, mode=0o666)
    os.write(fd, data)
    os.close(fd)
    os.close(folder)
    others_go_on(places, daemon)
    assert daemon.process.poll() is None


@pytest.mark.parametrize("litter", ["no Unicode", "deep", "a file", "a link", "a folder in a file's place"])
def test_what_a_worker_that_was_taken_over_left_in_its_staging(
    litter: str, places: Places, tmp_path: Path
) -> None:
    config = places.write_config(inbox=CONFIG)
    slot = places.outbox / ".procwatch-staging/slot-1"
    slot.mkdir(parents=True)
    if litter == "no Unicode":
        os.mkdir(os.fsencode(slot) + b"/\xff")
    elif litter == "deep":
        (slot / "x.1").mkdir(mode=0o700)
        os.close(make_deep(slot / "x.1", 3500, "d"))
        os.utime(slot / "x.1", (1, 1))
    elif litter == "a link":
        (slot / "not a job").symlink_to(places.root)
    elif litter == "a folder in a file's place":
        (slot / "x.1.0.jpg/inner").mkdir(parents=True)
        os.utime(slot / "x.1.0.jpg", (1, 1))
    else:
        (slot / "not a job").write_bytes(b"x")
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        others_go_on(places, daemon)
    assert list(slot.iterdir()) == []


def test_a_conflict_about_a_name_that_is_no_unicode(places: Places, tmp_path: Path) -> None:
    """The reason quotes the name; the ledger takes no text that is none."""
    config = places.write_config(inbox=f'{CONFIG}\non_conflict = "fail"')
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        images.write(places.inbox / os.fsdecode(b"\xff.jpg"), images.jpeg(1))
        daemon.wait_for("job.done")
        images.write(places.inbox / os.fsdecode(b"\xff.bmp"), images.bmp(2))
        failed = daemon.wait_for("job.failed")
        assert failed["error"] == "name-conflict"
        others_go_on(places, daemon)
        eventually((places.failed / os.fsdecode(b"\xff.bmp")).exists)
