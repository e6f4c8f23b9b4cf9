"""Why a file is not done yet, or how it ended, in one sentence: pure, from what the daemon, ledger and folder say."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from procwatch.dispatch.ledger_queries import Record
from procwatch.intake.filters import NOT_INCLUDED
from procwatch.intake.look import Look
from procwatch.model import Original, State
from procwatch.observe.console import safe_text
from procwatch.units import format_duration

_KINDS: Final = {
    "symlink": "a symbolic link",
    "fifo": "a named pipe",
    "socket": "a socket",
    "device": "a device",
    "directory": "a folder",
}
_OPEN: Final = (State.QUEUED, State.RUNNING, State.PUBLISHING)


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What can be seen of a path without the daemon.

    `outputs` are the names that `record` published; `gone` has those of them, and the place its original was moved to,
    under which nothing is any more.
    """

    look: Look
    rule: str | None = None  # the name filter that ignores it
    recursive: bool = True
    in_subfolder: bool = False
    record: Record | None = None
    outputs: tuple[str, ...] = ()
    gone: frozenset[str] = frozenset()


def explain(standing: Mapping[str, Any] | None, seen: Seen) -> str:
    """Return the sentence. `standing` is the daemon's word, None where none runs; see commands.standing()."""
    phase = standing.get("phase") if standing is not None else None
    if standing is not None and phase in _IN_WORK:
        return _IN_WORK[phase](standing)
    record = seen.record
    if record is not None and _answers(record, seen.look):
        return _ended(record, seen)
    if seen.look.kind == "missing":
        return _missing(record)
    return _ignored(seen) or _unnoticed(standing, record)


def clock(epoch_s: float | None) -> str:
    """Return local date and time as people write them."""
    if epoch_s is None:
        return "an unknown time"
    return datetime.fromtimestamp(epoch_s).astimezone().strftime("%Y-%m-%d %H:%M:%S")


# -- in the daemon's hands ------------------------------------------------------------------------


def _settling(standing: Mapping[str, Any]) -> str:
    rest_s, needed_s = standing["rest_s"], standing["needed_s"]
    shown = f"{format_duration(rest_s)} of {format_duration(needed_s)}"
    changed = f"last change at {clock(standing.get('changed_at'))}"
    if standing.get("problem"):
        return f"waiting, for it cannot be looked at: {safe_text(standing['problem'])}"
    if standing.get("unreadable"):
        return (
            f"not readable for procwatch; waiting for its mode to be set: unchanged for {shown} ({changed})"
        )
    if standing.get("never_closed"):
        writer = (
            "a program has it open for writing"
            if standing.get("open_writer")
            else "its writer may still be there"
        )
        return f"never closed since {clock(standing.get('seen_at'))}, {writer}; unchanged for {shown} ({changed})"
    return f"settling {shown} ({changed})"


def _queued(standing: Mapping[str, Any]) -> str:
    paused = standing.get("paused")
    if paused:
        return f"waiting, for the inbox is paused: {safe_text(paused)}"
    alone = ", to run alone since the daemon died while it ran" if standing.get("suspect") else ""
    ahead = standing.get("ahead") or 0
    if not ahead:
        return f"waiting as the next of its inbox{alone}"
    return f"waiting behind {ahead} of its inbox{alone}"


def _running(standing: Mapping[str, Any]) -> str:
    attempt = standing.get("attempt", 1)
    nth = f" (attempt {attempt})" if attempt > 1 else ""
    if standing.get("worker_pid") is None:
        paused = (
            f", but the inbox is paused: {safe_text(standing['paused'])}" if standing.get("paused") else ""
        )
        return f"about to run{nth}{paused}"
    return f"running in pid {standing['worker_pid']} for {format_duration(standing['busy_s'])}{nth}"


def _aside(standing: Mapping[str, Any]) -> str:
    why = safe_text(standing.get("why") or "it was not ready")
    again = standing.get("again_in_s") or 0.0
    when = f" in {format_duration(again)}" if again > 0 else " now"
    return f"waiting after attempt {standing['attempt']}: {why}; it is looked at again{when}"


def _finishing(standing: Mapping[str, Any]) -> str:
    paused = (
        f"; it waits, for the inbox is paused: {safe_text(standing['paused'])}"
        if standing.get("paused")
        else ""
    )
    if standing["phase"] == "publishing":
        return f"rendered; its outputs are being published{paused}"
    if standing["phase"] == "failing":
        return f"failed because {safe_text(standing.get('error') or 'of an error')}; it is being moved to the failed folder{paused}"
    again = standing.get("removable_in_s", 0.0)
    when = f" in {format_duration(again)}" if again > 0 else ""
    return f"done; its original leaves the inbox{when}{paused}"


