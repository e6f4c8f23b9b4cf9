"""The sandbox around real workers of the real program, and what happens where the kernel has none."""

import os
import shutil
import stat
from pathlib import Path

import pytest

from procwatch.worker import landlock, seccomp
from tests.support import images, logs
from tests.support.daemon import Daemon, procwatch
from tests.support.oracle import Oracle, files_below
from tests.support.places import Places
from tests.support.waiting import eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(60)]

needs_all = pytest.mark.skipif(
    landlock.kernel_abi() < 1 or not seccomp.is_available(), reason="this kernel cannot lock workers up"
)
#: Read by every interpreter that starts with its folder on PYTHONPATH: a kernel from before all of it.
OLD_KERNEL = b"""
import sys, importlib.abc
class Old(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "procwatch.worker.sandbox":
            return None
        sys.meta_path.remove(self)
        from procwatch.worker import landlock, seccomp
        landlock.kernel_abi = lambda: 0
        seccomp.is_available = lambda: False
        return None
sys.meta_path.insert(0, Old())
"""


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


@needs_all
def test_every_worker_is_locked_up(places: Places, tmp_path: Path) -> None:
    config = places.write_config(pool='workers = 2\nsandbox = "require"')
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        eventually(lambda: len(daemon.worker_pids()) == 2)
        for pid in daemon.worker_pids():
            told = status(pid)
            assert told["NoNewPrivs"] == "1"
            assert told["Seccomp"] == "2", "a filter"
            assert told["Threads"] == "1", "Landlock binds one thread and its children"
            assert int(told["CapEff"], 16) & ~(1 << 2) == 0, "nothing but reading files of others"
            assert int(told["CapPrm"], 16) & ~(1 << 2) == 0
            for descriptor in (0, 1, 2):
                assert os.stat(f"/proc/{pid}/fd/{descriptor}").st_rdev == os.stat(os.devnull).st_rdev
            for name in os.listdir(f"/proc/{pid}/fd"):
                assert not stat.S_ISSOCK(os.stat(f"/proc/{pid}/fd/{name}").st_mode), "nothing to talk through"
        assert not logs.select(daemon.lines(), "sandbox.reduced")
        images.write(places.inbox / "a.jpg", images.jpeg(1))
        daemon.wait_for("job.done", path="a.jpg")


@needs_all
@pytest.mark.parametrize("folder", ["inbox", "outbox", "outbox/.procwatch-staging"])
def test_a_folder_that_is_replaced_while_the_daemon_runs_loses_nothing(
    folder: str, places: Places, tmp_path: Path
) -> None:
    """The rules of the workers bind to the old folder; new workers come, and no file pays for it."""
    config = places.write_config(pool="workers = 2")
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        images.write(places.inbox / "before.jpg", images.jpeg(1))
        daemon.wait_for("job.done", path="before.jpg")
        eventually((places.archive / "before.jpg").exists)
        replaced = places.root / folder
        replaced.rename(tmp_path / "old")
        if folder != "outbox/.procwatch-staging":
            replaced.mkdir()
        for number in range(4):
            images.write(places.inbox / f"{number}.jpg", images.jpeg(number + 10))
        for number in range(4):
            daemon.wait_for("job.done", path=f"{number}.jpg", timeout_s=30)
        assert not logs.select(daemon.lines(), "job.failed")
        reasons = {line["reason"] for line in logs.select(daemon.lines(), "pool.worker_recycled")}
        assert len(reasons) >= 1
        for line in logs.select(daemon.lines(), "job.retrying"):
            if line["error"] == "revoked":  # the old workers had not begun it
                continue
            assert line["error"] == "sandbox-stale", line
        eventually(lambda: all((places.archive / f"{number}.jpg").exists() for number in range(4)))


def test_prefer_works_without_and_says_so_once(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    images.write(tmp_path / "hooks/sitecustomize.py", OLD_KERNEL)
    env = {"PYTHONPATH": str(tmp_path / "hooks")}
    with Daemon("-c", places.write_config(pool="workers = 2"), cwd=tmp_path, env=env) as daemon:
        images.write(places.inbox / "a.jpg", oracle.expect("a.jpg", images.jpeg(1)))
        daemon.wait_for("job.done", path="a.jpg")
        daemon.wait_for("pool.worker_started", count=2)
        told = logs.select(daemon.lines(), "sandbox.reduced")
        assert len(told) == 1
        assert told[0]["level"] == "warning"
        assert [name.partition(" (")[0] for name in told[0]["missing"]] == [
            "files",
            "system calls",
            "signals to others",
            "TCP",
        ]
        oracle.eventually(archive=1)


def test_require_refuses_to_start_without(places: Places, tmp_path: Path) -> None:
    images.write(tmp_path / "hooks/sitecustomize.py", OLD_KERNEL)
    config = places.write_config(pool='sandbox = "require"')
    images.write(places.inbox / "a.jpg", images.jpeg(1))
    ended = procwatch("once", "-c", config, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "hooks")})
    assert ended.returncode == 3, ended
    assert 'pool.sandbox is "require"' in ended.stderr
    assert "no files (Landlock), no system calls (seccomp)" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert (places.inbox / "a.jpg").exists()
    assert not files_below(places.outbox)


def test_off_leaves_workers_as_they_are(places: Places, tmp_path: Path) -> None:
    with Daemon("-c", places.write_config(pool='sandbox = "off"'), cwd=tmp_path) as daemon:
        pid = eventually(daemon.worker_pids)[0]
        assert status(pid)["Seccomp"] == "0" or status(daemon.pid)["Seccomp"] != "0"
        assert not logs.select(daemon.lines(), "sandbox.reduced")
        shutil.rmtree(places.outbox / ".procwatch-staging")
        images.write(places.inbox / "after.jpg", images.jpeg(1))
        daemon.wait_for("job.done", path="after.jpg")
