"""Real programs put files into the inbox: each file is done exactly once, from the whole of it, and none complains.

Every program here sets times and modes in its own way: before or after it closes the file, by descriptor or by name.
A file that is taken away too early makes the program fail; a file that is read too early makes a wrong picture.
"""

import itertools
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
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

#: KB/s at which the slow clients send: everything then takes more than a second.
SLOWLY = 900
#: Long enough for clients that all run at once to do what they do after closing.
SETTLE = 'settle = "1s"\nincomplete_after = "10s"\nrescan = "1s"'
MODES = itertools.cycle([0o640, 0o600, 0o644, 0o664])


@dataclass(frozen=True, kw_only=True)
class Site:
    """What a client sends, from where, and to where: a folder of its own in the inbox."""

    outside: Path
    inbox: Path
    contents: dict[str, bytes]

    @property
    def names(self) -> list[str]:
        """The files that are not in a folder."""
        return [name for name in self.contents if "/" not in name]

    @property
    def files(self) -> list[Path]:
        return [self.outside / name for name in self.names]


@pytest.fixture
def elsewhere() -> Iterator[Path]:
    """A folder on another file system than the inbox."""
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == Path(tempfile.gettempdir()).stat().st_dev:
        pytest.skip("no second file system at /dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="procwatch-test-", dir=shm))
    yield folder
    shutil.rmtree(folder)


def pictures(seed: int) -> dict[str, bytes]:
    return {
        "photo.jpg": picture_of("JPEG", seed, (1440, 1080), detail=True),
        "alpha.png": picture_of("PNG", seed + 1),
        "modern.webp": picture_of("WEBP", seed + 2, detail=True),
        "raw.bmp": picture_of("BMP", seed + 3, (320, 240)),
        "scan.tiff": picture_of("TIFF", seed + 4, (300, 240)),
        "blüten 1.jpg": picture_of("JPEG", seed + 5),
        "album/x.jpg": picture_of("JPEG", seed + 6),
        "album/deep/y.webp": picture_of("WEBP", seed + 7),
    }


def make_site(outside: Path, inbox: Path, contents: dict[str, bytes]) -> Site:
    """Write the pictures into `outside`, as of long ago and with various modes, and make the folder in the inbox."""
    for age, (name, data) in enumerate(contents.items()):
        file = images.write(outside / name, data)
        file.chmod(next(MODES))
        os.utime(file, (1_600_000_000 + age, 1_600_000_000 + age))
    inbox.mkdir(parents=True)
    return Site(outside=outside, inbox=inbox, contents=contents)


@dataclass(frozen=True, kw_only=True)
class Client:
    """A way to send: `site.names`, with `tree` everything, or `only` these. What it keeps must be so in the archive."""

    send: Callable[[Site, Daemon], object]
    tree: bool = False
    only: tuple[str, ...] = ()
    keeps_times: bool = False
    mode: int | None = 0  # 0: that of the source, None: its own business

    def judge(self, path: str, sent: os.stat_result, archived: os.stat_result) -> None:
        """Fail unless what the client set last is what the archive has."""
        if self.keeps_times:
            assert int(archived.st_mtime) == int(sent.st_mtime), path
        if self.mode is not None:
            wanted = self.mode or sent.st_mode & 0o777
            assert archived.st_mode & 0o777 == wanted, f"{path} is {archived.st_mode:o}"

    def names(self, site: Site) -> tuple[str, ...]:
        return self.only or tuple(site.contents if self.tree else site.names)


def deliver(places: Places, oracle: Oracle, sources: Path, by_name: Mapping[str, Client]) -> None:
    """Have all clients send at once to one running daemon, each into its own folder, and judge what became of it."""
    config = places.write_config(inbox=SETTLE)
    sites = {
        name: make_site(sources / name, places.inbox / name, pictures(10 * number))
        for number, name in enumerate(by_name)
    }
    sent = {
        f"{name}/{file}": oracle.expect(f"{name}/{file}", sites[name].contents[file])
        for name, client in by_name.items()
        for file in client.names(sites[name])
    }
    statuses = {path: (sources / path).stat() for path in sent}
    with Daemon("-c", config, cwd=places.root.parent) as daemon:
        with ThreadPoolExecutor(len(by_name)) as threads:
            list(threads.map(lambda name: by_name[name].send(sites[name], daemon), by_name))
        oracle.eventually(60, archive=len(sent))
        ends = logs.terminal(daemon.lines())
    assert sorted(line["path"] for line in ends) == sorted(sent), "each exactly once"
    for line in ends:
        path = line["path"]
        assert (line["event"], line["bytes_in"]) == ("job.done", len(sent[path])), line
        assert_whole(sent[path], list(oracle.renditions(path).values()))
        by_name[path.partition("/")[0]].judge(path, statuses[path], (places.archive / path).stat())


def _mv(site: Site, _daemon: Daemon) -> None:
    run("mv", *site.outside.iterdir(), site.inbox)


def _tar(site: Site, _daemon: Daemon) -> None:
    archive = site.outside.with_name("all.tar")
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


def test_programs_of_this_machine(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    """coreutils and tar, within one file system."""
    deliver(places, oracle, tmp_path / "sources", LOCAL)


def test_mv_from_another_file_system(places: Places, oracle: Oracle, elsewhere: Path) -> None:
    """A move across file systems is a copy that sets times and mode, then a removal; folders come with their content."""
    deliver(places, oracle, elsewhere, {"mv": Client(send=_mv, tree=True, keeps_times=True)})
    assert not list((elsewhere / "mv").iterdir())


# --- rsync ---


def _rsync(*options: str) -> Client:
    """It writes under a hidden name and renames; with --inplace under the final name, whose times it sets at the end."""
    return Client(
        send=lambda site, _daemon: run("rsync", "-a", *options, f"{site.outside}/", f"{site.inbox}/"),
        tree=True,
        keeps_times=True,
    )


def _interrupted_rsync(site: Site, daemon: Daemon) -> None:
    """`--partial` renames a half file to the final name when it is interrupted: that waits for the rest."""
    argv = ("rsync", "-a", "--partial", f"{site.outside}/photo.jpg", f"{site.inbox}/")
    with subprocess.Popen([*argv, "--bwlimit=600"], stderr=subprocess.DEVNULL) as rsync:
        eventually(lambda: any(file.stat().st_size > 200_000 for file in site.inbox.glob(".photo.jpg.*")))
        rsync.send_signal(signal.SIGINT)
    assert rsync.returncode == 20, "interrupted"
    daemon.wait_for("job.retrying", path=f"{site.inbox.name}/photo.jpg", error="truncated")
    run(*argv)


RSYNC = {
    "-a": _rsync(),
    "--inplace": _rsync("--inplace"),
    "--inplace, slow": _rsync("--inplace", f"--bwlimit={SLOWLY}"),
    "--preallocate --inplace, slow": _rsync("--preallocate", "--inplace", f"--bwlimit={SLOWLY}"),
    "--partial, slow": _rsync("--partial", f"--bwlimit={SLOWLY}"),
    "--partial-dir": _rsync("--partial-dir=.rsync-partial"),
    "--delay-updates": _rsync("--delay-updates"),
    "--partial, interrupted and repeated": Client(
        send=_interrupted_rsync, only=("photo.jpg",), keeps_times=True
    ),
}


def test_rsync(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    clients.need("rsync")
    deliver(places, oracle, tmp_path / "sources", RSYNC)


# --- OpenSSH ---


@pytest.fixture
def ssh(tmp_path: Path) -> Iterator[clients.SshServer]:
    folder = tmp_path / "ssh"
    folder.mkdir()
    with clients.ssh_server(folder) as server:
        yield server


def _scp(server: clients.SshServer, *options: str) -> Client:
    """It writes under the final name; with -O it sets the times by name, after it closed the file."""
    tree, keeps = "-r" in options, "-p" in options

    def send(site: Site, _daemon: Daemon) -> None:
        sources = list(site.outside.iterdir()) if tree else site.files
        target = shlex.quote(f"{site.inbox}/") if "-O" in options else f"{site.inbox}/"
        run(clients.path_of("scp"), *options, *server.options, *sources, f"{server.host}:{target}")

    return Client(send=send, tree=tree, keeps_times=keeps, mode=0 if keeps else None)


def _run_sftp(server: clients.SshServer, batch: str) -> None:
    run(clients.path_of("sftp"), "-b", "-", *server.options, server.host, text=batch)


def _sftp(server: clients.SshServer, command: str) -> Client:
    tree, keeps = "-R" in command, "-p" in command

    def send(site: Site, _daemon: Daemon) -> None:
        sources = sorted(site.outside.iterdir()) if tree else site.files
        batch = [f'{command} "{source}" "{site.inbox}/{source.name}"\n' for source in sources]
        _run_sftp(server, "".join(batch))

    return Client(send=send, tree=tree, keeps_times=keeps, mode=0 if keeps else None)


def _sftp_reput(server: clients.SshServer) -> Client:
    """A half file that was closed, as a lost connection leaves it, waits for the rest; `reput` then appends it."""

    def send(site: Site, daemon: Daemon) -> None:
        half = images.write(site.outside.with_name("half"), site.contents["photo.jpg"][:300_000])
        _run_sftp(server, f'put "{half}" "{site.inbox}/photo.jpg"\n')
        daemon.wait_for("job.retrying", path=f"{site.inbox.name}/photo.jpg", error="truncated")
        _run_sftp(server, f'reput "{site.outside}/photo.jpg" "{site.inbox}/photo.jpg"\n')

    return Client(send=send, only=("photo.jpg",), mode=None)


def test_openssh(places: Places, oracle: Oracle, tmp_path: Path, ssh: clients.SshServer) -> None:
    """scp by SFTP and by its old protocol, and sftp, to a real sshd."""
    by_name = {
        "scp -p": _scp(ssh, "-p"),
        "scp -p, slow": _scp(ssh, "-p", "-l", str(8 * SLOWLY)),
        "scp -r -p": _scp(ssh, "-r", "-p"),
        "scp -O -p": _scp(ssh, "-O", "-p"),
        "scp -O, slow": _scp(ssh, "-O", "-l", str(8 * SLOWLY)),
        "sftp put": _sftp(ssh, "put"),
        "sftp put -p": _sftp(ssh, "put -p"),
        "sftp put -f (fsync)": _sftp(ssh, "put -f"),
        "sftp put -R -p": _sftp(ssh, "put -R -p"),
        "sftp reput": _sftp_reput(ssh),
    }
    deliver(places, oracle, tmp_path / "sources", by_name)


# --- Samba ---


def _smb(argv: tuple[str, ...], commands: str, *only: str) -> Client:
    def send(site: Site, _daemon: Daemon) -> None:
        run(*argv, "-c", f'cd "{site.inbox.name}"; {commands}', cwd=site.outside)

    return Client(send=send, tree=not only, only=only, mode=None)


def test_samba(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    """Samba's own client to a real smbd, which sets times and attributes by name.

    Its `reput` is left out: that of Samba 4.17 writes the rest to the start of the file, without procwatch as well.
    """
    three = ("photo.jpg", "raw.bmp", "modern.webp")
    later = 'put {0} {0}; utimes {0} "-1" "-1" "2020:01:02-03:04:05" "-1"; setmode {0} +r'
    with clients.smb_server(tmp_path, places.make().inbox) as argv:
        by_name = {
            "put": _smb(argv, "; ".join(f"put {name} {name}" for name in three), *three),
            "mput": _smb(argv, "prompt off; recurse on; mput *"),
            "times and mode by name": _smb(argv, "; ".join(later.format(name) for name in three), *three),
        }
        deliver(places, oracle, tmp_path / "sources", by_name)
