"""One inbox at work: its lanes, its arrivals, its watch and scans.

looking lane    stat, peek, install and check the watch
scanner         passes over the folder, at the backlog's pace
finishing lane  recovery, then publish, fail, dispose (dispatch.finishing)
"""

import sqlite3
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final, Protocol

from procwatch.delivery.fsops import FsOps
from procwatch.dispatch.arrivals import Arrivals, Sink
from procwatch.dispatch.finishing import Finishing, Order
from procwatch.dispatch.job import RecipePlan
from procwatch.dispatch.journal import Journal, as_os_error
from procwatch.dispatch.lane import Lane
from procwatch.dispatch.ledger_reader import LedgerReader
from procwatch.dispatch.loop import Loop, Timer
from procwatch.dispatch.orders import Recovered, Results
from procwatch.dispatch.pulse import Pulse
from procwatch.dispatch.retry import pause_s
from procwatch.dispatch.sizes import Sizes
from procwatch.intake.door import Door
from procwatch.intake.filters import NameFilter
from procwatch.intake.inbox import InboxWatch, WatchEvents
from procwatch.intake.scan import Scanner, ScanReport
from procwatch.intake.walk import Found
from procwatch.model import InboxSpec

#: A slow pass must not become the main load: the pause between two is at least this many times its length.
_RESCAN_FACTOR: Final = 10.0


class RuntimeEvents(WatchEvents, Protocol):
    """What an inbox tells the dispatcher; `recovered` and `scan_finished` arrive on the loop."""

    def recovered(self, runtime: "InboxRuntime", what: Recovered, seconds: float) -> None: ...
    def recovery_hindered(self, runtime: "InboxRuntime", error: OSError) -> None: ...
    def recovery_eased(self, runtime: "InboxRuntime") -> None: ...
    def scan_finished(self, runtime: "InboxRuntime", report: ScanReport, cause: str, missed: int) -> None: ...
    def watch_overflowed(self, spec: InboxSpec) -> None: ...
    def fell_silent(self, runtime: "InboxRuntime") -> None: ...
    def answers_again(self, runtime: "InboxRuntime", seconds: float) -> None: ...
    def lane_failed(self, runtime: "InboxRuntime", error: BaseException) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Collaborators:
    """What every inbox shares."""

    loop: Loop
    fs: FsOps
    journal: Journal
    open_reader: Callable[[], LedgerReader]
    sink: Sink
    results: Results
    events: RuntimeEvents
    slots: int
    forgiven: bool
    #: What is logged meanwhile is written at the end.
    lines_together: Callable[[], AbstractContextManager[None]]


