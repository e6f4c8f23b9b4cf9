"""What binds a worker process from its first moment: signals, its life tied to the daemon's, resource limits."""

import contextlib
import fcntl
import os
import resource
import signal
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection

from procwatch.imaging.memory import KEPT_BYTES, used_bytes

#: Above the default 0, so that a machine short of memory takes a worker and never the daemon (proc(5)).
_OOM_SCORE_ADJ = "500"
#: A decoder needs its input, its outputs and a few pipes; anything near this number is a leak or an attack.
_MAX_OPEN_FILES = 128
#: An output larger than this is a mistake; the write fails with EFBIG.
_MAX_OUTPUT_BYTES = 4 * 1024**3
#: The daemon kills by wall clock; this bounds a worker whose daemon is frozen, several threads at work included.
_CPU_FACTOR = 8
_CPU_SPARE_S = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryBounds:
    """What a worker may take beside what it needs when idle."""

    budget_bytes: int  # whatever it is granted
    grant_bytes: int  # for a job that was granted nothing in particular


def ignore_terminal_signals() -> None:
    """Leave Ctrl-C, and a terminal that is closed, to the daemon: it lets running jobs finish. SIGTERM stays deadly."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def die_with(daemon: Connection) -> None:
    """Have the kernel SIGKILL this process when the daemon's end of the pipe closes.

    Under forkserver PR_SET_PDEATHSIG is useless (the parent is the forkserver) and a polling thread starves
    while C code holds the GIL. A signal-driven descriptor (fcntl(2) F_SETSIG) works in both cases, but only
    with one pipe a worker: with a shared pipe the last F_SETOWN wins.
    """
    descriptor = daemon.fileno()
    fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_ASYNC)
    if daemon.poll(0):  # the daemon died between our fork and the lines above
        os.kill(os.getpid(), signal.SIGKILL)


def leave_the_family() -> None:
    """Let go of two pipes that the fork server gives to every process.

    By one a worker could end the fork server, and with it all others; by the other it could have the resource tracker
    remove semaphores and shared memory of the same user. The names are not public: a test looks at a worker's pipes.
    """
    tracker = getattr(resource_tracker, "_resource_tracker", None)
    family = getattr(forkserver, "_forkserver", None)
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for owner, name in ((family, "_forkserver_alive_fd"), (tracker, "_fd")):
        descriptor = getattr(owner, name, None)
        if descriptor is not None:
            os.dup2(null, descriptor, inheritable=False)
    os.close(null)


def make_files_as_asked() -> None:
    """Have new files get the very mode that is asked for; the folders of staging let nobody else in.

    Then the daemon need not set it: that would change the inode once more, and each fsync after it would make the
    file system commit its journal, where the first of a batch does for all.
    """
    os.umask(0)


def apply_rlimits() -> None:
    """Bound what a decoder gone wild can take: core dumps, descriptors, size of a written file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_NOFILE, _MAX_OPEN_FILES)
    _lower(resource.RLIMIT_FSIZE, _MAX_OUTPUT_BYTES)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then write() says EFBIG, an ordinary failure of one file
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write(_OOM_SCORE_ADJ)


class MemoryLimit:
    """RLIMIT_AS of this process: the hard limit for good, the soft one for each job by its grant.

    Address space, because the kernel bounds nothing closer to memory for a single process; measured on 30 kinds
    of pictures, the peaks of the two differ by less than 2 %.
    """

    def __init__(self, bounds: MemoryBounds) -> None:
        """Take what the process has now as its need when idle."""
        self._bounds = bounds
        self._baseline = used_bytes()
        self._hard = self._baseline + bounds.budget_bytes
        self.release()

    def grant(self, grant_bytes: int) -> int:
        """Let a job take so much, 0 for the default; return what it got.

        Beside what is used when idle, and what the heap cannot give back because something small lies above it.
        """
        granted = min(grant_bytes or self._bounds.grant_bytes, self._bounds.budget_bytes)
        stuck = max(self._baseline, used_bytes() - KEPT_BYTES)
        resource.setrlimit(resource.RLIMIT_AS, (min(stuck + granted, self._hard), self._hard))
        return granted

    def release(self) -> None:
        """Between jobs nothing may fail for memory, least of all the answer to the daemon."""
        resource.setrlimit(resource.RLIMIT_AS, (self._hard, self._hard))


def bound_cpu(timeout_s: float) -> None:
    """Bound the CPU time of the next job; SIGXCPU ends the process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    used_s = usage.ru_utime + usage.ru_stime
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    soft = int(used_s + timeout_s * _CPU_FACTOR) + _CPU_SPARE_S
    resource.setrlimit(
        resource.RLIMIT_CPU, (soft if hard == resource.RLIM_INFINITY else min(soft, hard), hard)
    )


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (bound, bound))
