"""Real programs put files into the inbox: each file is done exactly once, from the whole of it, and none complains.

Every program here sets times and modes in its own way: before or after it closes the file, by descriptor or by name.
A file that is taken away too early makes the program fail; a file that is read too early makes a wrong picture.
"""

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import clients, images, logs
from tests.support.clients import run
from tests.support.daemon import Daemon
from tests.support.oracle import Oracle
from tests.support.places import Places
from tests.support.waiting import eventually
from tests.support.whole import assert_whole, picture_of

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]  # the first may have to install its program

#: KB/s at which the slow clients send: everything then takes more than a second, several times `settle`.
SLOWLY = 900
SETTLE = 'settle = "300ms"\nincomplete_after = "5s"\nrescan = "1s"'
MODES = itertools.cycle([0o640, 0o600, 0o644, 0o664])


@dataclass(frozen=True, kw_only=True)
class Site:
    """What a client sends, from where, and to where."""

    outside: Path
    inbox: Path
    oracle: Oracle
    contents: dict[str, bytes]
    config: Path

    @property
    def names(self) -> list[str]:
        """The files that are not in a folder."""
        return [name for name in self.contents if "/" not in name]

    @property
    def files(self) -> list[Path]:
        return [self.outside / name for name in self.names]


@pytest.fixture(scope="module")
def pictures() -> dict[str, bytes]:
    return {
        "photo.jpg": picture_of("JPEG", 1, (1440, 1080), detail=True),
        "alpha.png": picture_of("PNG", 2),
        "modern.webp": picture_of("WEBP", 3, detail=True),
        "raw.bmp": picture_of("BMP", 4, (320, 240)),
        "scan.tiff": picture_of("TIFF", 5, (300, 240)),
        "blüten 1.jpg": picture_of("JPEG", 6),
        "album/x.jpg": picture_of("JPEG", 7),
        "album/deep/y.webp": picture_of("WEBP", 8),
    }


