"""Named points at which a test may stop the program dead or make one effect fail.

`PROCWATCH_FAULT=fs.rename:3` kills the process with SIGKILL right before the third rename;
`PROCWATCH_FAULT=fs.fsync_file:1:ENOSPC` raises that OSError instead. Several are separated by commas.
Passes are counted for each process; without the variable a point costs two dictionary look-ups.
"""

import errno
import os
import signal
import threading
from dataclasses import dataclass, field
from typing import Final

VARIABLE: Final = "PROCWATCH_FAULT"

#: Every point and what is about to happen there. A name that is not here raises, so a typo cannot hide.
POINTS: Final[dict[str, str]] = {
    "fs.mkdir": "a folder is made",
    "fs.rename": "a file gets a new name that must be free",
    "fs.replace": "a file takes the place of another",
    "fs.copy": "a file is copied to another file system, before its first byte",
    "fs.write": "a small file is written, before its first byte",
    "fs.fsync_file": "the data of a file is made durable",
    "fs.fsync_dir": "the names in a folder are made durable",
    "fs.unlink": "a file is removed",
    "fs.rmdir": "an empty folder is removed",
    "fs.set_mode": "the mode of a file or folder is set",
    "fs.remove_tree": "a folder is removed with all that is in it",
    "ledger.started": "an attempt is recorded as started",
    "ledger.publishing": "the intent to publish is committed",
    "ledger.sync": "commits of the ledger are made durable",
    "ledger.done": "a job is committed as done",
    "ledger.failed": "a job is committed as failed",
    "ledger.logged": "the terminal log line is recorded as written",
    "ledger.disposed": "the fate of an original is recorded",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """One thing to go wrong: at pass `nth` (from 1) of `point`; SIGKILL when `number` is 0, else that errno."""

    point: str
    nth: int
    number: int = 0


@dataclass(slots=True)
class _Plan:
    faults: tuple[Fault, ...]
    passes: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)  # I/O threads pass points at the same time


_plan: dict[str, _Plan] = {}  # empty until the first pass: the environment is not read at import


def parse(text: str) -> tuple[Fault, ...]:
    """Return the faults that `text` asks for; ValueError says what is wrong with it."""
    return tuple(_parse_one(part.strip()) for part in text.split(",") if part.strip())


def _parse_one(text: str) -> Fault:
    point_name, _, rest = text.partition(":")
    count, _, name = rest.partition(":")
    if point_name not in POINTS:
        raise ValueError(f"{VARIABLE}: no point is named {point_name!r}; there are {', '.join(POINTS)}")
    if not (count.isascii() and count.isdigit() and int(count) > 0):
        raise ValueError(f"{VARIABLE}: {text!r} needs a count from 1 after the point, as {point_name}:1")
    number = getattr(errno, name, None) if name else 0
    if not isinstance(number, int):
        raise ValueError(f"{VARIABLE}: {name!r} is not the name of an errno")  # noqa: TRY004
    return Fault(point=point_name, nth=int(count), number=number)


def arm(text: str | None) -> None:
    """Set the faults of this process and count from zero; None reads the environment again at the next pass."""
    if text is None:
        _plan.clear()
    else:
        _plan["now"] = _Plan(parse(text))


def passes() -> dict[str, int]:
    """Return how often each point was passed since a fault was armed (nothing is counted while none is)."""
    plan = _plan.get("now")
    return dict(plan.passes) if plan else {}


def point(name: str) -> None:
    """Pass the point `name`: nothing happens, unless a fault was armed for this pass. KeyError on a typo."""
    POINTS[name]
    plan = _plan.get("now")
    if plan is None:
        plan = _plan.setdefault("now", _Plan(parse(os.environ.get(VARIABLE, ""))))
    if plan.faults:
        _pass(plan, name)


def _pass(plan: _Plan, name: str) -> None:
    with plan.lock:
        nth = plan.passes[name] = plan.passes.get(name, 0) + 1
    for fault in plan.faults:
        if fault.point != name or fault.nth != nth:
            continue
        if not fault.number:
            os.kill(os.getpid(), signal.SIGKILL)  # never returns
        raise OSError(fault.number, f"{os.strerror(fault.number)} (fault injected at {name})")
