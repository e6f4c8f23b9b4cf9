"""Trouble of disks and permissions is nobody's fault in the inbox: it is waited out, told once, and costs no file."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support import images, logs, namespaces, privileges
from tests.support.daemon import Daemon, procwatch
from tests.support.oracle import Oracle, files_below
from tests.support.places import Places
from tests.support.unprivileged import public_folder

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(120)]


def drop(oracle: Oracle, count: int, first: int = 0) -> None:
    for number in range(first, first + count):
        name = f"{number}.jpg"
        images.write(oracle.places.inbox / name, oracle.expect(name, images.noisy_jpeg(number, (800, 600))))


def nothing_was_charged(daemon: Daemon, count: int) -> None:
    lines = daemon.lines()
    assert [line["event"] for line in logs.terminal(lines)] == ["job.done"] * count
    assert not logs.select(lines, "job.vanished")


def whole_outputs(outbox: Path) -> None:
    """Fail when anything visible is not a whole picture."""
    for file in files_below(outbox):
        if not file.name.startswith("."):
            images.size(file)


# --- disks ---


def test_a_full_disk_for_the_archive_holds_back_originals_and_renders_nothing_twice(
    places: Places, tmp_path: Path
) -> None:
    """The archive is another file system (EXDEV), and a small one: copying the third original fails."""
    oracle = Oracle(places=places)
    with namespaces.tmpfs(places.archive, size="300k"), ExitStack() as stack:
        daemon = stack.enter_context(Daemon("-c", places.write_config(), cwd=tmp_path))
        drop(oracle, 3)
        paused = daemon.wait_for("intake.paused")
        assert (paused["error"], paused["path"]) == ("ENOSPC", str(places.archive))
        assert oracle.where()  # each in exactly one place: no half copy in the archive
        namespaces.remount(places.archive, "size=8m")
        daemon.wait_for("intake.resumed")
        oracle.eventually(40, archive=3)
        nothing_was_charged(daemon, 3)
        assert daemon.terminate() == 0


def test_a_full_disk_for_the_ledger_is_waited_out(places: Places, tmp_path: Path) -> None:
    oracle = Oracle(places=places)
    state = places.root / ".procwatch"
    with namespaces.tmpfs(state, size="32m"), ExitStack() as stack:
        daemon = stack.enter_context(Daemon("-c", places.write_config(), cwd=tmp_path))
        drop(oracle, 2)
        oracle.eventually(archive=2)
        ballast = namespaces.fill(state)
        drop(oracle, 40, first=2)
        paused = daemon.wait_for("intake.paused", timeout_s=40)
        assert paused["error"] in {"ENOSPC", "EIO"}
        assert "ledger" in paused["reason"]
        whole_outputs(places.outbox)
        ballast.unlink()
        daemon.wait_for("intake.resumed")
        daemon.wait_for_ends(42, timeout_s=60)
        oracle.eventually(40, archive=42)
        nothing_was_charged(daemon, 42)
        assert daemon.terminate() == 0


def test_a_full_disk_for_the_ledger_at_the_start_is_one_clear_line(places: Places, tmp_path: Path) -> None:
    state = places.root / ".procwatch"
    with namespaces.tmpfs(state, size="64k"):
        config = places.write_config()
        namespaces.fill(state)
        ended = procwatch("run", "-c", config, cwd=tmp_path, timeout_s=20)
    assert ended.returncode == 4, ended
    assert str(state) in ended.stderr
    assert "disk" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_outbox_that_is_remounted_read_only_is_waited_out(places: Places, tmp_path: Path) -> None:
    """As the kernel does with a disk that has errors."""
    oracle = Oracle(places=places)
    with namespaces.tmpfs(places.outbox, size="50m"), ExitStack() as stack:
        daemon = stack.enter_context(Daemon("-c", places.write_config(), cwd=tmp_path))
        drop(oracle, 1)
        oracle.eventually(archive=1)
        namespaces.remount(places.outbox, "ro")
        drop(oracle, 3, first=1)
        paused = daemon.wait_for("intake.paused")
        assert (paused["error"], paused["path"]) == ("EROFS", str(places.outbox))
        namespaces.remount(places.outbox, "rw")
        daemon.wait_for("intake.resumed")
        oracle.eventually(40, archive=4)
        nothing_was_charged(daemon, 4)
        assert daemon.terminate() == 0


@pytest.mark.parametrize("point", ["fs.rename:1:ENOSPC", "fs.fsync_dir:2:EIO", "fs.mkdir:5:EDQUOT"])
def test_a_refusal_in_the_middle_of_publishing_is_tried_again(
    point: str, places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    config = places.write_config()
    with Daemon("-c", config, cwd=tmp_path, env={"PROCWATCH_FAULT": point}) as daemon:
        for number in range(3):
            name = f"{number}/{number}.jpg"
            images.write(places.inbox / name, oracle.expect(name, images.jpeg(number)))
        oracle.eventually(archive=3)
        nothing_was_charged(daemon, 3)


# --- permissions ---


@pytest.fixture
def shared() -> Iterator[Places]:
    """A site that another user can reach; only root can play another user."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("playing two users takes root and setpriv (util-linux)")
    with public_folder() as folder:
        places = Places(root=folder / "site")
        places.make()
        yield places


def as_user(uid: int) -> tuple[str, ...]:
    return ("setpriv", f"--reuid={uid}", "--regid=65534", "--clear-groups")


def test_a_folder_that_another_user_copied_in_is_done_and_its_originals_stay(
    shared: Places, tmp_path: Path
) -> None:
    """`cp -r album inbox/`: we can read what is in it and may not remove it. Done, told once, not done again."""
    service, owner = privileges.without_override(), as_user(12345)
    config = shared.write_config(inbox='rescan = "1s"')
    for folder in (shared.root, shared.inbox):
        folder.chmod(0o2777)
    outside = shared.root.parent / "outside"
    images.write(outside / "album/a.jpg", images.jpeg(1))
    images.write(outside / "album/b.jpg", images.jpeg(2))
    subprocess.run(["chmod", "-R", "a+rX", outside], check=True)
    with Daemon("-c", config, cwd=tmp_path, prefix=service) as daemon:
        subprocess.run([*owner, "cp", "-r", outside / "album", shared.inbox], check=True)
        daemon.wait_for_ends(2)
        stuck = daemon.wait_for("file.stuck", count=2)
        assert stuck["original"] == "stuck"
        assert "chmod" in stuck["hint"]
        assert str(shared.inbox) in stuck["hint"]
        scans = len(logs.select(daemon.lines(), "scan.finished"))
        daemon.wait_for("scan.finished", count=scans + 3)
        assert len(logs.terminal(daemon.lines())) == 2
        assert not logs.select(daemon.lines(), "intake.paused")
    with Daemon("-c", config, cwd=tmp_path, prefix=service) as daemon:
        daemon.wait_for("scan.finished", count=2)
        assert not logs.terminal(daemon.lines())
        assert not logs.select(daemon.lines(), "job.queued")
    assert sorted(file.name for file in (shared.inbox / "album").iterdir()) == ["a.jpg", "b.jpg"]
