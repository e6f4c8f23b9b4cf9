"""Boot a real systemd in fresh namespaces on an overlay of this machine, and run things inside; leave nothing behind."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.waiting import eventually

REPOSITORY = Path(__file__).resolve().parents[2]
#: A system's own Python: one below /home or /root would be hidden from the service by ProtectHome=.
SYSTEM_PYTHON = "/usr/bin/python3"
#: Set in CI: there a box that cannot be had is a failure, not a skip.
REQUIRED = "PROCWATCH_REQUIRE_SYSTEMD"
_SCRIPT = REPOSITORY / "tests/support/systemd_box.sh"
#: Ends with the test run even when that is killed, and takes everything inside along.
_MORTAL = ("setsid", "setpriv", "--pdeathsig", "KILL")
_UNSHARE = ("unshare", "--mount", "--pid", "--fork", "--uts", "--ipc", "--cgroup", "--kill-child")
#: How pip on this machine finds packages, handed on as it is.
_PIP_ENVIRONMENT = ("PIP_", "SSL_CERT_", "REQUESTS_CA_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
#: What a container must not start, or what would wait for devices that it has not.
_MASKED = ("systemd-timesyncd", "systemd-resolved", "systemd-udevd", "systemd-udev-trigger", "apparmor")
_TARGET = "[Unit]\nRequires=sysinit.target\nAfter=sysinit.target\nAllowIsolate=yes\n"


def why_not() -> str:
    """Return why no systemd can be booted here, "" when it can."""
    if os.geteuid() != 0:
        return "a systemd in namespaces needs root"
    for tool in ("unshare", "nsenter", "setsid", "setpriv", "runuser", "/lib/systemd/systemd", SYSTEM_PYTHON):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    if _quietly([SYSTEM_PYTHON, "-c", "import ensurepip, sys; sys.exit(sys.version_info < (3, 11))"]):
        return f"{SYSTEM_PYTHON} is older than 3.11 or cannot make a venv (python3-venv)"
    with tempfile.TemporaryDirectory(prefix="procwatch-box-") as scratch:
        for name in ("upper", "work", "merged"):
            Path(scratch, name).mkdir()
        layers = f"lowerdir=/,upperdir={scratch}/upper,workdir={scratch}/work"
        probe = f"mount -t overlay overlay -o {layers} {scratch}/merged && mount -t cgroup2 cgroup2 {scratch}/merged/mnt"
        failure = _quietly([*_UNSHARE, "sh", "-c", probe])
    return f"namespaces, overlays or cgroups are not allowed here: {failure}" if failure else ""


def _quietly(command: list[str]) -> str:
    """Return what is wrong with a command, "" when it succeeds."""
    ended = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
    )
    return (ended.stderr.strip() or f"exit {ended.returncode}") if ended.returncode else ""


@contextlib.contextmanager
def systemd_box() -> Iterator["Box"]:
    """Yield a running box; skip the test where there cannot be one."""
    reason = why_not()
    if reason:
        assert not os.environ.get(REQUIRED), reason
        pytest.skip(reason)
    box = Box(Path(tempfile.mkdtemp(prefix="procwatch-box-")))
    try:
        box.boot()
        yield box
    finally:
        box.end()


class Box:
    """A machine in namespaces. Its /srv is `srv` here; its network is this machine's, its files are an overlay."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._cgroup = _new_cgroup()
        self._outer: subprocess.Popen[bytes] | None = None
        self._init = 0
        self.srv = scratch / "srv"

    def boot(self) -> None:
        """Start systemd and wait until it has nothing more to start."""
        for name in ("upper", "work", "root", "srv"):
            (self._scratch / name).mkdir(mode=0o755)
        self._scratch.chmod(0o755)
        self._prepare(self._scratch / "upper")
        enter = f"echo $$ > {self._cgroup}/cgroup.procs; " if self._cgroup else ""
        script = f"{enter}exec {shlex.join([*_MORTAL, *_UNSHARE, 'sh', str(_SCRIPT), str(self._scratch)])}"
        with (self._scratch / "console").open("wb") as console:
            self._outer = subprocess.Popen(
                ["sh", "-c", script], stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT
            )
        eventually(self._is_up, 60, 0.1)

    def _prepare(self, upper: Path) -> None:
        """Write what must differ from this machine: no disks to wait for, no first boot, nothing but the basics."""
        units = upper / "etc/systemd/system"
        units.mkdir(parents=True)
        (units / "procwatch-test.target").write_text(_TARGET)
        for name in _MASKED:
            (units / f"{name}.service").symlink_to("/dev/null")
        (upper / "etc/fstab").write_text("")
        (upper / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")
        # Often a link into /run, which is the box's own.
        (upper / "etc/resolv.conf").write_bytes(Path("/etc/resolv.conf").read_bytes())

    def _is_up(self) -> bool:
        assert self._outer is not None
        console = self._scratch / "console"
        assert self._outer.poll() is None, f"ended while booting: {console.read_text(errors='replace')}"
        children = Path(f"/proc/{self._outer.pid}/task/{self._outer.pid}/children").read_text().split()
        if not children:
            return False
        self._init = int(children[0])
        state = self.run("systemctl is-system-running", check=False).stdout.strip()
        return state in {"running", "degraded"}

    def end(self) -> None:
        """Kill the inner PID 1: the kernel takes every process and every mount along."""
        if self._outer is not None:
            if self._init:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._init, signal.SIGKILL)
            else:
                self._outer.kill()
            self._outer.wait(20)
        if self._cgroup:
            eventually(self._cgroup_is_gone, 10, 0.05)
        shutil.rmtree(self._scratch)

    def _cgroup_is_gone(self) -> bool:
        assert self._cgroup is not None
        for folder, _, _ in os.walk(self._cgroup, topdown=False):
            with contextlib.suppress(OSError):  # its processes are still ending
                os.rmdir(folder)
        return not self._cgroup.exists()

    # --- inside ---

    def run(
        self,
        command: str,
        *,
        user: str = "root",
        check: bool = True,
        timeout_s: float = 60.0,
        env: dict[str, str] | None = None,
        stdin: str = "",
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command inside, with a clean environment, and return what it printed."""
        inside = ["nsenter", "-t", str(self._init), "-m", "-p", "-u", "-i", "-C", "-r", "-w", "--"]
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        become = [] if user == "root" else ["runuser", "-u", user, "--"]
        ended = subprocess.run(
            [*inside, *become, "sh", "-c", command],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env={"PATH": path, "HOME": "/root", "LANG": "C.UTF-8", **(env or {})},
        )
        if check:
            assert ended.returncode == 0, f"{command}: {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
        return ended

    def write(self, path: str, content: str) -> None:
        """Write a file inside; folders above are made."""
        self.run(f"mkdir -p {shlex.quote(os.path.dirname(path))} && cat > {shlex.quote(path)}", stdin=content)

    def install(self, wheel: Path, venv: str = "/opt/procwatch") -> str:
        """Install a wheel into a new venv inside and return the path of its `procwatch`."""
        seen = self.srv / wheel.name
        shutil.copy(wheel, seen)
        pip = f"{venv}/bin/pip install --quiet --no-input /srv/{wheel.name}"
        self.run(f"{SYSTEM_PYTHON} -m venv {venv} && {pip}", timeout_s=240, env=pip_environment())
        seen.unlink()
        return f"{venv}/bin/procwatch"

    def show(self, name: str, unit: str = "procwatch.service") -> str:
        """Return a property of a unit."""
        return self.run(f"systemctl show --value -p {name} {unit}").stdout.strip()

    def journal(self, unit: str, since_us: int = 0) -> list[str]:
        """Return what the processes of a unit wrote since, a line each; systemd's own lines are left out.

        The time is compared here: `--after-cursor` together with a match skips the first line (systemd 252).
        """
        self.run("journalctl --sync")
        match = f"_SYSTEMD_UNIT={unit} _TRANSPORT=stdout"
        shown = self.run(f"journalctl -o json -a --no-pager {match}", check=False).stdout
        entries = [json.loads(line) for line in shown.splitlines()]
        return [entry["MESSAGE"] for entry in entries if int(entry["__REALTIME_TIMESTAMP"]) >= since_us]


def pip_environment() -> dict[str, str]:
    """Return what pip here is told by its environment, to be told inside as well."""
    return {name: value for name, value in os.environ.items() if name.upper().startswith(_PIP_ENVIRONMENT)}


def build_wheel(folder: Path, python: str) -> Path:
    """Build this project's wheel, as a release would, and return it."""
    subprocess.run(
        [python, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(REPOSITORY)],
        stdin=subprocess.DEVNULL,
        timeout=240,
        check=True,
    )
    return next(folder.glob("procwatch-*.whl"))


def _new_cgroup() -> Path | None:
    """Make a control group that everything inside lives below, so that it can be removed afterwards."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    for _, place, kind, *_ in mounts:
        if kind == "cgroup2":
            with contextlib.suppress(
                OSError
            ):  # read-only in some containers; then there is nothing to remove
                made = Path(place, f"procwatch-box-{uuid.uuid4().hex[:8]}")
                made.mkdir()
                return made
    return None
