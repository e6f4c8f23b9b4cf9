"""Reception: a file that settled becomes a job, or goes on being one. On the dispatcher's thread."""

import time
from collections.abc import Mapping

from structlog.typing import FilteringBoundLogger

from procwatch.dispatch import lines
from procwatch.dispatch.backlog import Backlog
from procwatch.dispatch.endings import Endings
from procwatch.dispatch.inbox_runtime import InboxRuntime
from procwatch.dispatch.job import Job
from procwatch.dispatch.journal import Journal
from procwatch.dispatch.ledger_reader import Known
from procwatch.dispatch.loop import Loop
from procwatch.dispatch.outcomes import Outcomes
from procwatch.dispatch.registry import Registry
from procwatch.dispatch.retry import MAX_DAEMON_DEATHS
from procwatch.intake.settle import Cause, Ready, Settling, merge_causes
from procwatch.model import InboxSpec, State, new_id


class Reception:
    """Implements arrivals.Sink."""

    def __init__(
        self,
        *,
        loop: Loop,
        journal: Journal,
        registry: Registry,
        endings: Endings,
        inboxes: Mapping[str, InboxRuntime],
        backlog: Backlog,
        outcomes: Outcomes,
        log: FilteringBoundLogger,
    ) -> None:
        self._loop = loop
        self._journal = journal
        self._registry = registry
        self._endings = endings
        self._inboxes = inboxes
        self._backlog = backlog
        self._outcomes = outcomes
        self._log = log

    def in_work(self, inbox: str, path: str) -> bool:
        return self._registry.at(inbox, path) is not None

    def touched(self, inbox: str, path: str, cause: Cause) -> None:
        job = self._registry.at(inbox, path)
        if job is not None:
            job.touched = merge_causes(job.touched, cause)

    def ready(self, spec: InboxSpec, settling: Settling, ready: Ready, known: Known | None) -> None:
        """A file may be read: it becomes a job, or goes on being one."""
        if self._outcomes.stopping:
            return
        job = self._registry.take_back(spec.name, settling.path) or self._resumed(settling, known, spec)
        job = job or self._new_job(spec, settling)
        self._refresh(job, settling, ready)
        self._registry.add(job)
        if ready.how == "unreadable":
            self._endings.fail(job, "not-readable", "procwatch may not read the file")
            return
        if job.suspicion > MAX_DAEMON_DEATHS:
            times = f"{job.suspicion} times"
            self._endings.fail(job, "worker-crashed", f"the daemon died {times} while this file was rendered")
            return
        job.state = State.QUEUED
        self._backlog.add(job)
        recipe = self._inboxes[spec.name].recipe.name
        self._log.debug(
            "job.queued",
            **lines.about(job),
            recipe=recipe,
            bytes_in=job.fingerprint.size,
            cause=str(settling.cause),
        )

    def gone(self, spec: InboxSpec, path: str, known: Known | None) -> None:
        """A path that was looked at is not there any more, or is no file."""
        job = self._registry.take_back(spec.name, path)
        if job is not None:
            self._outcomes.vanish(job, "the file was removed, or something else has its name")
        elif known is not None and known.state is State.QUEUED:
            self._journal.submit(lambda ledger: ledger.vanished(known.job))

    def odd(self, spec: InboxSpec, path: str, kind: str) -> None:
        articles = {"fifo": "a named pipe", "symlink": "a symbolic link", "directory": "a folder"}
        what = articles.get(kind, f"a {kind}")
        self._log.warning(
            "file.ignored", inbox=spec.name, path=path, kind=kind, reason=f"{what} is not a picture"
        )

    def ignored(self, spec: InboxSpec, path: str, rule: str) -> None:
        self._log.debug(
            "file.ignored", inbox=spec.name, path=path, kind="file", reason="its name is ignored", rule=rule
        )

    def _new_job(self, spec: InboxSpec, settling: Settling) -> Job:
        assert settling.look.fingerprint is not None
        return Job(
            id=new_id(),
            inbox=spec.name,
            path=settling.path,
            fingerprint=settling.look.fingerprint,
            ctime_ns=0,
            changed_ns=0,
            queued_s=settling.first_seen_s,
            queued_at=time.time(),
            removable_after_s=0.0,
            want_digest=False,
        )

    def _resumed(self, settling: Settling, known: Known | None, spec: InboxSpec) -> Job | None:
        """Return the job that the ledger has open for this very file, e.g. after a restart."""
        if known is None or known.state is not State.QUEUED:
            return None
        fingerprint = settling.look.fingerprint
        assert fingerprint is not None
        if (fingerprint.size, fingerprint.mtime_ns) != (known.identity.size, known.identity.mtime_ns):
            self._journal.submit(lambda ledger: ledger.vanished(known.job))  # another file has its name now
            return None
        job = self._new_job(spec, settling)
        job.id, job.queued_at = known.job, known.queued_at
        job.attempt, job.deaths, job.suspicion = known.attempts, known.deaths, known.suspicion
        return job

    def _refresh(self, job: Job, settling: Settling, ready: Ready) -> None:
        """Take over what the newest look saw."""
        fingerprint = settling.look.fingerprint
        assert fingerprint is not None
        job.fingerprint, job.ctime_ns = fingerprint, settling.look.ctime_ns
        job.changed_ns = max(fingerprint.mtime_ns, settling.look.ctime_ns)
        job.removable_after_s = ready.removable_after_s
        keeps = self._inboxes[job.inbox].spec.on_success == "keep"
        job.want_digest = keeps or ready.removable_after_s > self._loop.clock()
        job.touched = None
