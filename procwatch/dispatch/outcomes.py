"""What becomes of a job when its worker has answered or is gone: publish, fail, settle again, run again.

Loop thread only. Whose fault it is decides: the file's, the worker's, the output side's, nobody's.
"""

import errno
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from procwatch.dispatch import lines
from procwatch.dispatch.backlog import Backlog
from procwatch.dispatch.endings import Endings
from procwatch.dispatch.inbox_runtime import InboxRuntime
from procwatch.dispatch.job import Job
from procwatch.dispatch.journal import Journal
from procwatch.dispatch.large import LargeJobs
from procwatch.dispatch.loop import Loop
from procwatch.dispatch.publishing import STAGING
from procwatch.dispatch.registry import Registry
from procwatch.dispatch.retry import after_death
from procwatch.intake.settle import Cause
from procwatch.model import Limits, Rendered, RenderFailed, State, staging_folder
from procwatch.pool.ports import Report
from procwatch.units import format_size

#: A worker that may not read what the daemon reads gets this many chances.
_MAX_REFUSALS: Final = 3
#: After so many new workers that do not fit either, the inbox waits: somebody is still at work on its folders.
_MAX_STALES: Final = 3


class Outcomes:
    """Implements endings.Requeue."""

    def __init__(
        self,
        *,
        loop: Loop,
        journal: Journal,
        registry: Registry,
        endings: Endings,
        inboxes: Mapping[str, InboxRuntime],
        backlog: Backlog,
        large: LargeJobs,
        limits: Limits,
        log: FilteringBoundLogger,
    ) -> None:
        self._loop = loop
        self._journal = journal
        self._registry = registry
        self._endings = endings
        self._inboxes = inboxes
        self._backlog = backlog
        self._large = large
        self._log = log
        self.limits = limits
        self.stopping = False
        endings.requeue = self

    def reported(self, job: Job, report: Report) -> None:
        """A worker has answered, or is gone: publish, fail, or run again."""
        if job.inbox not in self._inboxes:
            return
        staging = self._staging(job, report)
        if report.death is not None:
            self._died(job, report, staging)
        elif isinstance(report.result, Rendered):
            self._endings.publish(job, report, report.result, staging)
        else:
            assert report.result is not None
            self._unrendered(job, report, report.result, staging)

    def _died(self, job: Job, report: Report, staging: str) -> None:
        death = report.death
        assert death is not None
        if self.stopping and death.kind == "stopped":
            return  # the ledger says "running"; an orderly end forgives it
        if death.kind == "timeout" and self._inboxes[job.inbox].pulse.is_late:
            death = replace(death, kind="abandoned")  # it waited for a file system that does not answer
        verdict = after_death(death, deaths=job.deaths, timeout_s=self.limits.timeout_s)
        job.deaths = verdict.deaths
        if verdict.action == "fail":
            self._endings.fail(job, verdict.error, verdict.reason, report=report, staging=staging)
            return
        self._inboxes[job.inbox].clean(staging)
        self.retry(job, error=verdict.error, reason=verdict.reason, report=report)

    def _unrendered(self, job: Job, report: Report, result: RenderFailed, staging: str) -> None:
        runtime = self._inboxes[job.inbox]
        code, reason = result.code, result.reason
        if code in ("vanished", "changed", "environment", "deferred"):
            runtime.clean(staging)
        if code == "vanished":
            self.vanish(job, reason)
        elif code == "changed":
            self.settle_again(job, error=code, reason=reason)
        elif code == "environment":
            self.hinder(job, reason)
        elif code == "deferred":
            self._defer(job, int(reason), report)
        elif code == "sandbox-stale":  # the pool replaces its workers by itself
            self._stale(job, report, reason)
        elif code == "truncated" and (young_s := self._young_s(job)) > 0:
            runtime.clean(staging)
            self.settle_again(
                job, error=code, reason=f"{reason}; it may still be on its way", after_s=young_s
            )
        elif code == "not-readable" and job.refusals + 1 < _MAX_REFUSALS:
            job.refusals += 1
            runtime.clean(staging)  # a medium that fails in the middle of a file leaves a folder there
            self.settle_again(job, error=code, reason=reason, after_s=runtime.spec.settle_s)
        else:
            self._endings.fail(job, code, reason, report=report, staging=staging)

    def _defer(self, job: Job, needed_bytes: int, report: Report) -> None:
        """The job needs more memory than every job may take: it waits for a grant, and nothing is charged."""
        too_much = self._large.refusal(needed_bytes)
        if too_much:
            self._endings.fail(job, "over-memory-budget", too_much, report=report)
            return
        job.grant_bytes = needed_bytes
        job.state = State.QUEUED
        deaths, suspicion = job.deaths, job.suspicion
        self._journal.submit(lambda ledger: ledger.requeue(job.id, deaths=deaths, suspicion=suspicion))
        self._tell_retrying(job, "deferred", f"waits for {format_size(needed_bytes)} of memory", 0.0, report)
        self._large.add(job, self._loop.clock())

    def _stale(self, job: Job, report: Report, reason: str) -> None:
        """The worker was started for folders that have been replaced since: nothing is charged."""
        job.stales += 1
        if job.stales < _MAX_STALES:
            self.retry(job, error="sandbox-stale", reason=reason, report=report)
            return
        job.stales = 0
        self.put_back(job)
        self._endings.pause_for(self._inboxes[job.inbox], OSError(errno.EACCES, reason))

    def _young_s(self, job: Job) -> float:
        """Return for how long a file that ends early may still be one that is being written."""
        age_s = (time.time_ns() - job.changed_ns) / 1e9
        return self._inboxes[job.inbox].spec.incomplete_after_s - max(age_s, 0.0)

    def _staging(self, job: Job, report: Report) -> str:
        root = f"{self._inboxes[job.inbox].spec.outbox}/{STAGING}"
        return staging_folder(root, report.slot, job.id, job.attempt)

    # -- endings.Requeue --------------------------------------------------------------------------

    def retry(self, job: Job, *, error: str, reason: str, report: Report | None) -> None:
        """Run the job again, behind everybody else of its inbox."""
        self._tell_retrying(job, error, reason, 0.0, report)
        self.put_back(job)

    def put_back(self, job: Job) -> None:
        """Let the job wait for a worker again."""
        job.state = State.QUEUED
        deaths, suspicion = job.deaths, job.suspicion
        self._journal.submit(lambda ledger: ledger.requeue(job.id, deaths=deaths, suspicion=suspicion))
        if not self.stopping:
            self._backlog.add(job)

    def settle_again(self, job: Job, *, error: str, reason: str, after_s: float = 0.0) -> None:
        """The file is not what it was, or not all there: look at it again, as the same job."""
        deaths, suspicion = job.deaths, job.suspicion
        self._journal.submit(lambda ledger: ledger.requeue(job.id, deaths=deaths, suspicion=suspicion))
        self._registry.set_aside(job, reason)
        self._tell_retrying(job, error, reason, after_s, None)
        self._inboxes[job.inbox].arrivals.look(job.path, job.touched or Cause.SCAN, after_s=after_s)

    def hinder(self, job: Job, reason: str) -> None:
        """The output side refused what a worker made, nobody's fault: the inbox pauses, then it is rendered again."""
        self.put_back(job)
        self._endings.pause_for(self._inboxes[job.inbox], _parse_environment(reason))

    def vanish(self, job: Job, reason: str) -> None:
        self._registry.remove(job)
        self._journal.submit(lambda ledger: ledger.vanished(job.id))
        self._log.info("job.vanished", **lines.about(job), attempt=job.attempt, reason=reason)

    def _tell_retrying(
        self, job: Job, error: str, reason: str, delay_s: float, report: Report | None
    ) -> None:
        fields: dict[str, Any] = {"attempt": job.attempt, "error": error, "reason": reason}
        if report is not None:
            fields |= {"worker_pid": report.worker_pid, "slot": report.slot, "run_s": round(report.run_s, 3)}
        emit = self._log.info if error in ("changed", "truncated", "deferred") else self._log.warning
        emit("job.retrying", **lines.about(job), **fields, delay_s=round(delay_s, 3))


def _parse_environment(reason: str) -> OSError:
    """Return the OSError that a worker described as "ENAME: text"."""
    name, _, text = reason.partition(": ")
    return OSError(getattr(errno, name, None), text or reason)
