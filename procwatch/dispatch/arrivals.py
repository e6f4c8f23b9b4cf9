"""Arrivals of one inbox, on the dispatcher's thread: from a hint or a scan to "this file may be read".

Hints cost a look each, on the inbox's looking lane; whoever is not settled gets a timer. What the ledger already
answers for is left alone. A flood of hints is not kept: above the bound a scan is asked for instead.
"""

import errno
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from procwatch.dispatch.lane import Lane
from procwatch.dispatch.ledger_reader import Known, LedgerReader
from procwatch.dispatch.loop import Loop, Timer
from procwatch.dispatch.originals import file_digest
from procwatch.intake.filters import NameFilter
from procwatch.intake.look import Look, take_look
from procwatch.intake.settle import Cause, Ready, Settling, Wait, age_s, decide, merge_causes, observe
from procwatch.intake.walk import Found, named_like_image
from procwatch.model import Fingerprint, InboxSpec, Original

#: Hints waiting for the loop beyond which they are dropped in favour of a scan: bounds memory in a flood.
MAX_PENDING_HINTS: Final = 10_000
#: Odd entries remembered so that each is reported once.
_MAX_REPORTED: Final = 10_000
#: Originals brought out a moment ago that are remembered, because a look or a scan may have seen them just before.
_MAX_REMOVED: Final = 10_000
#: A file that a scan finds although events flow was missed by them only if it is older than this.
_MISSED_AFTER_NS: Final = 5_000_000_000
#: A file that was created is looked at so much later, because most are closed by then, which alone says something. With
#: a look at once, the event of the close found the lane at work: 0.2 ms of an arrival.
_LINGER_S: Final = 0.05

_Looked = tuple[str, Cause | None, Look, Known | None]


class Sink(Protocol):
    """Who takes what arrives; called on the dispatcher's thread."""

    def in_work(self, inbox: str, path: str) -> bool: ...
    def touched(self, inbox: str, path: str, cause: Cause) -> None: ...
    def ready(self, spec: InboxSpec, settling: Settling, ready: Ready, known: Known | None) -> None: ...
    def gone(self, spec: InboxSpec, path: str, known: Known | None) -> None: ...
    def odd(self, spec: InboxSpec, path: str, kind: str) -> None: ...
    def ignored(self, spec: InboxSpec, path: str, rule: str) -> None: ...


