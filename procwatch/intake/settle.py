"""Decide when a file is settled, that is: when nobody is writing it any more, so that it may be read.

Pure: `now_s` is monotonic seconds, `now_ns` wall-clock nanoseconds to compare with times of files.

Not defended: a writer that stalls for longer than the waits below, be it between two opens (`settle`) or with the file
open (`incomplete_after`); where the kernel does not tell of open writers (network file systems, files of others
without CAP_LEASE), one that began before we looked, or opened again a file that was whole, and pauses for longer than
`settle`; a hole that nobody filled; a file server whose clock is behind ours by more than `settle` while a scan is the
only source (its files look older than they are).
"""

import enum
import os
from dataclasses import dataclass
from typing import Final

from procwatch.intake.look import Look
from procwatch.units import format_duration

#: Two floats that should be equal may differ by this much, in seconds; without it a wait could end in another one.
_EPSILON_S: Final = 1e-6


class Cause(enum.StrEnum):
    """What made us look at a path."""

    CLOSED = "closed"  # a writer closed it
    RENAMED = "renamed"  # it was renamed into place
    CREATED = "created"  # it appeared: a writer may have it open
    SCAN = "scan"  # it was there


@dataclass(frozen=True, kw_only=True, slots=True)
class Settling:
    """What is known of a path on its way to being settled.

    `unchanged_since_s`: monotonic time of the first look that saw the file as it is now. `cause`: the strongest that
    is still true of its present content.
    """

    path: str
    cause: Cause
    first_seen_s: float
    look: Look
    unchanged_since_s: float
    reopened: bool = False  # written again after it was closed or renamed into place: a close has yet to come


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """The file may be read. `how` is one of renamed, complete, closed, found, still, unreadable.

    `removable_after_s` is the monotonic time from which the original may be removed, if its ctime is then the same.
    """

    how: str
    removable_after_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    """Look again at monotonic `again_at_s`; `why` is a short sentence for people."""

    again_at_s: float
    why: str


def merge_causes(earlier: Cause | None, later: Cause | None) -> Cause | None:
    """Return what counts when two hints about a path come before one look.

    The later event does, but a scan (or the watcher listing a folder that was moved) is no event: it says nothing
    that would outweigh a close.
    """
    return earlier if later is None or (later is Cause.SCAN and earlier is not None) else later


def observe(previous: Settling | None, path: str, cause: Cause | None, look: Look, now_s: float) -> Settling:
    """Return what is known after `look`, which was taken after the event `cause` (None: we only looked again)."""
    if previous is None:
        first = cause or Cause.SCAN
        return Settling(
            path=path,
            cause=first,
            first_seen_s=now_s,
            look=look,
            unchanged_since_s=now_s,
        )
    changed = _state(look) != _state(previous.look)
    now_cause = _next_cause(previous, cause, written=changed and _was_written(previous.look, look))
    return Settling(
        path=path,
        cause=now_cause,
        first_seen_s=previous.first_seen_s,
        look=look,
        unchanged_since_s=now_s if changed else previous.unchanged_since_s,
        reopened=now_cause is Cause.CREATED
        and (previous.reopened or previous.cause in {Cause.CLOSED, Cause.RENAMED}),
    )


def decide(
    settling: Settling, *, settle_s: float, incomplete_after_s: float, now_s: float, now_ns: int
) -> Ready | Wait:
    """Return whether the file may be read now, or when to look again.

    Raises ValueError for what is neither a file nor refuses to be looked at.
    """
    look = settling.look
    if look.kind != "file":
        return _decide_unseen(settling, settle_s, incomplete_after_s, now_s)
    rest_s = now_s - settling.unchanged_since_s
    if settling.cause is not Cause.CREATED:
        # The file's own times count too, so that a file that was found late does not wait from then.
        rest_s = max(rest_s, age_s(look, now_ns))
    if look.open_writer:
        return _decide_open(rest_s, settle_s, incomplete_after_s, now_s)
    if settling.cause is Cause.RENAMED:
        return Ready(how="renamed", removable_after_s=now_s)
    if settling.cause is Cause.CREATED:
        return _decide_created(settling, settle_s, incomplete_after_s, now_s)
    if settling.cause is Cause.CLOSED and look.complete and rest_s < settle_s:
        return Ready(how="complete", removable_after_s=now_s + settle_s - rest_s)
    how = "closed" if settling.cause is Cause.CLOSED else "found"
    return _after_rest(how, rest_s, settle_s, now_s, "settling")


