"""One inbox at work: its lanes, its arrivals, its watch and scans, and the batches for its finishing lane.

looking lane    stat, peek, install and check the watch
scanner         passes over the folder, at the backlog's pace
finishing lane  recovery, publish, fail, dispose
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from procwatch.delivery.fsops import FsOps
from procwatch.dispatch.arrivals import Arrivals, Sink
from procwatch.dispatch.disposing import Disposer
from procwatch.dispatch.job import RecipePlan
from procwatch.dispatch.journal import Journal
from procwatch.dispatch.lane import Lane
from procwatch.dispatch.ledger import LedgerReader
from procwatch.dispatch.loop import Loop, Timer
from procwatch.dispatch.orders import DisposeOrder, FailOrder, PublishOrder, Recovered, Results
from procwatch.dispatch.publishing import Publisher
from procwatch.dispatch.recovery import Recovery
from procwatch.intake.filters import NameFilter
from procwatch.intake.inbox import InboxWatch, WatchEvents
from procwatch.intake.scan import Scanner, ScanReport
from procwatch.intake.walk import Found
from procwatch.model import InboxSpec

#: A slow pass must not become the main load: the pause between two is at least this many times its length.
_RESCAN_FACTOR: Final = 10.0

Order = PublishOrder | FailOrder | DisposeOrder


class RuntimeEvents(WatchEvents, Protocol):
    """What an inbox tells the dispatcher; `recovered` and `scan_finished` arrive on the loop."""

    def recovered(self, runtime: "InboxRuntime", what: Recovered, seconds: float) -> None: ...
    def scan_finished(self, runtime: "InboxRuntime", report: ScanReport, cause: str, missed: int) -> None: ...
    def watch_overflowed(self, spec: InboxSpec) -> None: ...
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


class InboxRuntime:
    """Owned by the loop's thread; everything that blocks goes to a lane."""

    def __init__(self, spec: InboxSpec, recipe: RecipePlan, shared: Collaborators) -> None:
        self.spec = spec
        self.recipe = recipe
        self._shared = shared
        self._loop = shared.loop
        names = NameFilter(spec.include, spec.ignore)
        self._look_lane = Lane(f"look-{spec.name}", self.lane_error)
        self._finish_lane = Lane(f"finish-{spec.name}", self.lane_error)
        self._publisher, self._disposer, self._recovery = self._make_finishers(shared)
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
        )
        self.watch = InboxWatch(
            spec,
            names=names,
            on_arrival=self.arrivals.hint,
            on_directory=lambda folder: self._loop.post(self.request_scan, "request", folder),
            on_overflow=lambda: self._loop.post(self._overflowed),
            events=shared.events,
        )
        self._orders: list[Order] = []
        self._finishing = False
        self._scan_cause = "start"
        self._missed_before = 0
        self._rescan: Timer | None = None
        self._closed = False
        self.scans = 0  # finished passes over the whole inbox
        self.installed = False  # the watch was tried at least once
        self.failures = 0  # output trouble in a row
        self.parked: list[Order] = []  # orders that wait for the output side to get well
        self.paused_since_s: float | None = None
        self.trouble = ""  # what paused it last, for people
        self.retry_due = False

    def start(self) -> None:
        """Recover on the finishing lane; then watch, then scan."""
        self._finish_lane.submit(self._recover)

    def request_scan(self, cause: str, folder: str = "") -> None:
        if not self._closed:
            self._scan_cause = cause if not folder else self._scan_cause
            self._scanner.request(folder)

    def order(self, order: Order) -> None:
        """Have the finishing lane do it, in one batch with what else waits."""
        self._orders.append(order)
        if not self._finishing:
            self._flush_orders()

    def set_backpressure(self, *, full: bool) -> None:
        if full:
            self._scanner.pause()
        else:
            self._scanner.resume()

    @property
    def is_busy(self) -> bool:
        """Whether a scan, or work of the finishing lane, is under way or wanted."""
        return (
            self._finishing or bool(self._orders) or bool(self.parked) or self._scanner.busy or not self.scans
        )

    @property
    def is_finishing(self) -> bool:
        return self._finishing or bool(self._orders)

    def stop_intake(self) -> None:
        """No more arrivals, without waiting for threads that may hang in a dead file system."""
        self._closed = True
        self._scanner.resume()
        self._scanner.stop(timeout_s=0.0)
        self.arrivals.close()
        self._look_lane.submit(self.watch.close)
        self._look_lane.close(timeout_s=0.0)

    def close(self, timeout_s: float) -> None:
        """End the finishing lane after what it has."""
        self._finish_lane.close(timeout_s)

    # -- finishing lane ---------------------------------------------------------------------------

    def _make_finishers(self, shared: Collaborators) -> tuple[Publisher, Disposer, Recovery]:
        reader = shared.open_reader()
        publisher = Publisher(
            spec=self.spec,
            fs=shared.fs,
            journal=shared.journal,
            reader=reader,
            post=self._loop.post,
            results=shared.results,
        )
        disposer = Disposer(
            spec=self.spec, fs=shared.fs, journal=shared.journal, post=self._loop.post, results=shared.results
        )
        recovery = Recovery(
            spec=self.spec, fs=shared.fs, journal=shared.journal, reader=reader, publisher=publisher
        )
        return publisher, disposer, recovery

    def clean(self, staging: str) -> None:
        """Remove an attempt's staging folder."""
        self._finish_lane.submit(self._disposer.clean, staging)

    def _flush_orders(self) -> None:
        batch, self._orders = self._orders, []
        self._finishing = True
        self._finish_lane.submit(self._finish, batch)

    def _finish(self, batch: list[Order]) -> None:
        """Lane: publish, fail, dispose."""
        try:
            publish = [order for order in batch if isinstance(order, PublishOrder)]
            self._publisher.publish(publish)
            self._disposer.fail([order for order in batch if isinstance(order, FailOrder)])
            self._disposer.dispose([order for order in batch if isinstance(order, DisposeOrder)])
        finally:
            self._loop.post(self._finished)

    def _finished(self) -> None:
        self._finishing = False
        if self._orders:
            self._flush_orders()

    def _recover(self) -> None:
        began_s = time.monotonic()
        what = self._recovery.run(slots=self._shared.slots, forgiven=self._shared.forgiven)
        self._loop.post(self._recovered, what, time.monotonic() - began_s)

    def _recovered(self, what: Recovered, seconds: float) -> None:
        self._shared.events.recovered(self, what, seconds)
        self._look_lane.submit(self._keep_watch)

    # -- looking lane -----------------------------------------------------------------------------

    def _keep_watch(self) -> None:
        """Lane: install, check or heal the watch."""
        watched_before = self.watch.is_watched
        again_s = self.watch.keep()
        self._loop.post(self._watch_kept, again_s, self.watch.is_watched and not watched_before)

    def _watch_kept(self, again_s: float, fresh: bool) -> None:
        if self._closed:
            return
        first, self.installed = not self.installed, True
        if fresh or first:  # the scan comes after the watch, so that nothing falls between them
            self.request_scan("start" if first else "restored")
        self._loop.call_later(again_s, self._look_lane.submit, self._keep_watch)

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
