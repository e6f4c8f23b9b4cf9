"""A file system that does not answer stops its own inbox and nothing else, whichever of its folders lies there.

"unkillable": the worker that waits for it cannot even be killed, so that the pool has to do without it.
"""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import images, logs
from tests.support.daemon import Daemon
from tests.support.frozen_fs import Frozen, frozen_fs
from tests.support.oracle import Oracle
from tests.support.places import Places

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(150)]

#: Silence is noticed within this, then the other inboxes have all workers again.
NOTICED_S = 20.0


#: The folder of an inbox that lies on the file system that hangs; the other three are local.
PARTS = ("inbox", "outbox", "archive", "failed")


@dataclass
class Site:
    """Two inboxes: a local one, and one with a folder on a mount that can be frozen. Oracles look behind the mount."""

    config: Path
    local: Oracle
    remote: Oracle
    mount: Frozen
    unkillable: bool

    def freeze(self) -> None:
        self.mount.freeze(unkillable=self.unkillable)


@pytest.fixture(params=[*PARTS, "inbox, unkillable", "outbox, unkillable"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """The folder lies below the root of its mount, as most do."""
    local, remote = Places(root=tmp_path / "local").make(), Places(root=tmp_path / "remote").make()
    mount_point = tmp_path / "mount"
    part, _, how = request.param.partition(", ")
    folders = {name: remote.root / name for name in PARTS} | {part: mount_point / part}
    with frozen_fs(remote.root, mount_point) as mount:
        config = local.write_config(
            inbox=f"""name = "local"
[[inbox]]
name = "remote"
path = "{folders["inbox"]}"
outbox = "{folders["outbox"]}"
archive = "{folders["archive"]}"
failed = "{folders["failed"]}"
settle = "100ms"
rescan = "2s"
recipe = "web"
""",
            pool="workers = 2",
            rest='stop_timeout = "5s"',
        )
        yield Site(
            config=config,
            local=Oracle(places=local),
            remote=Oracle(places=remote),
            mount=mount,
            unkillable=how == "unkillable",
        )
        mount.thaw()


def drop(oracle: Oracle, first: int, count: int = 1) -> None:
    for seed in range(first, first + count):
        images.write(
            oracle.places.inbox / f"{seed}.jpg", oracle.expect(f"{seed}.jpg", images.noisy_jpeg(seed))
        )


def test_an_inbox_that_freezes_in_the_middle_of_work_stops_nobody_else(site: Site, tmp_path: Path) -> None:
    """Both workers hang in its files: they are taken away from it, and its files are not blamed."""
    with Daemon("-c", site.config, cwd=tmp_path) as daemon:
        drop(site.remote, 100, 60)
        daemon.wait_for("job.done", inbox="remote")
        site.freeze()
        frozen = time.monotonic()
        drop(site.local, 1, 3)
        paused = daemon.wait_for("intake.paused", inbox="remote", timeout_s=NOTICED_S)
        assert "does not answer" in paused["reason"]
        daemon.wait_for("job.done", inbox="local", count=3, timeout_s=NOTICED_S)
        print(f"local files done {time.monotonic() - frozen:.1f} s after the freeze")
        began = time.monotonic()
        drop(site.local, 10)
        daemon.wait_for("job.done", path="10.jpg", timeout_s=5)
        assert time.monotonic() - began < 5
        site.mount.thaw()
        daemon.wait_for("intake.resumed", inbox="remote", timeout_s=NOTICED_S)
        daemon.wait_for("job.done", inbox="remote", count=60, timeout_s=60)
        site.remote.eventually(40, archive=60)
        site.local.eventually(archive=4)
        assert {line["event"] for line in logs.terminal(daemon.lines())} == {"job.done"}
        assert not logs.select(daemon.lines(), "job.vanished")


def test_sigterm_ends_the_service_within_its_grace_while_an_inbox_is_frozen(
    site: Site, tmp_path: Path
) -> None:
    with Daemon("-c", site.config, cwd=tmp_path) as daemon:
        drop(site.remote, 200, 30)
        daemon.wait_for("job.done", inbox="remote")
        site.freeze()
        began = time.monotonic()
        daemon.signal(signal.SIGTERM)
        daemon.wait_for("service.stopped", timeout_s=30)
        assert (
            time.monotonic() - began < 20
        )  # stop_timeout 5 s, the lanes' 5 s, and 3 s for a worker that cannot die
        # A process that has a file open there is kept by the kernel, at its very end, until the server answers.
        site.mount.thaw()
        assert daemon.process.wait(20) == 0
        daemon.was_killed()  # what hung is not waited for: it is done after the next start
    with Daemon("-c", site.config, cwd=tmp_path) as daemon:
        site.remote.eventually(60, archive=30)


def test_an_inbox_that_is_frozen_at_the_start_does_not_delay_the_others(site: Site, tmp_path: Path) -> None:
    site.freeze()
    drop(site.remote, 300)
    with ExitStack() as stack:
        began = time.monotonic()
        daemon = stack.enter_context(Daemon("-c", site.config, cwd=tmp_path))
        assert time.monotonic() - began < NOTICED_S
        lost = daemon.wait_for("watch.lost", inbox="remote")
        assert "does not answer" in lost["reason"]
        drop(site.local, 20)
        daemon.wait_for("job.done", inbox="local", timeout_s=10)
        site.mount.thaw()
        daemon.wait_for("watch.restored", inbox="remote", timeout_s=NOTICED_S)
        daemon.wait_for("job.done", inbox="remote", timeout_s=20)
        site.remote.eventually(archive=1)
        site.local.eventually(archive=1)