_IN_WORK: Final[dict[str, Callable[[Mapping[str, Any]], str]]] = {
    "settling": _settling,
    "queued": _queued,
    "running": _running,
    "aside": _aside,
    "publishing": _finishing,
    "failing": _finishing,
    "disposing": _finishing,
}


# -- from the ledger and the folder ---------------------------------------------------------------


def _ignored(seen: Seen) -> str | None:
    if seen.rule == NOT_INCLUDED:
        return "ignored, since no pattern of include matches its name"
    if seen.rule is not None:
        return f'ignored by rule "{safe_text(seen.rule)}"'
    if seen.look.kind in _KINDS:
        return f"ignored: it is {_KINDS[seen.look.kind]}, not a picture file"
    if seen.in_subfolder and not seen.recursive:
        return "ignored: it lies in a folder of an inbox that is not recursive"
    return None


def _answers(record: Record, look: Look) -> bool:
    """Whether the job tells how this very file ended: the file left the inbox, or lies there as it was."""
    known = record.known
    if known.state not in (State.DONE, State.FAILED):
        return False
    fingerprint = look.fingerprint
    if look.kind == "missing":
        return True
    if fingerprint is None:
        return known.original in (Original.STUCK, Original.BLOCKED)
    same = (fingerprint.size, fingerprint.mtime_ns) == (known.identity.size, known.identity.mtime_ns)
    return same and known.original in (Original.KEPT, Original.STUCK, Original.BLOCKED, Original.INBOX)


def _ended(record: Record, seen: Seen) -> str:
    known = record.known
    why = f"{known.error}: {safe_text(known.reason or '')}"
    when = clock(record.ended_at)
    if known.original is Original.BLOCKED:
        return f"blocked: it cannot be read or moved because {why} (at {when})"
    if known.state is State.FAILED:
        where = f"; it {_moved(record.moved_to, seen)}" if record.moved_to else ""
        return f"failed because {why} (at {when}){where}"
    names = ", ".join(map(safe_text, seen.outputs)) or "nothing"
    return f"done at {when} as {names}{_gone(seen)}{_where(record, seen)}"


def _gone(seen: Seen) -> str:
    gone = [safe_text(name) for name in seen.outputs if name in seen.gone]
    if not gone:
        return ""
    what = "which" if len(gone) == len(seen.outputs) else ", ".join(gone)
    return f" ({what} {'is' if len(gone) == 1 else 'are'} not there any more)"


def _moved(place: str, seen: Seen) -> str:
    shown = safe_text(place)
    return f"was moved to {shown}, where it is no more" if place in seen.gone else f"is {shown}"


def _where(record: Record, seen: Seen) -> str:
    original = record.known.original
    if original is Original.ARCHIVED:
        return f"; its original {_moved(record.moved_to, seen) if record.moved_to else 'is in the archive'}"
    return {
        Original.KEPT: "; its original stays in the inbox, as on_success says",
        Original.DELETED: "; its original was deleted, as on_success says",
        Original.STUCK: "; its original stays, for procwatch may not remove it",
        Original.INBOX: "; its original still has to leave the inbox",
    }.get(original, "")


def _missing(record: Record | None) -> str:
    if record is not None and record.known.state is State.VANISHED:
        return "vanished: somebody removed it before it was done"
    if record is not None:
        return f"not in the inbox any more, though its job is {record.known.state}"
    return "not in the inbox, and procwatch has never seen it there"


def _unnoticed(standing: Mapping[str, Any] | None, record: Record | None) -> str:
    if standing is None:
        again = ""
        if record is not None and record.known.state in _OPEN:
            again = f", to go on after attempt {record.known.attempts}"
        return f"waiting for procwatch, which is not running{again}"
    if standing.get("paused"):
        return f"waiting, for the inbox is paused: {safe_text(standing['paused'])}"
    if standing.get("phase") == "unserved":
        return "waiting, for the running procwatch does not serve its inbox"
    waiting = standing.get("waiting") or 0
    behind = f" behind {waiting} that are" if waiting else ""
    if standing.get("watched"):
        return f"waiting to be found by the next scan{behind}"
    return "waiting, for the inbox cannot be watched now"
