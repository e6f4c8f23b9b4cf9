"""How jobs end: publishing, failing, disposing of originals, and waiting out trouble of the output side.

Loop thread only. The finishing lanes do the work and post their results here.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Protocol

from structlog.typing import FilteringBoundLogger

from procwatch.dispatch import lines
from procwatch.dispatch.finishing import Order
from procwatch.dispatch.inbox_runtime import InboxRuntime
from procwatch.dispatch.job import Job
from procwatch.dispatch.journal import Journal, Ticket
from procwatch.dispatch.ledger_reader import Known
from procwatch.dispatch.loop import Loop
from procwatch.dispatch.orders import (
    UNKNOWN_INODE,
    Disposal,
    Disposed,
    DisposeOrder,
    FailOrder,
    PublishOrder,
    Stage,
)
from procwatch.dispatch.registry import Registry
from procwatch.dispatch.trouble import Trouble
from procwatch.intake.settle import Cause
from procwatch.model import Fingerprint, Original, Rendered, State
from procwatch.pool.ports import Report

#: A staged file that is gone is rendered again; one that is gone this often is somebody's doing.
_MAX_RELOSSES: Final = 3
_STILL_THERE: Final = frozenset({Original.KEPT, Original.STUCK, Original.BLOCKED})
_LOGGED_AGAIN_S: Final = 5.0
#: That lines are written is remembered for many jobs at once, and no later than this, which spares a commit for each.
#: A crash in between makes the next run write these lines once more, marked as recovered.
_LOGGED_AFTER_S: Final = 0.2
_LOGGED_MANY: Final = 100


class Requeue(Protocol):
    """The dispatcher's side: jobs that have to run or settle again."""

    def retry(self, job: Job, *, error: str, reason: str, report: Report | None) -> None: ...
    def settle_again(self, job: Job, *, error: str, reason: str, after_s: float = 0.0) -> None: ...
    def hinder(self, job: Job, reason: str) -> None: ...
    def vanish(self, job: Job, reason: str) -> None: ...


