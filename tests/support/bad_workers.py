"""Decoders that misbehave inside real workers, each as a real one did.

The path of a task says what happens to it: "sigsegv/7.jpg" dies by SIGSEGV. Everything around the decoder, its
start, its limits, its claim, its net of exceptions, is procwatch's own.
"""

import ctypes
import hashlib
import os
import re
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import Any, Final, NoReturn

from procwatch.claim import STARTED, Claim
from procwatch.model import Rendered, RenderFailed, RenderResult, RenderTask
from procwatch.pool.ports import WorkerEntry
from procwatch.worker import entry, sandbox
from procwatch.worker import task as decoding
from procwatch.worker.digest import Later
from procwatch.worker.limits import MemoryBounds

_GIB: Final = 1024**3
#: The budget of a worker, and what a job gets that was granted nothing in particular.
BOUNDS: Final = MemoryBounds(budget_bytes=_GIB, grant_bytes=_GIB // 2)
_kept: list[bytearray] = []
_mended: list[str] = []


class NeedsTwoArgumentsError(Exception):
    """Cannot be unpickled: multiprocessing calls the class with the one argument of `args` (CPython gh-76999)."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")


def well(job: RenderTask) -> RenderResult:
    """Do what a good decoder does; a line in the file `ran` says that it was done, and by whom."""
    descriptor = os.open(os.path.join(job.root, "ran"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, f"{job.job} {os.getpid()}\n".encode())
    os.close(descriptor)
    return Rendered(renditions=(), width=1, height=1, format="JPEG", frames=1)


def sigkill(job: RenderTask) -> NoReturn:
    """The kernel's OOM killer, or an operator."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def sigsegv(job: RenderTask) -> NoReturn:
    """A decoder that follows a wild pointer: libwebp, CVE-2023-4863."""
    sigsegv_now()


def abort(job: RenderTask) -> NoReturn:
    """A Rust or C++ library out of memory, and glibc on heap corruption."""
    os.abort()


def exit_3(job: RenderTask) -> NoReturn:
    """A library that calls exit(): old libjpeg without an error handler."""
    os._exit(3)


def exit_255(job: RenderTask) -> NoReturn:
    """The exit code that multiprocessing also reports when it knows nothing."""
    os._exit(255)


def raise_odd(job: RenderTask) -> NoReturn:
    """An exception that breaks the pool in the parent: requests, botocore and PIL plug-ins had such classes."""
    raise NeedsTwoArgumentsError("odd", "cannot be unpickled")


def leave(job: RenderTask) -> NoReturn:
    """sys.exit() in a plug-in."""
    raise SystemExit(3)


def hang_in_c(job: RenderTask) -> NoReturn:
    """Backtracking that holds the GIL for years: no Python code in this process runs any more, on any thread."""
    re.match(r"(x+x+)+y", "x" * 64)
    raise AssertionError


def allocate(job: RenderTask) -> RenderResult:
    """A header that promises more than there is (x1,370 for a PNG)."""
    bytearray(4 * _GIB)
    return RenderFailed(code="internal-error", reason="4 GiB were given to a worker")


def leak(job: RenderTask) -> RenderResult:
    """A codec that keeps 24 MiB a picture."""
    _kept.append(bytearray(b"x") * (24 * 1024**2))
    return well(job)


def slow(job: RenderTask) -> RenderResult:
    """A picture that takes 0.3 s."""
    time.sleep(0.3)
    return well(job)


INCIDENTS: Final[dict[str, Callable[[RenderTask], RenderResult]]] = {
    function.__name__: function
    for function in (
        well, sigkill, sigsegv, abort, exit_3, exit_255, raise_odd, leave, hang_in_c, allocate, leak, slow,
    )
}  # fmt: skip


#: What the header of such a picture announces.
NEEDS_BYTES: Final = {"abort_near_the_limit": _GIB * 3 // 8, "needs_768_mib": _GIB * 3 // 4}
INCIDENTS.update(abort_near_the_limit=abort, needs_768_mib=well)


def misbehave(
    task: RenderTask,
    slot: int,
    admit: Callable[[int], None] = lambda needed_bytes: None,
    later: Later | None = None,
) -> RenderResult:
    kind = task.path.partition("/")[0]
    if kind == "hashed" and later is not None:
        later(lambda: hashlib.sha256(task.job.encode()).digest())
        return well(task)
    try:
        if kind in NEEDS_BYTES:
            admit(NEEDS_BYTES[kind])
    except decoding.Deferred as deferred:
        return RenderFailed(code="deferred", reason=str(deferred.needed_bytes))
    return INCIDENTS[kind](task)


def start(claim: Claim, daemon: Connection, slot: int, *arguments: Any) -> None:
    """Start a worker as procwatch does and put the misbehaving decoder into it."""
    entry.start(claim, daemon, slot, *arguments)
    decoding.render = misbehave


def start_raises(claim: Claim, daemon: Connection, slot: int, *arguments: Any) -> None:
    """An initializer that raises, as on a broken installation; later starts go well once a file is there."""
    mended: str = arguments[-1]
    if not os.path.exists(mended):
        raise ImportError("libfoo.so.1: cannot open shared object file")
    start(claim, daemon, slot, *arguments[:-1])


def start_unmended(claim: Claim, daemon: Connection, slot: int, *arguments: Any) -> None:
    """A start that goes well on an installation on which nothing else does until a file is there."""
    _mended.append(arguments[-1])
    start(claim, daemon, slot, *arguments[:-1])


def start_notes_error(claim: Claim, daemon: Connection, slot: int, *arguments: Any) -> None:
    """A start that procwatch's own net caught."""
    start(claim, daemon, slot, *arguments)
    entry._notes["error"] = "ImportError: libfoo.so.1: cannot open shared object file"


def start_hangs(claim: Claim, daemon: Connection, slot: int, *arguments: Any) -> None:
    """An import from a dead network file system."""
    time.sleep(3600)


def run_without_net(sequence: int, job: RenderTask) -> tuple[RenderResult, int]:
    """A worker function without procwatch's net: what it raises goes through the executor itself."""
    assert entry._claim is not None
    entry._claim[STARTED] = sequence
    return misbehave(job, 0), 0


def run_returns_odd(sequence: int, job: RenderTask) -> Any:
    """A result that cannot be unpickled in the daemon."""
    assert entry._claim is not None
    entry._claim[STARTED] = sequence
    return NeedsTwoArgumentsError("odd", "result")


def run_odd_without_net(sequence: int, job: RenderTask) -> tuple[RenderResult, int]:
    """procwatch's own worker function, but what `raise_odd` raises breaks the executor."""
    return (run_without_net if job.path.startswith("raise_odd/") else entry.run)(sequence, job)


def canary_dies_until_mended() -> str:
    """A library that crashes on every picture, until somebody installs the right one."""
    if not os.path.exists(_mended[0]):
        with open(f"{_mended[0]}.canaries", "a", encoding="ascii") as file:
            file.write("canary\n")
        sigsegv_now()
    return entry.canary()


def sigsegv_now() -> NoReturn:
    ctypes.string_at(0)
    raise AssertionError


def canary_says_no() -> str:
    return "OSError: decoder jpeg not available"


def worker_entry(
    start: Callable[..., None] = start,
    run: Callable[..., Any] = entry.run,
    arguments: Sequence[Any] = (),
    canary: Callable[[], str] = entry.canary,
) -> WorkerEntry:
    """Return the entry whose decoder is `misbehave`."""
    return WorkerEntry(
        start=start,
        hello=entry.hello,
        run=run,
        canary=canary,
        start_args=((), sandbox.OFF, BOUNDS, *arguments),
        preload=entry.PRELOAD,
    )