@pytest.fixture
def site(places: Places, oracle: Oracle, tmp_path: Path, pictures: dict[str, bytes]) -> Site:
    return make_site(places, oracle, tmp_path / "outside", pictures)


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder on another file system than the inbox."""
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == Path(tempfile.gettempdir()).stat().st_dev:
        pytest.skip("no second file system at /dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="procwatch-test-", dir=shm))
    yield folder
    shutil.rmtree(folder)


def make_site(places: Places, oracle: Oracle, outside: Path, pictures: dict[str, bytes]) -> Site:
    """Write the pictures into `outside`, as of long ago and with various modes."""
    for age, (name, data) in enumerate(pictures.items()):
        file = images.write(outside / name, data)
        file.chmod(next(MODES))
        os.utime(file, (1_600_000_000 + age, 1_600_000_000 + age))
    config = places.write_config(inbox=SETTLE)
    return Site(outside=outside, inbox=places.inbox, oracle=oracle, contents=pictures, config=config)


@dataclass(frozen=True, kw_only=True)
class Client:
    """A way to send: `site.names`, with `tree` everything, or `only` these. What it keeps must be so in the archive."""

    send: Callable[[Site, Daemon], object]
    tree: bool = False
    only: tuple[str, ...] = ()
    keeps_times: bool = False
    mode: int | None = 0  # 0: that of the source, None: its own business


def deliver(site: Site, client: Client) -> None:
    """Have the client send to a running daemon, and judge what became of it."""
    names = client.only or (list(site.contents) if client.tree else site.names)
    statuses = {name: (site.outside / name).stat() for name in names}
    for name in names:
        site.oracle.expect(name, site.contents[name])
    places = site.oracle.places
    with Daemon("-c", site.config, cwd=places.root.parent) as daemon:
        client.send(site, daemon)
        site.oracle.eventually(archive=len(names))
        lines = daemon.lines()
    ends = logs.terminal(lines)
    assert sorted(line["path"] for line in ends) == sorted(names), "each exactly once"
    for line in ends:
        path = line["path"]
        assert line["event"] == "job.done", line
        assert line["bytes_in"] == len(site.contents[path]), line
        assert_whole(site.contents[path], list(site.oracle.renditions(path).values()))
        kept = (places.archive / path).stat()
        if client.keeps_times:
            assert int(kept.st_mtime) == int(statuses[path].st_mtime), path
        if client.mode is not None:
            wanted = client.mode or statuses[path].st_mode & 0o777
            assert kept.st_mode & 0o777 == wanted, f"{path} is {kept.st_mode:o}"


def _mv(site: Site, _daemon: Daemon) -> None:
    run("mv", *site.outside.iterdir(), site.inbox)


def _tar(site: Site, _daemon: Daemon) -> None:
    archive = site.outside.parent / "all.tar"
    run("tar", "-C", site.outside, "-cf", archive, ".")
    run("tar", "-C", site.inbox, "-xpf", archive)


def _dd(site: Site, _daemon: Daemon) -> None:
    for name in site.names:
        run("dd", f"if={site.outside / name}", f"of={site.inbox / name}", "bs=64k")


LOCAL = {
    "cp": Client(send=lambda site, _daemon: run("cp", *site.files, site.inbox), mode=None),
    "cp -p": Client(send=lambda site, _daemon: run("cp", "-p", *site.files, site.inbox), keeps_times=True),
    "cp -r": Client(
        send=lambda site, _daemon: run("cp", "-r", f"{site.outside}/.", site.inbox), tree=True, mode=None
    ),
    "cp -a": Client(
        send=lambda site, _daemon: run("cp", "-a", f"{site.outside}/.", site.inbox),
        tree=True,
        keeps_times=True,
    ),
    "install -m": Client(
        send=lambda site, _daemon: run("install", "-p", "-m", "604", *site.files, site.inbox),
        keeps_times=True,
        mode=0o604,
    ),
    "ln": Client(send=lambda site, _daemon: run("ln", *site.files, site.inbox), keeps_times=True),
    "dd": Client(send=_dd, mode=None),
    "tar": Client(send=_tar, tree=True, keeps_times=True),
}


@pytest.mark.parametrize("name", LOCAL)
def test_programs_of_this_machine(name: str, site: Site) -> None:
    """coreutils and tar, within one file system."""
    deliver(site, LOCAL[name])


def test_mv_from_another_file_system(
    places: Places, oracle: Oracle, elsewhere: Path, pictures: dict[str, bytes]
) -> None:
    """A move across file systems is a copy that sets times and mode, then a removal; folders come with their content."""
    site = make_site(places, oracle, elsewhere / "outside", pictures)
    deliver(site, Client(send=_mv, tree=True, keeps_times=True))
    assert not list(site.outside.iterdir())


RSYNC = {
    "-a": (),
    "--inplace": ("--inplace",),
    "--inplace, slow": ("--inplace", f"--bwlimit={SLOWLY}"),
    "--preallocate --inplace, slow": ("--preallocate", "--inplace", f"--bwlimit={SLOWLY}"),
    "--partial, slow": ("--partial", f"--bwlimit={SLOWLY}"),
    "--partial-dir": ("--partial-dir=.rsync-partial",),
    "--delay-updates": ("--delay-updates",),
}


@pytest.mark.parametrize("name", RSYNC)
def test_rsync(name: str, site: Site) -> None:
    """It writes under a hidden name and renames; with --inplace under the final name, whose times it sets at the end."""
    clients.need("rsync")
    argv = ("rsync", "-a", *RSYNC[name], f"{site.outside}/", f"{site.inbox}/")
    deliver(site, Client(send=lambda site, _daemon: run(*argv), tree=True, keeps_times=True))


def test_rsync_partial_that_is_interrupted_and_repeated(site: Site) -> None:
    """An interrupted `rsync --partial` renames a half file to the final name: it waits for the rest, and is not failed."""
    clients.need("rsync")
    argv = ("rsync", "-a", "--partial", f"{site.outside}/photo.jpg", f"{site.inbox}/")

    def send(site: Site, daemon: Daemon) -> None:
        with subprocess.Popen([*argv, "--bwlimit=600"], stderr=subprocess.DEVNULL) as rsync:
            eventually(lambda: any(file.stat().st_size > 200_000 for file in site.inbox.glob(".photo.jpg.*")))
            rsync.send_signal(signal.SIGINT)
        assert rsync.returncode == 20, "interrupted"
        daemon.wait_for("job.retrying", path="photo.jpg", error="truncated")
        run(*argv)

    deliver(site, Client(send=send, only=("photo.jpg",), keeps_times=True))


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[clients.SshServer]:
    folder = tmp_path / "ssh"
    folder.mkdir()
    with clients.ssh_server(folder) as server:
        yield server


SCP = {
    "-p": ("-p",),
    "-p, slow": ("-p", "-l", str(8 * SLOWLY)),
    "-r -p": ("-r", "-p"),
    "-O -p (the old protocol)": ("-O", "-p"),
    "-O, slow": ("-O", "-l", str(8 * SLOWLY)),
}


@pytest.mark.parametrize("name", SCP)
def test_scp(name: str, site: Site, ssh: clients.SshServer) -> None:
    """It writes under the final name; with -O it sets the times by name, after it closed the file."""
    options, tree = SCP[name], "-r" in SCP[name]

    def send(site: Site, _daemon: Daemon) -> None:
        sources = list(site.outside.iterdir()) if tree else site.files
        run(clients.path_of("scp"), *options, *ssh.options, *sources, f"{ssh.host}:{site.inbox}/")

    keeps = "-p" in options
    deliver(site, Client(send=send, tree=tree, keeps_times=keeps, mode=0 if keeps else None))


SFTP = {"put": "put", "put -p": "put -p", "put -f (fsync)": "put -f", "put -R -p": "put -R -p"}


@pytest.mark.parametrize("name", SFTP)
def test_sftp(name: str, site: Site, ssh: clients.SshServer) -> None:
    command, tree = SFTP[name], "-R" in SFTP[name]
    sources = sorted(site.outside.iterdir()) if tree else site.files
    batch = "".join(f'{command} "{source}" "{site.inbox}/{source.name}"\n' for source in sources)

    def send(site: Site, _daemon: Daemon) -> None:
        run(clients.path_of("sftp"), "-b", "-", *ssh.options, ssh.host, text=batch)

    keeps = "-p" in command
    deliver(site, Client(send=send, tree=tree, keeps_times=keeps, mode=0 if keeps else None))


def test_sftp_reput_of_what_was_cut_off(site: Site, ssh: clients.SshServer) -> None:
    """A half file that was closed, as a lost connection leaves it, waits for the rest; `reput` then appends it."""
    half = images.write(site.outside.parent / "half", site.contents["photo.jpg"][:300_000])

    def sftp(batch: str) -> None:
        run(clients.path_of("sftp"), "-b", "-", *ssh.options, ssh.host, text=batch)

    def send(site: Site, daemon: Daemon) -> None:
        sftp(f'put "{half}" "{site.inbox}/photo.jpg"\n')
        daemon.wait_for("job.retrying", path="photo.jpg", error="truncated")
        sftp(f'reput "{site.outside}/photo.jpg" "{site.inbox}/photo.jpg"\n')

    deliver(site, Client(send=send, only=("photo.jpg",), mode=None))


SMB = {
    "put": "; ".join(f'put "{name}" "{name}"' for name in ("photo.jpg", "raw.bmp", "scan.tiff")),
    "mput, recursive": "prompt off; recurse on; mput *",
    "put, then times and attributes by name": "; ".join(
        f'put {name} {name}; utimes {name} "-1" "-1" "2020:01:02-03:04:05" "-1"; setmode {name} +r'
        for name in ("photo.jpg", "raw.bmp", "modern.webp")
    ),
}


@pytest.mark.parametrize("name", SMB)
def test_samba(name: str, site: Site, tmp_path: Path) -> None:
    """Samba's own client to a real smbd, which sets times and attributes by name.

    Its `reput` is left out: that of Samba 4.17 writes the rest to the start of the file, without procwatch as well.
    """
    only = () if "mput" in name else tuple(part for part in site.names if part in SMB[name])

    def send(site: Site, _daemon: Daemon) -> None:
        run(*smbclient, "-c", SMB[name], cwd=site.outside)

    with clients.smb_server(tmp_path, site.inbox) as smbclient:
        deliver(site, Client(send=send, tree=not only, only=only, mode=None))