class Endings:
    """Implements orders.Results."""

    def __init__(
        self,
        *,
        loop: Loop,
        journal: Journal,
        registry: Registry,
        inboxes: Mapping[str, InboxRuntime],
        log: FilteringBoundLogger,
        pause: Callable[[InboxRuntime], None],
        resume: Callable[[InboxRuntime], None],
        on_ended: Callable[[str, Mapping[str, Any]], None],
    ) -> None:
        self._loop = loop
        self._journal = journal
        self._registry = registry
        self._inboxes = inboxes
        self._log = log
        self._trouble = Trouble(
            loop=loop, registry=registry, log=log, pause=pause, resume=resume, again=self._again
        )
        self._on_ended = on_ended
        self._logged: list[str] = []
        self._logged_since_s = 0.0
        self._publishing: dict[str, PublishOrder] = {}
        self._failing: dict[str, FailOrder] = {}
        self._disposing: dict[str, DisposeOrder] = {}
        self._reports: dict[str, Report] = {}
        self.requeue: Requeue  # set by the dispatcher, which needs this object first

    # -- what the dispatcher asks for -------------------------------------------------------------

    def publish(self, job: Job, report: Report, rendered: Rendered, staging: str) -> None:
        """A worker has rendered the job: check, name, publish."""
        runtime = self._inboxes[job.inbox]
        job.state = State.PUBLISHING
        self._reports[job.id] = report
        order = PublishOrder(
            job=job.id,
            path=job.path,
            fingerprint=job.fingerprint,
            rendered=rendered,
            staging=staging,
            recipe=runtime.recipe.name,
            templates=runtime.recipe.templates,
            line=lines.done(job, runtime.recipe.name, report, rendered),
            late_digest=report.late_digest,
        )
        self._publishing[job.id] = order
        runtime.finishing.order(order)

    def fail(
        self, job: Job, error: str, reason: str, *, report: Report | None = None, staging: str | None = None
    ) -> None:
        """The job cannot be rendered: record it, then move the file to the failed folder."""
        runtime = self._inboxes[job.inbox]
        job.state, job.error = State.FAILED, error
        order = FailOrder(
            job=job.id,
            path=job.path,
            fingerprint=job.fingerprint,
            recipe=runtime.recipe.name,
            recipe_hash=runtime.recipe.hash,
            queued_at=job.queued_at,
            error=error,
            reason=reason,
            staging=staging,
            line=lines.failed(job, runtime.recipe.name, report, error, reason),
        )
        self._failing[job.id] = order
        runtime.finishing.order(order)

    def adopt(self, runtime: InboxRuntime, known: Known, *, told_stuck: bool = False) -> None:
        """After a restart: an ended job whose original is still in the inbox."""
        identity = known.identity
        job = Job(
            id=known.job,
            inbox=identity.inbox,
            path=identity.path,
            fingerprint=Fingerprint(
                device=0, inode=UNKNOWN_INODE, size=identity.size, mtime_ns=identity.mtime_ns
            ),
            ctime_ns=0,
            changed_ns=0,
            queued_s=self._loop.clock(),
            queued_at=known.queued_at,
            removable_after_s=self._loop.clock() + runtime.spec.settle_s,
            want_digest=False,
            state=known.state,
            attempt=known.attempts,
            sha256=known.sha256,
            error=known.error or "",
            told_stuck=told_stuck,
        )
        self._registry.add(job)
        self._registry.end(job.id)
        self._failing_line(job, known)
        self._loop.call_later(runtime.spec.settle_s, self._dispose, job)

    def _failing_line(self, job: Job, known: Known) -> None:
        """Keep what the error file of a failed job has to say."""
        if known.state is State.FAILED:
            line = lines.failed(
                job, self._inboxes[job.inbox].recipe.name, None, known.error or "", known.reason or ""
            )
            self._failing[job.id] = FailOrder(
                job=job.id,
                path=job.path,
                fingerprint=job.fingerprint,
                recipe="",
                recipe_hash=known.recipe_hash,
                queued_at=known.queued_at,
                error=known.error or "",
                reason=known.reason or "",
                staging=None,
                line=line | {"worker_pid": known.worker_pid},
            )

    def retry_stuck(self, inbox: str, known: Known) -> None:
        """An original that could not be removed may be removable now; if not, nothing is said again."""
        runtime = self._inboxes.get(inbox)
        if runtime is not None and self._registry.at(inbox, known.identity.path) is None:
            self.adopt(runtime, known, told_stuck=True)

    def log_recovered(self, job: str, event: str, fields: Mapping[str, Any]) -> None:
        """Write the terminal line that a crash may have swallowed."""
        (self._log.error if event == "job.failed" else self._log.info)(event, **fields)
        self._note_logged(job)

    def _note_logged(self, job: str) -> None:
        if not self._logged:
            self._logged_since_s = self._loop.clock()
        self._logged.append(job)

    def flush_logged(self, now_s: float, *, at_once: bool = False) -> float | None:
        """Once a tick: remember which lines are written. Return when the next tick must come at the latest."""
        if not self._logged:
            return None
        due_s = self._logged_since_s + _LOGGED_AFTER_S
        if now_s < due_s and len(self._logged) < _LOGGED_MANY and not at_once:
            return due_s
        batch, self._logged = self._logged, []
        self._journal.submit(
            lambda ledger: ledger.logged(batch),
            point="ledger.logged",
            then=partial(self._loop.post, self._noted, batch),
        )
        return None

    def _noted(self, batch: list[str], ticket: Ticket[None]) -> None:
        """What could not be remembered is tried again, or a restart would write these lines a second time."""
        if ticket.exception() is not None:
            self._loop.call_later(_LOGGED_AGAIN_S, self._note_again, batch)

    def _note_again(self, batch: list[str]) -> None:
        self._logged += batch

    # -- what the lanes report --------------------------------------------------------------------

    def published(
        self, job: str, line: Mapping[str, Any], sha256: str | None, fingerprint: Fingerprint
    ) -> None:
        self._publishing.pop(job)
        self._reports.pop(job, None)
        here = self._registry.get(job)
        assert here is not None
        here.state, here.sha256, here.fingerprint = State.DONE, sha256, fingerprint
        self._registry.end(job)
        self._registry.count_done(line.get("worker_pid"), here.inbox)
        self._log.info("job.done", **line)
        self._on_ended("job.done", line)
        self._note_logged(job)
        runtime = self._inboxes[here.inbox]
        self._trouble.over_if(runtime, "render", "publish", "ledger")
        self._dispose_when_removable(here)

    def unpublished(self, job: str, code: str, reason: str) -> None:
        order, report = self._publishing.pop(job), self._reports.pop(job, None)
        here = self._registry.get(job)
        assert here is not None
        self._inboxes[here.inbox].finishing.clean(order.staging)
        if code == "vanished":
            self.requeue.vanish(here, reason)
        elif code == "changed":
            self.requeue.settle_again(here, error=code, reason=reason)
        elif code == "environment":
            self.requeue.hinder(here, reason)
        elif code == "name-conflict":
            self.fail(here, code, reason, report=report)
        else:
            self.render_again(here, code, reason, report)

    def render_again(self, job: Job, code: str, reason: str, report: Report | None) -> None:
        """What the worker made cannot be published; after some times the job fails."""
        job.relosses += 1
        if job.relosses >= _MAX_RELOSSES:
            self.fail(job, "internal-error", f"{reason} ({job.relosses} times)", report=report)
        else:
            self.requeue.retry(job, error=code, reason=reason, report=report)

    def failed(self, job: str, line: Mapping[str, Any]) -> None:
        here = self._registry.get(job)
        assert here is not None
        self._registry.end(job)
        self._registry.count_failed(line)
        self._trouble.over_if(self._inboxes[here.inbox], "ledger")
        self._log.error("job.failed", **line)
        self._on_ended("job.failed", line)
        self._note_logged(job)
        self._dispose_when_removable(here)

    def disposed(self, what: Disposed) -> None:
        order = self._disposing.pop(what.job)
        here = self._registry.get(what.job)
        if here is None:  # its inbox was retired meanwhile
            return
        runtime = self._inboxes[here.inbox]
        self._trouble.over_if(runtime, "dispose", "ledger")
        if what.result == "touched":
            assert what.fingerprint is not None
            here.fingerprint, here.ctime_ns = what.fingerprint, what.ctime_ns
            here.removable_after_s = self._loop.clock() + runtime.spec.settle_s
            self._dispose_when_removable(here)
            return
        self._failing.pop(what.job, None)
        self._registry.remove(here)
        if what.problem and not here.told_stuck:
            self._tell_stuck(here, order, what)
        if what.result == "disposed" and what.original not in _STILL_THERE:
            runtime.arrivals.removed(here.path, order.fingerprint, order.ctime_ns)
        if what.result == "changed":
            runtime.arrivals.look(here.path, here.touched or Cause.SCAN)
        elif here.touched is not None:
            runtime.arrivals.look(here.path, here.touched)

    def trouble(self, job: str, stage: Stage, error: OSError) -> None:
        """The output side, or the ledger, refuses: nobody's fault in the inbox. Wait and try again."""
        here = self._registry.get(job)
        if here is None:  # its inbox was retired meanwhile
            return
        runtime = self._inboxes[here.inbox]
        parked = self._publishing.get(job) if stage in ("publish", "ledger") else None
        order = parked or self._disposing.pop(job, None) or self._failing.get(job)
        if order is not None and order not in runtime.parked:  # its disk and the ledger's may both refuse
            runtime.parked.append(order)
        disposal = order.disposal if isinstance(order, DisposeOrder) else None
        self._trouble.met(runtime, stage, error, disposal=disposal)

    def pause_for(self, runtime: InboxRuntime, error: OSError, *, stage: Stage = "render") -> None:
        """A job of the inbox could not run for reasons that are not its own; the caller has put it back."""
        self._trouble.met(runtime, stage, error)

    def _again(self, runtime: InboxRuntime, order: Order) -> None:
        if isinstance(order, DisposeOrder):
            self._disposing[order.job] = order
        runtime.finishing.order(order)

    # -- disposal ---------------------------------------------------------------------------------

    def _dispose_when_removable(self, job: Job) -> None:
        delay_s = job.removable_after_s - self._loop.clock()
        if delay_s > 0:
            self._loop.call_later(delay_s, self._dispose, job)
        else:
            self._dispose(job)

    def _dispose(self, job: Job) -> None:
        if self._registry.get(job.id) is not job or job.id in self._disposing:
            return
        runtime = self._inboxes[job.inbox]
        failing = self._failing.get(job.id)
        disposal: Disposal = "failed" if job.state is State.FAILED else runtime.spec.on_success
        order = DisposeOrder(
            job=job.id,
            path=job.path,
            fingerprint=job.fingerprint,
            ctime_ns=job.ctime_ns,
            sha256=job.sha256,
            disposal=disposal,
            report=_error_report(job, failing.line if failing else {}),
        )
        self._disposing[job.id] = order
        runtime.finishing.order(order)

    def _tell_stuck(self, job: Job, order: DisposeOrder, what: Disposed) -> None:
        failed = order.disposal == "failed"
        folder = self._inboxes[job.inbox].spec.path
        self._log.warning(
            "file.stuck",
            **lines.about(job),
            original=str(what.original),
            reason=f"{'failed' if failed else 'done'}, but it cannot be removed from the inbox: {what.problem}",
            hint=f"make its folder writable for procwatch (chmod g+w, or setfacl) below {folder}",
        )


def _error_report(job: Job, line: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what the error file says: who, what, why, when."""
    if not line:
        return {}
    kept = (
        "job",
        "inbox",
        "path",
        "error",
        "reason",
        "attempt",
        "worker_pid",
        "slot",
        "recipe",
        "bytes_in",
        "run_s",
    )
    report = {key: line[key] for key in kept if key in line}
    report["code"] = report.pop("error")
    report["queued_at"] = _iso(job.queued_at)
    report["failed_at"] = _iso(time.time())
    return report


def _iso(epoch_s: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
