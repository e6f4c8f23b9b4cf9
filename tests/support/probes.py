"""What a decoder that was taken over would try, as functions that run inside a real worker.

Each ends with "allowed" or with the name of the error that stopped it. The worker is told where things are by the path
of its task, which is JSON.
"""

import ctypes
import errno
import fcntl
import json
import os
import resource
import signal
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from procwatch.model import Rendered, RenderResult, RenderTask

_NEVER: Final = 99
_TIOCSTI: Final = 0x5412


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where things are; everything but `shadow` is the test's own."""

    inbox: str
    original: str
    ledger: str
    archive: str
    staging: str  # this slot's
    other_slot: str
    outside: str
    daemon_pid: int
    tcp_port: int
    udp_port: int
    socket_file: str
    abstract: str
    forkserver: str


@dataclass(frozen=True, kw_only=True)
class Probe:
    """`landlock` is the ABI from which on Landlock denies it, `seccomp` whether the filter does."""

    attempt: Callable[[Places], Any]
    landlock: int = _NEVER
    seccomp: bool = False
    seccomp_before_3: bool = False  # where Landlock cannot, because it is 1 or 2
    is_ours: bool = True  # what happens without protection does not depend on the machine

    def is_denied(self, abi: int, *, seccomp: bool) -> bool:
        filtered = self.seccomp or (self.seccomp_before_3 and abi in (1, 2))
        return abi >= self.landlock or (seccomp and filtered)


def _read(path: str) -> None:
    with open(path, "rb") as file:
        file.read(1)


def _write(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_APPEND))


def _create(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


def _connect(family: int, address: Any, kind: int = socket.SOCK_STREAM) -> None:
    with socket.socket(family, kind) as client:
        client.connect(address)


def _send_udp(places: Places) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"x", ("127.0.0.1", places.udp_port))


def _spawn(places: Places) -> None:
    _, status = os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
    if status:
        raise PermissionError(errno.EACCES, "the program did not run")


def _fork(places: Places) -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


def _aim_signal(places: Places) -> None:
    """Have the kernel send SIGKILL to the daemon when a pipe gets ready."""
    reader, writer = os.pipe()
    try:
        fcntl.fcntl(reader, fcntl.F_SETOWN, places.daemon_pid)
    finally:
        os.close(reader)
        os.close(writer)


