"""What binds a worker process from its first moment: signals, its life tied to the daemon's, resource limits."""

import contextlib
import fcntl
import os
import resource
import signal
from multiprocessing.connection import Connection

#: Above the default 0, so that a machine short of memory takes a worker and never the daemon (proc(5)).
_OOM_SCORE_ADJ = "500"
#: A decoder needs its input, its outputs and a few pipes; anything near this number is a leak or an attack.
_MAX_OPEN_FILES = 128
#: An output larger than this is a mistake; the write fails with EFBIG.
_MAX_OUTPUT_BYTES = 4 * 1024**3


def ignore_terminal_signals() -> None:
    """Leave Ctrl-C to the daemon: it decides whether a running job may finish. SIGTERM stays deadly."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
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


def apply_rlimits() -> None:
    """Bound what a decoder gone wild can take: core dumps, descriptors, size of a written file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_NOFILE, _MAX_OPEN_FILES)
    _lower(resource.RLIMIT_FSIZE, _MAX_OUTPUT_BYTES)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # then write() says EFBIG, an ordinary failure of one file
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write(_OOM_SCORE_ADJ)


def _lower(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (bound, bound))
