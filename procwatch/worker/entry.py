"""Entry points of a worker process; they never raise and they return only plain values.

An exception that cannot be unpickled breaks a ProcessPoolExecutor in the *parent*, on every version of CPython,
so everything is caught here and becomes a RenderFailed. The daemon imports this module too, to name the functions:
what decodes is imported inside them.
"""

import contextlib
import functools
import os
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Final

from procwatch.answering import after_answer
from procwatch.claim import PRESSURE, Claim
from procwatch.model import RenderFailed, RenderResult, RenderTask
from procwatch.threadname import set_thread_name
from procwatch.worker import sandbox

if TYPE_CHECKING:
    from procwatch.worker.limits import MemoryBounds, MemoryLimit

#: What the forkserver imports once, so that every worker is born with it.
PRELOAD: Final = (
    "procwatch.worker.task",
    "procwatch.worker.limits",
    "procwatch.worker.canary",
    "procwatch.worker.sandbox",
    "cykooz_resizer",
)
#: A digest that nobody waits for begins so much after the answer, unless the next call comes: as long as the daemon takes
#: to publish. On two CPUs its threads were woken where the worker was hashing, and waited: a photo of 18 megapixels that was
#: written in place was there 0.52 ms of 25.5 later. With 1 ms 0.25 of it stayed, with 4 it was the same as with 2.
_DIGEST_AFTER_S: Final = 0.003
_claim: Claim | None = None
_slot = 0
_memory: "MemoryLimit | None" = None
_notes: dict[str, str] = {}
_daemon: Connection | None = None  # kept open: closing our end would disarm the death signal


def start(  # noqa: PLR0917 (an executor's initargs are positional)
    claim: Claim,
    daemon: Connection,
    slot: int,
    recipes: Sequence[Any],
    plan: sandbox.Plan = sandbox.OFF,
    bounds: "MemoryBounds | None" = None,
) -> None:
    """Initialise the process (the executor's initializer). Must not raise: that would break the pool unexplained."""
    global _claim, _daemon, _memory, _slot  # noqa: PLW0603 (a process has one of each)
    _claim, _daemon, _slot = claim, daemon, slot
    try:
        from procwatch.worker import limits

        limits.ignore_terminal_signals()
        limits.die_with(daemon)  # before anything that could hang
        limits.leave_the_family()
        limits.apply_rlimits()
        limits.make_files_as_asked()
        set_thread_name("procwatch-work")
        _statm()
        from procwatch.imaging.memory import prefer_huge_pages
        from procwatch.imaging.render import warm_up

        _notes.update(warm_up(recipes))
        _memory = limits.MemoryLimit(bounds) if bounds is not None else None
        prefer_huge_pages()
        _notes.update(sandbox.lock_up(plan, slot))  # last: nothing can be opened any more
    except BaseException as error:  # noqa: BLE001 (see the docstring)
        _notes["error"] = f"{type(error).__name__}: {error}"


def hello() -> tuple[int, dict[str, str]]:
    """Return (pid, notes) once the worker is ready: the handshake by which a slot learns who works for it.

    A note "error" says that the process cannot be used; the slot ends it.
    """
    return os.getpid(), dict(_notes)


def canary() -> str:
    """Render the built-in canary image. Return an empty text, or why it failed."""
    try:
        from procwatch.worker.canary import render

        return render()
    except BaseException as error:  # noqa: BLE001 (see the module's docstring)
        return f"{type(error).__name__}: {error}"[:500]


def run(sequence: int, task: RenderTask) -> tuple[RenderResult, int]:
    """Render one task. Return what became of it and the resident memory in bytes afterwards."""
    assert _claim is not None
    if not _claim.begin(sequence):
        return RenderFailed(code="revoked", reason="the daemon has given it to another worker"), 0
    result: RenderResult
    try:
        from procwatch.worker.limits import bound_cpu
        from procwatch.worker.task import render

        bound_cpu(task.limits.timeout_s)
        admit = _admission(task)
        stale = sandbox.stale(task.root, task.staging_root, _slot)
        later = functools.partial(_digest_later, sequence)
        result = (
            RenderFailed(code="sandbox-stale", reason=stale) if stale else render(task, _slot, admit, later)
        )
    except MemoryError:
        result = RenderFailed(
            code="out-of-memory", reason="the picture needs more memory than a worker may use"
        )
    except BaseException as error:  # noqa: BLE001 (see the module's docstring)
        result = RenderFailed(code="internal-error", reason=f"{type(error).__name__}: {error}"[:500])
    if _memory is not None:
        _memory.release()
    return result, resident_bytes()


def _digest_later(sequence: int, digest: Callable[[], bytes]) -> None:
    """Leave the digest where the daemon finds it, once the answer is on its way and the daemon has published."""
    assert _claim is not None
    claim = _claim

    def work() -> None:
        claim.wait_for_next(_DIGEST_AFTER_S)
        claim.note_digest(sequence, digest())

    after_answer(work)


def _admission(task: RenderTask) -> Callable[[int], None]:
    """Bound the memory of the task; return who decides, when its need is known, whether that is enough."""
    from procwatch.worker.task import Deferred

    granted_bytes = _memory.grant(task.grant_bytes) if _memory is not None else 0

    def admit(needed_bytes: int) -> None:
        if granted_bytes:
            assert _claim is not None
            _claim[PRESSURE] = needed_bytes / granted_bytes
            if needed_bytes > granted_bytes:
                raise Deferred(needed_bytes)

    return admit


def resident_bytes() -> int:
    """Return this process's resident memory in bytes, 0 where /proc is not there."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(os.pread(_statm(), 64, 0).split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


@functools.cache
def _statm() -> int:
    """Open it before the sandbox forbids it; reading what is open stays allowed."""
    return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