def _read_memory(places: Places) -> None:
    """process_vm_readv(2): passwords in the daemon's memory. EFAULT means that only the address was wrong."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.process_vm_readv(places.daemon_pid, None, 0, None, 0, 0) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _type_into_terminal(places: Places) -> None:
    reader, writer = os.pipe()
    try:
        fcntl.ioctl(reader, _TIOCSTI, b"x")
    except OSError as error:
        if error.errno not in (errno.ENOTTY, errno.EIO):  # the call itself was let through
            raise
    finally:
        os.close(reader)
        os.close(writer)


def _start_thread(places: Places) -> None:
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()


def _import_late(places: Places) -> None:
    import colorsys
    import cProfile

    assert cProfile
    assert colorsys


def _log_a_lie(places: Places) -> None:
    """stdout and stderr of the daemon are its log."""
    null = os.stat(os.devnull).st_rdev
    if all(os.fstat(descriptor).st_rdev == null for descriptor in (0, 1, 2)):
        raise PermissionError(errno.EACCES, "they go nowhere")


def _stage(places: Places) -> None:
    descriptor = os.open(f"{places.staging}/job.1.0.jpg", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(descriptor, b"picture")
    os.fsync(descriptor)
    os.close(descriptor)


def _limits_of_daemon(places: Places) -> None:
    kind = resource.RLIMIT_CORE
    resource.prlimit(places.daemon_pid, kind, resource.prlimit(places.daemon_pid, kind))


#: In this order: what leaves a trace in staging comes last.
PROBES: Final[dict[str, Probe]] = {
    # what rendering needs
    "read an original": Probe(attempt=lambda at: _read(at.original)),
    "stage an output": Probe(attempt=_stage),
    "start a thread": Probe(attempt=_start_thread),
    "import a module": Probe(attempt=_import_late),
    # files
    "read /etc/shadow": Probe(attempt=lambda at: _read("/etc/shadow"), landlock=1, is_ours=False),
    "read /etc/passwd": Probe(attempt=lambda at: _read("/etc/passwd"), landlock=1),
    "read the ledger": Probe(attempt=lambda at: _read(at.ledger), landlock=1),
    "read the archive": Probe(attempt=lambda at: _read(at.archive), landlock=1),
    "read what is staged": Probe(attempt=lambda at: _read(f"{at.staging}/job.1.0.jpg"), landlock=1),
    "list an inbox": Probe(attempt=lambda at: os.listdir(at.inbox), landlock=1),
    "read /proc/1/cmdline": Probe(attempt=lambda at: _read("/proc/1/cmdline"), landlock=1, is_ours=False),
    "read the daemon's environment": Probe(
        attempt=lambda at: _read(f"/proc/{at.daemon_pid}/environ"), landlock=1, is_ours=False
    ),
    "write an original": Probe(attempt=lambda at: _write(at.original), landlock=1),
    "write the ledger": Probe(attempt=lambda at: _write(at.ledger), landlock=1),
    "write into an inbox": Probe(attempt=lambda at: _create(f"{at.inbox}/new.jpg"), landlock=1),
    "write into another slot's staging": Probe(
        attempt=lambda at: _create(f"{at.other_slot}/new"), landlock=1
    ),
    "write into an outbox": Probe(attempt=lambda at: _create(f"{at.outside}/new"), landlock=1),
    "write into the Python installation": Probe(
        attempt=lambda at: _create(os.path.join(os.path.dirname(os.__file__), "procwatch-probe")),
        landlock=1,
        is_ours=False,
    ),
    "make a folder elsewhere": Probe(
        attempt=lambda at: os.mkdir(f"{at.outside}/folder"), landlock=1, seccomp=True
    ),
    "make a folder in staging": Probe(
        attempt=lambda at: os.mkdir(f"{at.staging}/folder"), landlock=1, seccomp=True
    ),
    "remove an original": Probe(
        attempt=lambda at: os.unlink(f"{at.inbox}/spare.jpg"), landlock=1, seccomp=True
    ),
    "remove what is staged": Probe(
        attempt=lambda at: os.unlink(f"{at.staging}/spare"), landlock=1, seccomp=True
    ),
    "link symbolically out of staging": Probe(
        attempt=lambda at: os.symlink("/etc/passwd", f"{at.staging}/link"), landlock=1, seccomp=True
    ),
    "hard-link an original into staging": Probe(
        attempt=lambda at: os.link(at.original, f"{at.staging}/hard"), landlock=1, seccomp=True
    ),
    "hard-link the ledger into staging": Probe(
        attempt=lambda at: os.link(at.ledger, f"{at.staging}/ledger"), landlock=1, seccomp=True
    ),
    "move an original into staging": Probe(
        attempt=lambda at: os.rename(f"{at.inbox}/moved.jpg", f"{at.staging}/moved"), landlock=1, seccomp=True
    ),
    "make a pipe in staging": Probe(
        attempt=lambda at: os.mkfifo(f"{at.staging}/fifo"), landlock=1, seccomp=True
    ),
    "truncate the ledger by name": Probe(
        attempt=lambda at: os.truncate(at.ledger, 0), landlock=3, seccomp=True
    ),
    "truncate an original by opening it": Probe(
        attempt=lambda at: os.close(os.open(f"{at.inbox}/cut.jpg", os.O_RDONLY | os.O_TRUNC)),
        landlock=3,
        seccomp_before_3=True,
    ),
    "change the mode of an original": Probe(attempt=lambda at: os.chmod(at.original, 0o600), seccomp=True),
    "change the mode of the ledger": Probe(attempt=lambda at: os.chmod(at.ledger, 0o666), seccomp=True),
    "change the times of an original": Probe(attempt=lambda at: os.utime(at.original), seccomp=True),
    "lock an inbox": Probe(
        attempt=lambda at: fcntl.flock(os.open(at.original, os.O_RDONLY), fcntl.LOCK_SH), seccomp=True
    ),
    # the network and sockets
    "TCP": Probe(
        attempt=lambda at: _connect(socket.AF_INET, ("127.0.0.1", at.tcp_port)), landlock=4, seccomp=True
    ),
    "UDP": Probe(attempt=_send_udp, seccomp=True),
    "a socket file (D-Bus, Docker)": Probe(
        attempt=lambda at: _connect(socket.AF_UNIX, at.socket_file), seccomp=True
    ),
    "an abstract socket": Probe(
        attempt=lambda at: _connect(socket.AF_UNIX, at.abstract), landlock=6, seccomp=True
    ),
    "the forkserver, for a child without a sandbox": Probe(
        attempt=lambda at: _connect(socket.AF_UNIX, at.forkserver), seccomp=True
    ),
    # other processes
    "run a program": Probe(attempt=_spawn, landlock=1, seccomp=True),
    "fork": Probe(attempt=_fork, seccomp=True),
    "signal the daemon": Probe(attempt=lambda at: os.kill(at.daemon_pid, 0), landlock=6, seccomp=True),
    "signal the daemon through its pidfd": Probe(
        attempt=lambda at: signal.pidfd_send_signal(os.pidfd_open(at.daemon_pid), 0), landlock=6, seccomp=True
    ),
    "have the kernel signal the daemon": Probe(attempt=_aim_signal, seccomp=True),
    "read the daemon's memory": Probe(attempt=_read_memory, seccomp=True, is_ours=False),
    "lower the daemon's limits": Probe(attempt=_limits_of_daemon, seccomp=True),
    "lower the daemon's priority": Probe(
        attempt=lambda at: os.setpriority(os.PRIO_PROCESS, at.daemon_pid, 0),
        seccomp=True,
        is_ours=False,  # root's is refused already without capabilities
    ),
    "bind the daemon to one CPU": Probe(
        attempt=lambda at: os.sched_setaffinity(at.daemon_pid, os.sched_getaffinity(0)),
        seccomp=True,
        is_ours=False,
    ),
    "type into the daemon's terminal": Probe(attempt=_type_into_terminal, seccomp=True),
}
#: Denied by what comes with any mode but "off", on every kernel.
ALWAYS_DENIED: Final[dict[str, Callable[[Places], Any]]] = {"write into the log": _log_a_lie}


def run(sequence: int, task: RenderTask) -> tuple[RenderResult, int]:
    """Try everything and tell how each ended."""
    at = Places(**json.loads(task.path))
    attempts = {name: probe.attempt for name, probe in PROBES.items()} | ALWAYS_DENIED
    notes = {name: _outcome(attempt, at) for name, attempt in attempts.items()}
    return Rendered(renditions=(), width=0, height=0, format="", frames=0, notes=notes), 0


def _outcome(attempt: Callable[[Places], Any], at: Places) -> str:
    try:
        attempt(at)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "error")
    return "allowed"
