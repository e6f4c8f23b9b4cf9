"""Where a file stands in the daemon's memory, as plain values for an answer. Loop thread only."""

import os
import time
from itertools import zip_longest
from typing import Any, Final

from procwatch.dispatch.backlog import FINISHING, Backlog
from procwatch.dispatch.inbox_runtime import InboxRuntime
from procwatch.dispatch.job import Job
from procwatch.dispatch.registry import Registry
from procwatch.intake.settle import Cause, Settling
from procwatch.model import State
from procwatch.pool.ports import WorkerPool

_PAUSES: Final = {
    "asked": "asked for",
    "room": "too little room on its disks",
    "silent": "its file system does not answer",
}


def of(
    runtime: InboxRuntime, path: str, *, registry: Registry, backlog: Backlog, pool: WorkerPool, now_s: float
) -> dict[str, Any]:
    """Return phase and figures; phase None: the daemon has nothing of the path in its hands."""
    paused = pause_reason(runtime, backlog)
    job = registry.at(runtime.spec.name, path)
    if job is not None:
        return _job(job, registry, backlog, pool, now_s) | ({"paused": paused} if paused else {})
    settling = runtime.arrivals.settling.get(path)
    if settling is not None:
        return _settling(settling, runtime, now_s)
    aside = registry.aside(runtime.spec.name, path)
    if aside is not None:
        due_s = runtime.arrivals.due_s(path)
        again_s = 0.0 if due_s is None else round(max(due_s - now_s, 0.0), 3)
        return {"phase": "aside", "attempt": aside[0].attempt, "why": aside[1], "again_in_s": again_s}
    return {
        "phase": None,
        "paused": paused,
        "waiting": backlog.count(runtime.spec.name),
        "watched": runtime.watch.is_watched,
    }


def pause_reason(runtime: InboxRuntime, backlog: Backlog) -> str | None:
    """Return why no job of the inbox starts, None when they may."""
    reasons = backlog.why_paused(runtime.spec.name)
    shown = [_PAUSES.get(why, why) for why in sorted(reasons) if why not in ("trouble", FINISHING)]
    if "trouble" in reasons:
        shown.append(runtime.trouble or "the output side has trouble")
    return " and ".join(shown) or None


def _job(job: Job, registry: Registry, backlog: Backlog, pool: WorkerPool, now_s: float) -> dict[str, Any]:
    ready = _lying_ready(job.inbox, registry, pool, now_s)
    if job.id in ready:
        return {"phase": "queued", "ahead": ready.index(job.id), "suspect": False}
    if job.state is State.QUEUED:
        position = backlog.position(job.id)
        ahead = position if position is None else position + len(ready)
        return {"phase": "queued", "ahead": ahead, "suspect": bool(job.suspicion)}
    if job.state is State.RUNNING:
        return {"phase": "running", "attempt": job.attempt} | _slot_of(job, pool, now_s)
    if job.state is State.PUBLISHING:
        return {"phase": "publishing"}
    if job.state is State.FAILED:
        return {"phase": "failing", "error": job.error}
    return {"phase": "disposing", "removable_in_s": round(max(job.removable_after_s - now_s, 0.0), 3)}


def _lying_ready(inbox: str, registry: Registry, pool: WorkerPool, now_s: float) -> list[str]:
    """Return the jobs of an inbox that workers have but are not at work on, the next one first."""
    rows = zip_longest(*(view.ready for view in pool.view(now_s)))
    found = (registry.get(job) for row in rows for job in row if job is not None)
    return [job.id for job in found if job is not None and job.inbox == inbox]


def _slot_of(job: Job, pool: WorkerPool, now_s: float) -> dict[str, Any]:
    for slot in pool.view(now_s):
        if slot.job == job.id:
            return {"worker_pid": slot.worker_pid, "busy_s": round(slot.busy_s, 3)}
    return {"worker_pid": None}


def _settling(settling: Settling, runtime: InboxRuntime, now_s: float) -> dict[str, Any]:
    spec, look = runtime.spec, settling.look
    never_closed = settling.cause is Cause.CREATED and look.open_writer is not False
    unreadable = look.kind == "unreadable"
    rest_s = max(now_s - settling.unchanged_since_s, 0.0)
    mtime_ns = look.fingerprint.mtime_ns if look.fingerprint else 0
    changed_ns = max(look.ctime_ns, mtime_ns)
    age_s = (time.time_ns() - changed_ns) / 1e9
    if not never_closed and not unreadable and changed_ns:
        rest_s = max(rest_s, age_s)  # as settle.decide() counts it
    return {
        "phase": "settling",
        "never_closed": never_closed,
        "open_writer": bool(look.open_writer),
        "unreadable": unreadable,
        "problem": _problem(settling),
        "rest_s": round(rest_s, 3),
        "needed_s": spec.incomplete_after_s if never_closed or unreadable else spec.settle_s,
        "changed_at": changed_ns / 1e9 if changed_ns else None,
        "seen_at": time.time() - (now_s - settling.first_seen_s),
    }


def _problem(settling: Settling) -> str | None:
    return os.strerror(settling.look.errno) if settling.look.kind == "error" else None