class Arrivals:
    """Settles what arrives in one inbox."""

    def __init__(
        self,
        *,
        spec: InboxSpec,
        names: NameFilter,
        loop: Loop,
        lane: Lane,
        reader: LedgerReader,
        sink: Sink,
        request_scan: Callable[[str], None],
        is_there: Callable[[], bool] = lambda: True,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._spec = spec
        self._names = names
        self._loop = loop
        self._lane = lane
        self._reader = reader
        self._reading = threading.Lock()  # the lane asks, and watchdog's threads do
        self._sink = sink
        self._request_scan = request_scan
        self._is_there = is_there
        self._wall_ns = wall_ns
        self.settling: dict[str, Settling] = {}
        self.waiting: dict[str, str] = {}  # path → why it waits, for explain
        self._timers: dict[str, Timer] = {}
        self._lingering: dict[str, Timer] = {}  # just created, not looked at yet
        self._pending: dict[str, Cause | None] = {}
        self._looking = False
        self._reported: dict[tuple[str, int, int], None] = {}
        self._removed: dict[str, tuple[Fingerprint, int]] = {}
        self._posted = 0  # hints posted by watchdog's threads
        self._handled = 0  # hints taken by the loop
        self._created = ""  # what the last hint was about, if it was a creation
        self._lock = threading.Lock()
        self._closed = False
        self.missed = 0  # files that only a scan found although events should have told

    def hint(self, path: str, cause: Cause) -> None:
        """Any thread: an event about a path. One put, or a request for a scan when too many wait."""
        with self._lock:  # several watchdog threads may tell of one inbox
            self._posted += 1
            waiting = self._posted - self._handled
            # The kernel tells of a small file's creation and of its close in one breath.
            is_alone = waiting == 1 or (waiting == 2 and self._created == path)  # noqa: PLR2004
            self._created = path if cause is Cause.CREATED else ""
        if waiting > MAX_PENDING_HINTS:
            with self._lock:
                self._posted -= 1
            self._request_scan("overflow")
            return
        look = self._look_here(path) if is_alone and cause is not Cause.CREATED else None
        self._loop.post(self._arrived, path, cause, look)

    def _look_here(self, path: str) -> Look | None:
        """Watchdog's thread, for an event that comes alone: spares the way to the lane and back, 0.25 ms of 1.7.

        Blocks with the file system as the lane would: events wait in the kernel meanwhile. What the ledger knows is
        left to the lane, which may have to read it whole.
        """
        if self._closed or self._names.ignored_by(path) is not None:
            return None
        look = self._take_look(path)
        try:
            is_new = look.kind == "file" and self._known(path) is None
        except sqlite3.Error:
            return None  # the lane meets it again, and tells
        return look if is_new else None

    def _arrived(self, path: str, cause: Cause, look: Look | None) -> None:
        self._handled += 1
        if self._closed:
            return
        rule = self._names.ignored_by(path)
        if rule is not None:
            self._sink.ignored(self._spec, path, rule)
        elif self._sink.in_work(self._spec.name, path):
            self._sink.touched(self._spec.name, path, cause)
        elif cause is Cause.CREATED and path not in self.settling and path not in self._pending:
            self._linger(path)
        elif look is not None and path not in self._pending:
            self._consider(path, cause, look, None)
        else:
            self.look(path, cause)

    def _linger(self, path: str) -> None:
        if path not in self._lingering:
            self._lingering[path] = self._loop.call_later(_LINGER_S, self.look, path, Cause.CREATED)

    def _end_linger(self, path: str) -> bool:
        timer = self._lingering.pop(path, None)
        if timer is not None:
            timer.cancel()
        return timer is not None

    def look(self, path: str, cause: Cause | None = None, *, after_s: float = 0.0) -> None:
        """Have the path looked at, soon or after a delay."""
        if self._end_linger(path):  # a scan may be faster than the look at what was created
            cause = merge_causes(Cause.CREATED, cause)
        if self._closed:
            return
        if after_s > 0:
            self._set_timer(path, self._loop.clock() + after_s)
            return
        self._pending[path] = merge_causes(self._pending.get(path), cause)
        if not self._looking:
            self._flush()

    def _flush(self) -> None:
        batch, self._pending = list(self._pending.items()), {}
        self._looking = True
        self._lane.submit(self._look_at, batch)

    def _look_at(self, batch: list[tuple[str, Cause | None]]) -> None:
        """Lane: look at each path and ask the ledger what it knows of it."""
        looked: list[_Looked] = []
        for path, cause in batch:
            look = self._take_look(path)
            if look.kind == "missing" and not self._is_there():
                # The whole inbox is away, and its files may come back with it.
                look = Look(kind="error", errno=errno.ESTALE)
            known = self._known(path)
            looked.append((path, cause, look, self._same_content(known, look)))
        self._loop.post(self._looked, looked)

    def _take_look(self, path: str) -> Look:
        return take_look(self._spec.path, path, peek=True, ask_writers=True)

    def _known(self, path: str) -> Known | None:
        """Any thread: what the ledger knows of the path. Its connection is for one at a time."""
        with self._reading:
            return self._reader.known(self._spec.name, path)

    def _same_content(self, known: Known | None, look: Look) -> Known | None:
        """Return `known` with the file's present identity when only its mtime differs (kept originals)."""
        fingerprint = look.fingerprint
        if known is None or fingerprint is None or known.sha256 is None:
            return known
        identity = known.identity
        if fingerprint.size != identity.size or fingerprint.mtime_ns == identity.mtime_ns:
            return known
        if file_digest(self._spec.path, identity.path) != known.sha256:
            return known
        return _with_mtime(known, fingerprint.mtime_ns)

    def _looked(self, looked: list[_Looked]) -> None:
        self._looking = False
        for path, cause, look, known in [] if self._closed else looked:
            self._consider(path, cause, look, known)
        if self._pending and not self._looking:
            self._flush()

    def filter_known(self, found: list[Found], reader: LedgerReader) -> list[tuple[Found, Known | None]]:
        """Scanner's thread: drop what the ledger answers for already."""
        fresh = []
        for entry in found:
            known = reader.known(self._spec.name, entry.path)
            if known is None or not _answers_for(known, entry.fingerprint.size, entry.fingerprint.mtime_ns):
                fresh.append((entry, known))
        return fresh

    def scanned(self, found: list[tuple[Found, Known | None]], *, count_missed: bool) -> None:
        """Loop: entries that a scan found and the ledger does not answer for."""
        now_ns = self._wall_ns()
        for entry, known in [] if self._closed else found:
            waits = entry.path in self.settling or entry.path in self._timers
            if waits or self._sink.in_work(self._spec.name, entry.path):
                continue  # it is looked at again when it is time, e.g. a truncated picture that may still grow
            if count_missed and entry.kind == "file" and now_ns - entry.ctime_ns > _MISSED_AFTER_NS:
                self.missed += 1
            look = Look(kind=entry.kind, fingerprint=entry.fingerprint, ctime_ns=entry.ctime_ns)
            if known is not None and entry.kind == "file":
                self.look(
                    entry.path, Cause.SCAN
                )  # changed since: a closer look tells whether only its mtime did
            elif entry.kind == "file" and age_s(look, now_ns) < self._spec.incomplete_after_s:
                self._look_closer(entry.path, look)
            else:
                self._consider(entry.path, Cause.SCAN, look, known)

    def _look_closer(self, path: str, look: Look) -> None:
        """Changed a short while ago: somebody may have it open, which a scan does not see. Settling until then."""
        self.settling[path] = observe(None, path, Cause.SCAN, look, self._loop.clock())
        self.waiting[path] = "just found"
        self.look(path)

    def removed(self, path: str, fingerprint: Fingerprint, ctime_ns: int) -> None:
        """The original was brought out of the inbox: what was seen of it before is old news."""
        if len(self._removed) >= _MAX_REMOVED:
            del self._removed[next(iter(self._removed))]
        self._removed[path] = (fingerprint, ctime_ns)

    def _consider(self, path: str, cause: Cause | None, look: Look, known: Known | None) -> None:
        self._end_linger(path)
        if self._sink.in_work(self._spec.name, path):
            return
        if path in self._removed and self._removed.pop(path) == (look.fingerprint, look.ctime_ns):
            self.look(path, cause)
            return
        if look.kind == "missing":
            self.forget(path)
            self._sink.gone(self._spec, path, known)
        elif look.kind in ("file", "unreadable", "error"):
            self._settle(path, cause, look, known)
        else:  # what a job is about is no file any more, and no event will tell of it again
            self.forget(path)
            self._sink.gone(self._spec, path, known)
            self._report_odd(path, look)

    def _settle(self, path: str, cause: Cause | None, look: Look, known: Known | None) -> None:
        if known is not None and look.fingerprint is not None:
            fingerprint = look.fingerprint
            if _answers_for(known, fingerprint.size, fingerprint.mtime_ns):
                self.forget(path)
                return
        now_s = self._loop.clock()
        settling = observe(self.settling.get(path), path, cause, look, now_s)
        decision = decide(
            settling,
            settle_s=self._spec.settle_s,
            incomplete_after_s=self._spec.incomplete_after_s,
            now_s=now_s,
            now_ns=self._wall_ns(),
        )
        if isinstance(decision, Wait):
            self.settling[path] = settling
            self.waiting[path] = decision.why
            self._set_timer(path, decision.again_at_s)
        else:
            self.forget(path)
            self._sink.ready(self._spec, settling, decision, known)

    def due_s(self, path: str) -> float | None:
        """Return when the path will be looked at again, monotonic; None when nothing is planned."""
        timer = self._timers.get(path)
        return None if timer is None else timer.when_s

    def forget(self, path: str) -> None:
        """Stop waiting for the path."""
        self.settling.pop(path, None)
        self.waiting.pop(path, None)
        timer = self._timers.pop(path, None)
        if timer is not None:
            timer.cancel()

    def close(self) -> None:
        """Take nothing any more; what is on its way from a lane is dropped. What settled counts as waiting still."""
        self._closed = True
        for timer in (*self._timers.values(), *self._lingering.values()):
            timer.cancel()
        self._timers.clear()
        self._lingering.clear()

    def _set_timer(self, path: str, when_s: float) -> None:
        old = self._timers.pop(path, None)
        if old is not None:
            old.cancel()
        self._timers[path] = self._loop.call_at(when_s, self._timer_fired, path)

    def _timer_fired(self, path: str) -> None:
        self._timers.pop(path, None)
        self.look(path)

    def _report_odd(self, path: str, look: Look) -> None:
        """Tell of a symlink, FIFO, socket, device or picture-named folder, once for each fingerprint."""
        if look.kind == "directory" and not named_like_image(path):
            return
        fingerprint = look.fingerprint
        key = (
            path,
            fingerprint.inode if fingerprint else 0,
            look.ctime_ns if look.kind != "directory" else 0,
        )
        if key in self._reported:
            return
        if len(self._reported) >= _MAX_REPORTED:
            del self._reported[next(iter(self._reported))]
        self._reported[key] = None
        self._sink.odd(self._spec, path, look.kind)


def _answers_for(known: Known, size: int, mtime_ns: int) -> bool:
    """Whether the job is over and this is still the file that it was about."""
    over = known.original in (Original.KEPT, Original.STUCK, Original.BLOCKED)
    return over and known.identity.size == size and known.identity.mtime_ns == mtime_ns


def _with_mtime(known: Known, mtime_ns: int) -> Known:
    from dataclasses import replace

    return replace(known, identity=replace(known.identity, mtime_ns=mtime_ns))