class InboxRuntime:
    """Owned by the loop's thread; everything that blocks goes to a lane."""

    def __init__(self, spec: InboxSpec, recipe: RecipePlan, shared: Collaborators, door: Door) -> None:
        self.spec = spec
        self._door = door
        self.recipe = recipe
        self._shared = shared
        self._loop = shared.loop
        names = NameFilter(spec.include, spec.ignore)
        self._look_lane = Lane(f"look-{spec.name}", self.lane_error)
        self.finishing = Finishing(
            spec=spec,
            loop=shared.loop,
            fs=shared.fs,
            journal=shared.journal,
            reader=shared.open_reader(),
            results=shared.results,
            is_there=door.is_same,
            lines_together=shared.lines_together,
            on_error=self.lane_error,
        )
        self._scan_reader: LedgerReader | None = None
        self._scanner = Scanner(spec.path, spec.recursive, names, self._chunk, self._pass_ended)
        self.arrivals = Arrivals(
            spec=spec,
            names=names,
            loop=self._loop,
            lane=self._look_lane,
            reader=shared.open_reader(),
            sink=shared.sink,
            request_scan=lambda cause: self._loop.post(self.request_scan, cause),
            is_there=door.is_same,
        )
        self.watch = InboxWatch(
            spec,
            names=names,
            door=door,
            on_arrival=self.arrivals.hint,
            on_directory=lambda folder: self._loop.post(self.request_scan, "request", folder),
            on_overflow=lambda: self._loop.post(self._overflowed),
            events=shared.events,
        )
        self.pulse = Pulse(
            folders=(spec.path, spec.outbox, spec.archive, spec.failed),
            loop=self._loop,
            lane=Lane(f"pulse-{spec.name}", self.lane_error),
            on_silent=lambda: shared.events.fell_silent(self),
            on_answer=self._answers_again,
        )
        self._scan_cause = "start"
        self._missed_before = 0
        self._rescan: Timer | None = None
        self._closed = False
        self._recovered = False
        self._hindered = 0  # attempts to recover that failed in a row
        self.scans = 0  # finished passes over the whole inbox
        self.installed = False  # the watch was tried at least once
        self.is_full = False  # enough of it is in memory: scans pause
        self.failures = 0  # rounds of output trouble in a row
        self.parked: list[Order] = []  # orders that wait for the output side to get well
        self.paused_since_s: float | None = None
        self.resumed_s = float("-inf")  # when the last trouble was over
        self.refusing: set[str] = set()  # what refused and has not succeeded since
        self.trouble = ""  # what paused it, for people
        self.retry_due = False
        self.sizes: Sizes | None = None  # of its folders, as last measured

    def start(self, trouble: str = "") -> None:
        """Open the door, recover on the finishing lane, then watch, then scan. `trouble`: why not at once."""
        self._look_lane.submit(self._begin, trouble)
        self.pulse.start()

    def _begin(self, trouble: str) -> None:
        if trouble:
            self.watch.lose(trouble)
        self._keep_watch()

    def request_scan(self, cause: str, folder: str = "") -> None:
        if not self._closed:
            self._scan_cause = cause if not folder else self._scan_cause
            self._scanner.request(folder)

    def set_backpressure(self, *, full: bool) -> None:
        """Pause or resume scans; asked at every turn of the loop."""
        if full == self.is_full:
            return
        self.is_full = full
        if full:
            self._scanner.pause()
        else:
            self._scanner.resume()

    def measured(self, sizes: Sizes) -> None:
        self.sizes = sizes

    @property
    def is_busy(self) -> bool:
        """Whether a scan, or work of the finishing lane, is under way or wanted."""
        # Nobody can say what is in a lost inbox; the watch has told why.
        unseen = not self.scans and not self.watch.is_lost
        return self.finishing.is_busy or bool(self.parked) or self._scanner.busy or unseen

    def stop_intake(self) -> None:
        """No more arrivals, without waiting for threads that may hang in a dead file system."""
        self._closed = True
        self._scanner.resume()
        self._scanner.stop(timeout_s=0.0)
        self.arrivals.close()
        self._look_lane.submit(self.watch.close)
        self._look_lane.close(timeout_s=0.0)
        self.pulse.close()

    def close(self, timeout_s: float) -> None:
        """End the finishing lane after what it has, then let go of the folder."""
        self.finishing.close(timeout_s)
        self._door.close()

    # -- recovery ---------------------------------------------------------------------------------

    def _recover(self) -> None:
        """Lane: put in order what the last run left; a full disk or a folder that went away again is waited out."""
        began_s = time.monotonic()
        try:
            what = self.finishing.recovery.run(slots=self._shared.slots, forgiven=self._shared.forgiven)
        except (OSError, sqlite3.OperationalError) as error:
            self._loop.post(self._recovery_failed, as_os_error(error))
            return
        self._loop.post(self._recovery_done, what, time.monotonic() - began_s)

    def _recovery_failed(self, error: OSError) -> None:
        self._hindered += 1
        if self._hindered == 1:
            self._shared.events.recovery_hindered(self, error)
        self._loop.call_later(pause_s(self._hindered), self._on_look_lane, self._reopen)

    def _reopen(self) -> None:
        """Lane: the folders may not be those that were there before."""
        self.watch.shut()
        self._keep_watch()

    def _recovery_done(self, what: Recovered, seconds: float) -> None:
        if self._closed:
            return  # the next run does it again
        self._recovered = True
        if self._hindered:
            self._shared.events.recovery_eased(self)
        self._shared.events.recovered(self, what, seconds)
        self._look_lane.submit(self._keep_watch)

    # -- looking lane -----------------------------------------------------------------------------

    def _keep_watch(self) -> None:
        """Lane: open the door; once the inbox is recovered: install, check or heal the watch."""
        if not self._recovered:
            retry_s = self.watch.admit()
            if retry_s is None:
                self.finishing.submit(self._recover)
            else:
                self._loop.post(self._watch_kept, retry_s, False)
            return
        installs = self.watch.installs
        again_s = self.watch.keep()
        self._loop.post(self._watch_kept, again_s, self.watch.installs != installs)

    def _watch_kept(self, again_s: float, fresh: bool) -> None:
        if self._closed:
            return
        self.installed = True
        if fresh:  # the scan comes after the watch, so that nothing falls between them
            self.request_scan("restored" if self.scans else "start")
        self._loop.call_later(again_s, self._on_look_lane, self._keep_watch)

    def _on_look_lane(self, call: Callable[[], None]) -> None:
        if not self._closed:
            self._look_lane.submit(call)

    def _answers_again(self, seconds: float) -> None:
        self._shared.events.answers_again(self, seconds)
        if self._recovered:
            self.request_scan("restored")

    def _overflowed(self) -> None:
        self._shared.events.watch_overflowed(self.spec)
        self.request_scan("overflow")

    # -- scanner ----------------------------------------------------------------------------------

    def _chunk(self, found: list[Found]) -> None:
        """Scanner's thread."""
        if self._scan_reader is None:
            self._scan_reader = self._shared.open_reader()
        fresh = self.arrivals.filter_known(found, self._scan_reader)
        if fresh:
            self._loop.post(self._scanned, fresh)

    def _scanned(self, fresh: Any) -> None:
        if not self._closed:
            counted = self.watch.mode == "native" and self._scan_cause == "rescan"
            self.arrivals.scanned(fresh, count_missed=counted)

    def _pass_ended(self, report: ScanReport) -> None:
        """Scanner's thread."""
        self._loop.post(self._scan_finished, report)

    def _scan_finished(self, report: ScanReport) -> None:
        missed = self.arrivals.missed - self._missed_before
        self._missed_before = self.arrivals.missed
        cause = "request" if report.subdir else self._scan_cause
        self._shared.events.scan_finished(self, report, cause, missed)
        if not report.subdir:
            self.scans += 1
            self._scan_cause = "rescan"
            pause_s = max(self.spec.rescan_s, _RESCAN_FACTOR * report.seconds)
            if self._rescan is not None:
                self._rescan.cancel()
            self._rescan = self._loop.call_later(pause_s, self.request_scan, "rescan")

    def lane_error(self, error: BaseException) -> None:
        self._loop.post(self._shared.events.lane_failed, self, error)
