"""What becomes of a job when its worker has answered or is gone: publish, fail, settle again, run again.

Loop thread only. Whose fault it is decides: the file's, the worker's, the output side's, nobody's.
"""

import errno
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from procwatch.dispatch import lines, probing
from procwatch.dispatch.backlog import Backlog
from procwatch.dispatch.endings import Endings
from procwatch.dispatch.inbox_runtime import InboxRuntime
from procwatch.dispatch.job import Job, RecipePlan
from procwatch.dispatch.journal import Journal
from procwatch.dispatch.large import LargeJobs
from procwatch.dispatch.loop import Loop
from procwatch.dispatch.registry import Registry
from procwatch.dispatch.retry import MAX_FREE_ROUNDS, after_death, pause_s
from procwatch.intake.settle import Cause
from procwatch.model import STAGING, Limits, Rendered, RenderFailed, State, staging_prefix
from procwatch.pool.ports import Report
from procwatch.units import format_size

#: A worker that may not read what the daemon reads gets this many chances.
_MAX_REFUSALS: Final = 3
#: What a worker may say without costing the file an attempt: see model.RenderFailed.
_FREE: Final = frozenset({"vanished", "changed", "environment", "deferred", "sandbox-stale"})
#: Deaths for which the daemon has its own eyes: a canary that died too, a file system that is silent, the end.
_SEEN_BY_THE_DAEMON: Final = frozenset({"degraded", "abandoned", "stopped"})
#: What is worth a line only for who follows a job's every step, and what happens on a good day.
_NO_RETRY: Final = frozenset({"revoked", "vanished"})
_USUAL: Final = frozenset({"changed", "truncated", "deferred"})
_MAX_NOTES: Final = 4
_MAX_NOTE: Final = 300  # characters, each of at most 12 bytes in a log line
_MAX_WORD: Final = 40
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
            self._rendered(job, report, report.result, staging)
        else:
            assert report.result is not None
            self._unrendered(job, report, report.result, staging)

    def _rendered(self, job: Job, report: Report, rendered: Rendered, staging: str) -> None:
        runtime = self._inboxes[job.inbox]
        wrong = misfit(runtime.recipe, rendered)
        if wrong:  # the worker lies, or the recipe is a newer one
            runtime.finishing.clean(staging)
            self._endings.render_again(job, "staging-lost", wrong, report)
        else:
            self._endings.publish(job, report, in_bounds(rendered), staging)

    def _died(self, job: Job, report: Report, staging: str) -> None:
        death = report.death
        assert death is not None
        if self.stopping and death.kind == "stopped":
            return  # the ledger says "running"; an orderly end forgives it
        if death.kind == "revoked":  # it waited behind another one, and never began
            self._tell_retrying(job, "revoked", "its worker had not begun", 0.0, report)
            job.attempt -= 1
            self.put_back(job, first=True)
            return
        if death.kind == "timeout" and self._inboxes[job.inbox].pulse.is_late:
            death = replace(death, kind="abandoned")  # it waited for a file system that does not answer
        free = not death.started and death.kind not in _SEEN_BY_THE_DAEMON
        verdict = after_death(
            death,
            deaths=job.deaths,
            timeout_s=self.limits.timeout_s,
            free_rounds=job.count_free_round() if free else 0,
        )
        job.deaths = verdict.deaths
        if verdict.action == "fail":
            self._endings.fail(job, verdict.error, verdict.reason, report=report, staging=staging)
            return
        self._inboxes[job.inbox].finishing.clean(staging)
        self.retry(job, error=verdict.error, reason=verdict.reason, report=report)

    def _unrendered(self, job: Job, report: Report, result: RenderFailed, staging: str) -> None:
        runtime = self._inboxes[job.inbox]
        code, reason = result.code, result.reason
        young_s = self._young_s(job) if code == "truncated" else 0.0
        if code not in _FREE and young_s <= 0:
            self._charged(job, report, result, staging)
            return
        runtime.finishing.clean(staging)
        if code == "environment":
            self._doubt(job, report, reason)
        elif code == "sandbox-stale" and job.stales + 1 >= _MAX_STALES:
            self._doubt_stale(job, report, reason)
        elif self._is_enough(job, report, code, reason):
            return
        elif code == "vanished":  # is it? a look costs nothing
            self._tell_retrying(job, code, reason, 0.0, report)
            self._look_again(job, reason)
        elif code == "changed":
            self.settle_again(job, error=code, reason=reason)
        elif code == "deferred":
            self._defer(job, int(reason), report)
        elif code == "sandbox-stale":  # the pool replaces its workers by itself
            job.stales += 1
            self.retry(job, error=code, reason=reason, report=report)
        else:
            self.settle_again(
                job, error=code, reason=f"{reason}; it may still be on its way", after_s=young_s
            )

    def _charged(self, job: Job, report: Report, result: RenderFailed, staging: str) -> None:
        runtime = self._inboxes[job.inbox]
        code, reason = result.code, result.reason
        if code == "not-readable" and job.refusals + 1 < _MAX_REFUSALS:
            job.refusals += 1
            runtime.finishing.clean(staging)  # a medium that fails between two outputs leaves the first there
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

    # -- what a worker says that only the daemon can confirm --------------------------------------

    def _is_enough(self, job: Job, report: Report, code: str, reason: str) -> bool:
        """Count a round that costs the job nothing; fail it when it had too many of them."""
        rounds = job.count_free_round()
        if rounds > MAX_FREE_ROUNDS:
            told = f"workers gave this file back {rounds} times; the last one said {code}: {reason}"
            self._endings.fail(job, "internal-error", told, report=report)
        return rounds > MAX_FREE_ROUNDS

    def _doubt(self, job: Job, report: Report, reason: str) -> None:
        """A worker says that the machine is in trouble: the inbox waits if the daemon finds so too, else the job alone."""
        spec = self._inboxes[job.inbox].spec
        claimed = parse_environment(reason).errno
        look = partial(probing.trouble, spec.path, job.path, f"{spec.outbox}/{STAGING}", claimed)
        self._in_thread(look, partial(self._looked, job, report, reason))

    def _looked(self, job: Job, report: Report, reason: str, error: OSError | None) -> None:
        if self._registry.get(job.id) is not job:
            return
        if error is not None:
            self.put_back(job)
            self._endings.pause_for(self._inboxes[job.inbox], error)
        elif not self._is_enough(job, report, "environment", reason):
            told = f"{reason}; the daemon finds nothing wrong"
            self.settle_again(job, error="environment", reason=told, after_s=pause_s(job.free_rounds))

    def _doubt_stale(self, job: Job, report: Report, reason: str) -> None:
        """New workers do not fit either: is somebody at work on the folders?"""
        spec = self._inboxes[job.inbox].spec
        look = partial(probing.folders, spec.path, f"{spec.outbox}/{STAGING}", report.slot)
        self._in_thread(look, partial(self._looked_stale, job, report, reason))

    def _looked_stale(self, job: Job, report: Report, reason: str, found: tuple[object, object]) -> None:
        if self._registry.get(job.id) is not job:
            return
        same, job.folders_seen = job.folders_seen == (report.slot, found), (report.slot, found)
        if not same or None in found:
            job.stales = job.free_rounds = 0
            self.put_back(job)
            self._endings.pause_for(self._inboxes[job.inbox], OSError(errno.EACCES, reason))
        elif not self._is_enough(job, report, "sandbox-stale", reason):
            self.settle_again(job, error="sandbox-stale", reason=reason, after_s=pause_s(job.free_rounds))

    def _in_thread(self, look: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Have something found out that may block; the job stays as it is until then."""
        threading.Thread(
            target=lambda: self._loop.post(then, look()), name="procwatch-probe", daemon=True
        ).start()

    def _young_s(self, job: Job) -> float:
        """Return for how long a file that ends early may still be one that is being written.

        Anybody may set its mtime: times that lie in the future, beyond what clocks of two machines differ, say nothing.
        """
        window_s = self._inboxes[job.inbox].spec.incomplete_after_s
        now_ns = time.time_ns()
        times = (job.fingerprint.mtime_ns, job.ctime_ns)
        ages_s = [age_s for age_s in ((now_ns - at) / 1e9 for at in times) if age_s >= -window_s]
        return window_s - max(min(ages_s), 0.0) if ages_s else 0.0

    def _staging(self, job: Job, report: Report) -> str:
        root = f"{self._inboxes[job.inbox].spec.outbox}/{STAGING}"
        return staging_prefix(root, report.slot, job.id, job.attempt)

    # -- endings.Requeue --------------------------------------------------------------------------

    def retry(self, job: Job, *, error: str, reason: str, report: Report | None) -> None:
        """Run the job again, behind everybody else of its inbox."""
        self._tell_retrying(job, error, reason, 0.0, report)
        self.put_back(job)

    def put_back(self, job: Job, *, first: bool = False) -> None:
        """Let the job wait for a worker again, before or behind all others of its inbox."""
        job.state = State.QUEUED
        deaths, suspicion = job.deaths, job.suspicion
        self._journal.submit(lambda ledger: ledger.requeue(job.id, deaths=deaths, suspicion=suspicion))
        if not self.stopping:
            self._backlog.add(job, first=first)

    def settle_again(self, job: Job, *, error: str, reason: str, after_s: float = 0.0) -> None:
        """The file is not what it was, or not all there: look at it again, as the same job."""
        self._tell_retrying(job, error, reason, after_s, None)
        self._look_again(job, reason, after_s)

    def _look_again(self, job: Job, reason: str, after_s: float = 0.0) -> None:
        deaths, suspicion = job.deaths, job.suspicion
        self._journal.submit(lambda ledger: ledger.requeue(job.id, deaths=deaths, suspicion=suspicion))
        self._registry.set_aside(job, reason)
        self._inboxes[job.inbox].arrivals.look(job.path, job.touched or Cause.SCAN, after_s=after_s)

    def hinder(self, job: Job, reason: str) -> None:
        """The output side refused what a worker made, as the daemon found itself: the inbox pauses for a while."""
        self.put_back(job)
        self._endings.pause_for(self._inboxes[job.inbox], parse_environment(reason))

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
        emit = self._log.warning
        if error in _NO_RETRY:
            emit = self._log.debug
        elif error in _USUAL:
            emit = self._log.info
        emit("job.retrying", **lines.about(job), **fields, delay_s=round(delay_s, 3))


def parse_environment(reason: str) -> OSError:
    """Return the OSError that somebody described as "ENAME: text"; without a number where there is no such name."""
    name, _, text = reason.partition(": ")
    number = getattr(errno, name) if name in errno.errorcode.values() else None
    return OSError(number, text or reason)


def misfit(recipe: RecipePlan, rendered: Rendered) -> str:
    """Say what a worker made that the recipe cannot make; nothing where all fits. It may lie, to have a name end in .php."""
    for staged in rendered.renditions:
        allowed = recipe.extensions.get(staged.output)
        if allowed is None:
            return f"the worker made an output that the recipe does not have: {staged.output[:_MAX_WORD]!a}"
        if staged.ext not in allowed:
            return f"the worker made a .{staged.ext} of the output {staged.output}"
    return ""


def in_bounds(rendered: Rendered) -> Rendered:
    """Cut what goes into a log line: the journal takes 48 KiB a line."""
    notes = {key[:_MAX_WORD]: text[:_MAX_NOTE] for key, text in list(rendered.notes.items())[:_MAX_NOTES]}
    return replace(rendered, notes=notes, format=rendered.format[:_MAX_WORD])