def _after_rest(how: str, rest_s: float, needed_s: float, now_s: float, why: str) -> Ready | Wait:
    if rest_s >= needed_s - _EPSILON_S:
        return Ready(how=how, removable_after_s=now_s)
    shown = f"{format_duration(max(rest_s, 0.0))} of {format_duration(needed_s)}"
    return Wait(again_at_s=now_s + needed_s - max(rest_s, 0.0), why=f"{why} {shown}")


def _decide_open(rest_s: float, settle_s: float, incomplete_after_s: float, now_s: float) -> Ready | Wait:
    """The kernel says that somebody has it open for writing, whatever we saw happen: opened again, or by two.

    Asked again often, since there need not be an event when it is closed (polling; one that was lost).
    """
    why = "open for writing; unchanged for"
    return _ask_often(_after_rest("still", rest_s, incomplete_after_s, now_s, why), settle_s, now_s)


def _decide_created(
    settling: Settling, settle_s: float, incomplete_after_s: float, now_s: float
) -> Ready | Wait:
    """Seen to appear, not seen to be closed: a slow writer, a hard link, or a folder that was filled too fast.

    Only the kernel can tell them apart, where it does (Look.open_writer); otherwise time has to.
    """
    rest_s = now_s - settling.unchanged_since_s
    if settling.look.open_writer is False:
        return _after_rest("still", rest_s, settle_s, now_s, "settling")
    whole = settling.look.complete and not settling.reopened
    if settling.look.open_writer is None and whole and rest_s >= settle_s - _EPSILON_S:
        # Whole by its trailer and at rest: decoding will tell if that deceives. It is not removed before the long
        # wait is over, in case somebody does have it open.
        return Ready(how="complete", removable_after_s=now_s + incomplete_after_s - rest_s)
    why = "never closed by its writer; unchanged for"
    verdict = _after_rest("still", rest_s, incomplete_after_s, now_s, why)
    if isinstance(verdict, Ready) or rest_s >= settle_s - _EPSILON_S:
        return verdict
    return Wait(again_at_s=min(verdict.again_at_s, now_s + settle_s - rest_s), why=verdict.why)


def _decide_unseen(
    settling: Settling, settle_s: float, incomplete_after_s: float, now_s: float
) -> Ready | Wait:
    """Many tools set the mode last, which no event tells us: ask again often, and give up in the end."""
    look = settling.look
    if look.kind == "error":
        return Wait(again_at_s=now_s + settle_s, why=f"cannot be looked at: {os.strerror(look.errno)}")
    if look.kind != "unreadable":
        raise ValueError(f"a {look.kind} does not settle")
    rest_s = now_s - settling.unchanged_since_s
    why = "not readable for us; unchanged for"
    return _ask_often(_after_rest("unreadable", rest_s, incomplete_after_s, now_s, why), settle_s, now_s)


def _ask_often(verdict: Ready | Wait, settle_s: float, now_s: float) -> Ready | Wait:
    """Return the verdict with the next look after `settle` at the latest: no event will tell us."""
    if isinstance(verdict, Ready):
        return verdict
    return Wait(again_at_s=min(verdict.again_at_s, now_s + settle_s), why=verdict.why)


def _next_cause(previous: Settling, cause: Cause | None, *, written: bool) -> Cause:
    if cause in {Cause.CLOSED, Cause.RENAMED}:
        return Cause(cause)
    if previous.cause is Cause.SCAN:
        # A scan may be faster than the event of a file that has just appeared.
        return Cause.CREATED if cause is Cause.CREATED else Cause.SCAN
    # Written after a close or a rename: somebody has it open again, and that close has yet to come.
    return Cause.CREATED if written else previous.cause


def _state(look: Look) -> tuple[object, ...]:
    return (look.kind, look.fingerprint, look.ctime_ns)


def _was_written(before: Look, after: Look) -> bool:
    """Return whether the content may have changed, rather than only the mode or the times.

    Copying tools set times by name after they closed the file; that must not count as an open writer. A write makes
    mtime lie between the last known ctime and the present one; utime(2) almost always puts it elsewhere.
    """
    old, new = before.fingerprint, after.fingerprint
    if old is None or new is None:
        return old is not new
    if (old.device, old.inode, old.size) != (new.device, new.inode, new.size):
        return True
    return old.mtime_ns != new.mtime_ns and before.ctime_ns <= new.mtime_ns <= after.ctime_ns


def age_s(look: Look, now_ns: int) -> float:
    """Return the seconds since the file's last change by its own times.

    A time in the future is somebody's wrong clock: a future mtime is left out, a future ctime makes the age negative,
    and what we have observed ourselves decides.
    """
    times = [look.ctime_ns]
    if look.fingerprint is not None and look.fingerprint.mtime_ns <= now_ns:
        times.append(look.fingerprint.mtime_ns)
    return (now_ns - max(times)) / 1e9
