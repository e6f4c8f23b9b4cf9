"""What inboxes and workers tell, as log lines; the glue between the rooms' event ports and the log."""

import errno
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from structlog.typing import FilteringBoundLogger

from procwatch.dispatch.backlog import Backlog
from procwatch.dispatch.endings import Endings
from procwatch.dispatch.inbox_runtime import InboxRuntime
from procwatch.dispatch.ledger_reader import Known
from procwatch.dispatch.orders import Recovered
from procwatch.intake.scan import ScanReport
from procwatch.model import InboxSpec
from procwatch.pool.slot import Worker
from procwatch.units import format_size


class Host(Protocol):
    """The service, as far as events change what it does."""

    first_worker: bool

    @property
    def is_stopping(self) -> bool: ...
    def count_worker_lost(self) -> None: ...
    def renew_workers(self, reason: str) -> None: ...
    def do_without(self, inbox: str) -> None: ...


class ServiceEvents:
    """Implements pool.Events and inbox_runtime.RuntimeEvents. Calls from lanes are posted to the loop."""

    def __init__(self, log: FilteringBoundLogger, post: Callable[..., None], service: Host) -> None:
        self._log = log
        self._post = post
        self._service = service
        self._endings: Endings
        self._backlog: Backlog
        self._sandbox_missing = ""

    def connect(self, endings: Endings, backlog: Backlog) -> None:
        """Take the collaborators that themselves need this object first."""
        self._endings, self._backlog = endings, backlog

    # -- pool.Events, on the loop -----------------------------------------------------------------

    def worker_started(self, slot: int, worker: Worker) -> None:
        self._service.first_worker = True
        fields: dict[str, Any] = dict(worker.notes)
        self._tell_reduced_sandbox(fields.pop("sandbox_missing", ""))
        known = {"resampler": fields.pop("resampler")} if "resampler" in fields else {}
        if fields:
            known["notes"] = fields
        self._log.info(
            "pool.worker_started", slot=slot, worker_pid=worker.pid, seconds=round(worker.start_s, 3), **known
        )

    def _tell_reduced_sandbox(self, missing: str) -> None:
        """Once, not for every worker."""
        if missing and missing != self._sandbox_missing:
            self._log.warning(
                "sandbox.reduced",
                reason="this machine cannot lock workers up completely; work goes on",
                missing=missing.split(", "),
                hint='set [pool] sandbox = "require" to refuse to run like this, or "off" to hear no more of it',
            )
        self._sandbox_missing = missing

    def worker_lost(
        self, slot: int, worker_pid: int | None, exit_text: str, reason: str, job: str | None
    ) -> None:
        if self._service.is_stopping and job is None:
            return  # a Ctrl-C or a unit's stop may reach idle workers before us: nothing is lost
        self._service.count_worker_lost()
        about = {"job": job} if job else {}
        self._log.warning(
            "pool.worker_lost", slot=slot, worker_pid=worker_pid, exit=exit_text, reason=reason, **about
        )

    def worker_recycled(self, slot: int, worker: Worker, reason: str) -> None:
        self._log.info(
            "pool.worker_recycled",
            slot=slot,
            worker_pid=worker.pid,
            jobs=worker.jobs,
            reason=reason,
            rss_bytes=worker.rss_bytes,
        )

    def capacity_changed(self) -> None:
        """The loop's next turn hands out work anyway."""

    def pool_degraded(self, reason: str, deaths: int) -> None:
        self._log.error(
            "pool.degraded",
            reason=reason,
            deaths=deaths,
            hint="nothing is charged to files; work goes on when the canary image renders again, tried ever less often",
        )

    def pool_recovered(self, seconds: float) -> None:
        self._log.info("pool.recovered", seconds=round(seconds, 3))

    # -- intake.WatchEvents, on lanes -------------------------------------------------------------

    def watch_started(self, spec: InboxSpec, mode: str, reason: str) -> None:
        fields = {"reason": reason} if reason else {}
        self._post(
            partial(
                self._info,
                "watch.started",
                inbox=spec.name,
                path=spec.path,
                mode=mode,
                recursive=spec.recursive,
                **fields,
            )
        )

    def watch_lost(self, spec: InboxSpec, reason: str) -> None:
        self._post(partial(self._warning, "watch.lost", inbox=spec.name, path=spec.path, reason=reason))

    def watch_restored(self, spec: InboxSpec, mode: str, lost_s: float) -> None:
        self._post(
            partial(
                self._info,
                "watch.restored",
                inbox=spec.name,
                path=spec.path,
                mode=mode,
                seconds=round(lost_s, 3),
            )
        )
        self._post(self._service.renew_workers, f"the folder of inbox {spec.name} is there again")

    def watch_reduced(self, spec: InboxSpec, reason: str) -> None:
        self._post(
            partial(
                self._warning,
                "watch.overflowed",
                inbox=spec.name,
                reason=reason,
                hint="raise fs.inotify.max_user_watches; until then rescans find what is dropped there",
            )
        )

    def watch_overflowed(self, spec: InboxSpec) -> None:
        self._warning("watch.overflowed", inbox=spec.name, reason="the kernel's event queue was full")

    def fell_silent(self, runtime: InboxRuntime) -> None:
        spec = runtime.spec
        self._backlog.pause(spec.name, "silent")
        self._log.warning(
            "intake.paused",
            inbox=spec.name,
            path=spec.path,
            reason="its file system does not answer",
            hint="see to the mount or the file server; the other inboxes are served, and work goes on by itself",
        )
        self._service.do_without(spec.name)

    def answers_again(self, runtime: InboxRuntime, seconds: float) -> None:
        name = runtime.spec.name
        self._backlog.resume(name, "silent")
        self._log.info(
            "intake.resumed", inbox=name, reason="its file system answers again", seconds=round(seconds, 3)
        )
        self._service.renew_workers(f"the file system of inbox {name} answers again")

    # -- housekeeping.RoomEvents, on the loop -----------------------------------------------------

    def room_short(self, spec: InboxSpec, folder: str, free_bytes: int) -> None:
        self._backlog.pause(spec.name, "room")
        self._log.warning(
            "intake.paused",
            inbox=spec.name,
            path=folder,
            reason=f"only {format_size(free_bytes)} is free, less than min_free",
            hint="make room; work goes on by itself",
        )

    def room_again(self, spec: InboxSpec, free_bytes: int) -> None:
        self._backlog.resume(spec.name, "room")
        self._log.info("intake.resumed", inbox=spec.name, reason=f"{format_size(free_bytes)} is free again")

    def unstuck(self, spec: InboxSpec, known: Known) -> None:
        self._endings.retry_stuck(spec.name, known)

    # -- inbox_runtime.RuntimeEvents, on the loop -------------------------------------------------

    def recovered(self, runtime: InboxRuntime, what: Recovered, seconds: float) -> None:
        for job, event, fields in what.lines:
            self._endings.log_recovered(job, event, fields)
        for known in what.undisposed:
            self._endings.adopt(runtime, known)
        if what.rolled_forward or what.requeued or what.swept:
            self._log.info(
                "recovery.finished",
                inbox=runtime.spec.name,
                rolled_forward=what.rolled_forward,
                requeued=what.requeued,
                swept=what.swept,
                seconds=round(seconds, 3),
            )

    def recovery_hindered(self, runtime: InboxRuntime, error: OSError) -> None:
        self._log.warning(
            "intake.paused",
            inbox=runtime.spec.name,
            error=errno.errorcode.get(error.errno or 0, "error"),
            reason=f"what the last run left cannot be put in order: {error.strerror or error}",
            hint="files stay in the inbox; work goes on by itself when the trouble is over",
        )

    def recovery_eased(self, runtime: InboxRuntime) -> None:
        self._log.info("intake.resumed", inbox=runtime.spec.name, reason="what the last run left is in order")

    def scan_finished(self, runtime: InboxRuntime, report: ScanReport, cause: str, missed: int) -> None:
        fields: dict[str, Any] = {}
        emit = self._log.debug
        if cause == "start":
            emit = self._log.info
        if report.errors:
            emit = self._log.warning
            fields = {"errors": report.errors, "reason": report.first_error}
        emit(
            "scan.finished",
            inbox=runtime.spec.name,
            found=report.found,
            seconds=round(report.seconds, 3),
            cause=cause,
            missed=missed,
            **fields,
        )

    def lane_failed(self, runtime: InboxRuntime, error: BaseException) -> None:
        """A defect of ours in a lane: end loudly; a restart recovers, going on might lose."""
        raise error

    def _info(self, event: str, **fields: Any) -> None:
        self._log.info(event, **fields)

    def _warning(self, event: str, **fields: Any) -> None:
        self._log.warning(event, **fields)
