"""Entry points of a worker process; they never raise and they return only plain values.

An exception that cannot be unpickled breaks a ProcessPoolExecutor in the *parent*, on every version of CPython,
so everything is caught here and becomes a RenderFailed. The daemon imports this module too, to name the functions:
what decodes is imported inside them.
"""

import contextlib
import ctypes
import os
from collections.abc import Sequence
from ctypes import Array, c_double
from multiprocessing.connection import Connection
from typing import Any, Final

from procwatch.model import RenderFailed, RenderResult, RenderTask

#: What the forkserver imports once, so that every worker is born with it.
PRELOAD: Final = (
    "procwatch.worker.task",
    "procwatch.worker.limits",
    "procwatch.worker.canary",
    "cykooz_resizer",
)
#: Indexes into the claim array that worker and daemon share: no queue, no lock, two stores a job.
CLAIM_STARTED: Final = 0
CLAIM_ENDED: Final = 1

_claim: "Array[c_double] | None" = None
_slot = 0
_notes: dict[str, str] = {}
_daemon: Connection | None = None  # kept open: closing our end would disarm the death signal


def start(claim: "Array[c_double]", daemon: Connection, slot: int, recipes: Sequence[Any]) -> None:
    """Initialise the process (the executor's initializer). Must not raise: that would break the pool unexplained."""
    global _claim, _daemon, _slot
    _claim, _daemon, _slot = claim, daemon, slot
    try:
        from procwatch.worker import limits

        limits.ignore_terminal_signals()
        limits.die_with(daemon)  # before anything that could hang
        limits.apply_rlimits()
        _set_process_name(b"procwatch-work")
        from procwatch.imaging.render import warm_up

        _notes.update(warm_up(recipes))
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
    _claim[CLAIM_STARTED] = sequence
    result: RenderResult
    try:
        from procwatch.worker.task import render

        result = render(task, _slot)
    except MemoryError:
        result = RenderFailed(
            code="out-of-memory", reason="the picture needs more memory than a worker may use"
        )
    except BaseException as error:  # noqa: BLE001 (see the module's docstring)
        result = RenderFailed(code="internal-error", reason=f"{type(error).__name__}: {error}"[:500])
    _claim[CLAIM_ENDED] = sequence
    return result, resident_bytes()


def resident_bytes() -> int:
    """Return this process's resident memory in bytes, 0 where /proc is not there."""
    with (
        contextlib.suppress(OSError, ValueError, IndexError),
        open("/proc/self/statm", encoding="ascii") as file,
    ):
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _set_process_name(name: bytes) -> None:
    """Show in ps and top what this process is (prctl(2) PR_SET_NAME, 15 bytes)."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(15, ctypes.c_char_p(name), 0, 0, 0)
