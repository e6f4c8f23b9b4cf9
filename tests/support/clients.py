"""Real programs that put files into an inbox: found or installed, served on loopback, and ended again."""

import contextlib
import functools
import getpass
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import processes
from tests.support.waiting import eventually

#: Program → the Debian package that brings it.
PACKAGES = {
    "logrotate": "logrotate",
    "rsync": "rsync",
    "scp": "openssh-client",
    "sftp": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "smbd": "samba",
    "smbclient": "smbclient",
}
#: Set to anything to have tests skipped rather than packages installed.
NO_INSTALL = "PROCWATCH_NO_INSTALL"

_SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
_INSTALLER = Path(__file__).with_name("install-clients.sh")


def need(*programs: str) -> None:
    """Make sure that the programs are here, installing their packages as root; skip the test when that fails."""
    missing = sorted(PACKAGES[program] for program in programs if find(program) is None)
    if missing:
        problem = _install(tuple(dict.fromkeys(missing)))
        if problem:
            pytest.skip(f"{', '.join(missing)} not installed: {problem}")


def find(program: str) -> str | None:
    """Return the absolute path of a program, also of one that only root's PATH shows."""
    return shutil.which(program, path=_SYSTEM_PATH)


def path_of(program: str) -> str:
    """Return the absolute path of a program that is here: sshd insists on one."""
    found = find(program)
    assert found is not None, f"call need({program!r}) first"
    return found


@functools.cache  # one try a package and session: where there is no network it takes long to fail
def _install(packages: tuple[str, ...]) -> str:
    """Return why the packages could not be installed, nothing when they are."""
    if os.environ.get(NO_INSTALL):
        return f"{NO_INSTALL} is set"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return "that takes root and apt-get"
    try:
        done = subprocess.run(
            [_INSTALLER, *packages],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "apt-get took more than four minutes"
    return f"apt-get: {done.stderr.strip()[-300:]}" if done.returncode else ""


def run(
    *argv: str | Path, cwd: Path | None = None, text: str = "", timeout_s: float = 60.0
) -> subprocess.CompletedProcess[str]:
    """Run a client to its end with `text` on stdin; it must succeed and have nothing to complain of."""
    done = subprocess.run(
        list(map(str, argv)),
        cwd=cwd,
        input=text,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, f"{argv} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    for word in ("No such file", "NT_STATUS_", "rror:", "ailed"):
        assert word not in done.stdout + done.stderr, f"{argv} said:\n{done.stdout}{done.stderr}"
    return done


@dataclass(frozen=True, kw_only=True)
class SshServer:
    """An OpenSSH server of this test, which lets this user in by a key of this test."""

    port: int
    options: tuple[str, ...]  # of scp and sftp
    host: str  # user@address


@contextlib.contextmanager
def ssh_server(folder: Path) -> Iterator[SshServer]:
    """Serve SSH on loopback for the block; keys and configuration are below `folder`."""
    need("scp", "sftp", "ssh-keygen", "sshd")
    for key in ("host", "user"):
        run(path_of("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", folder / key)
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # its privilege separation folder, made at boot
    port, config = _free_port(), folder / "sshd_config"
    config.write_text(
        f"""
ListenAddress 127.0.0.1
Port {port}
HostKey {folder / "host"}
AuthorizedKeysFile {folder / "user.pub"}
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
Subsystem sftp internal-sftp
"""
    )
    options = (
        *("-F", "none", "-i", str(folder / "user"), "-P", str(port)),
        *("-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR"),
        *("-o", f"UserKnownHostsFile={folder / 'known_hosts'}", "-o", "IdentitiesOnly=yes"),
    )
    with _served([path_of("sshd"), "-D", "-e", "-f", str(config)], port, folder / "sshd.log"):
        yield SshServer(port=port, options=options, host=f"{getpass.getuser()}@127.0.0.1")


@contextlib.contextmanager
def smb_server(folder: Path, share: Path) -> Iterator[tuple[str, ...]]:
    """Serve `share` by Samba on loopback for the block; yields the argv of a smbclient that is connected to it."""
    need("smbd", "smbclient")
    port, config, state = _free_port(), folder / "smb.conf", folder / "samba"
    state.mkdir()
    kinds = ("private dir", "lock directory", "state directory", "cache directory", "pid directory")
    folders = "\n".join(f"{kind} = {state}" for kind in (*kinds, "ncalrpc dir"))
    config.write_text(
        f"""
[global]
server role = standalone server
interfaces = 127.0.0.1/8
bind interfaces only = yes
smb ports = {port}
disable netbios = yes
disable spoolss = yes
load printers = no
printcap name = /dev/null
map to guest = Bad User
guest account = {getpass.getuser()}
log file = {folder / "smbd.log"}
{folders}

[inbox]
path = {share}
guest ok = yes
read only = no
"""
    )
    smbd = [path_of("smbd"), "--foreground", "--no-process-group", "-s", str(config)]
    with _served(smbd, port, folder / "smbd.out"):
        yield (path_of("smbclient"), "//127.0.0.1/inbox", "-s", str(config), "-p", str(port), "-N")


@contextlib.contextmanager
def _served(argv: Sequence[str], port: int, log: Path) -> Iterator[None]:
    """Run a server for the block, from when it answers on `port`; whatever it started ends with it."""
    with log.open("wb") as out:
        server = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        eventually(lambda: _answers(port) or server.poll() is not None)
        assert server.poll() is None, f"{argv} ended:\n{log.read_text(errors='replace')}"
        yield
    finally:
        server.terminate()
        server.wait(10)
        for pid in processes.in_session(server.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1.0):
        return True
    return False
