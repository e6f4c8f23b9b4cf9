"""The dispatcher: the one thread that owns all state and decides what happens next. Here it hands out work.

watchdog threads ─┐                              ┌─ slot 1 ── worker
scanner threads  ─┼─► mailbox ─► this loop ──────┼─ slot 2 ── worker
lanes, futures   ─┤                 │            └─ slot N …
signal handlers  ─┘                 └──► lanes (publish, dispose), journal
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from structlog.typing import FilteringBoundLogger

from procwatch.dispatch import lines
from procwatch.dispatch.backlog import FINISHING, Backlog
from procwatch.dispatch.endings import Endings
from procwatch.dispatch.inbox_runtime import InboxRuntime
from procwatch.dispatch.job import Job
from procwatch.dispatch.journal import Journal, Ticket, as_os_error
from procwatch.dispatch.large import LargeJobs
from procwatch.dispatch.ledger import Ledger
from procwatch.dispatch.loop import Loop
from procwatch.dispatch.outcomes import Outcomes
from procwatch.dispatch.reception import Reception
from procwatch.dispatch.registry import Registry
from procwatch.model import (
    STAGING,
    Limits,
    Rendered,
    RenderTask,
    State,
)
from procwatch.pool.admission import Budget
from procwatch.pool.ports import Running, WorkerPool

#: Above this many jobs in memory scans pause; the folder itself is the queue for the rest.
HIGH_WATER: Final = 5000
LOW_WATER: Final = 1000
#: Above this many finished files of an inbox that its disk has not taken yet, none of its jobs is started.
UNFINISHED_MANY: Final = 200
UNFINISHED_FEW: Final = 100
#: A commit takes a tenth of this, and a disk that is slow holds nothing else up for longer.
_COMMIT_S: Final = 0.001


class Dispatcher:
    """Hands settled files to workers and passes on what becomes of them; `reception` takes what arrives."""

    def __init__(
        self,
        *,
        loop: Loop,
        pool: WorkerPool,
        journal: Journal,
        registry: Registry,
        endings: Endings,
        inboxes: Mapping[str, InboxRuntime],
        backlog: Backlog,
        limits: Limits,
        memory: Budget,
        log: FilteringBoundLogger,
    ) -> None:
        self._loop = loop
        self._pool = pool
        self._journal = journal
        self._registry = registry
        self._endings = endings
        self._inboxes = inboxes
        self._backlog = backlog
        self._log = log
        self._starting: dict[str, Job] = {}  # recorded as started, not yet with a worker
        self._running: dict[str, Job] = {}
        self._rendered: list[str] = []  # the ledger still calls them running
        self._large = LargeJobs(memory)
        self._outcomes = Outcomes(
            loop=loop,
            journal=journal,
            registry=registry,
            endings=endings,
            inboxes=inboxes,
            backlog=backlog,
            large=self._large,
            limits=limits,
            log=log,
        )
        self.reception = Reception(
            loop=loop,
            journal=journal,
            registry=registry,
            endings=endings,
            inboxes=inboxes,
            backlog=backlog,
            outcomes=self._outcomes,
            log=log,
        )

    def set_limits(self, limits: Limits, memory: Budget) -> None:
        """Take over other limits and another memory budget; running jobs keep theirs."""
        self._outcomes.limits = limits
        self._large.set_budget(memory)

    def stop(self) -> None:
        """Take no new work and start none; what lies ready behind another job comes back."""
        self._outcomes.stopping = True
        self._pool.revoke()

    @property
    def stopping(self) -> bool:
        return self._outcomes.stopping

    # -- state that others ask for ----------------------------------------------------------------

    @property
    def running(self) -> int:
        """Files that workers are at work on, or are about to be."""
        return min(self._handed_out, self._pool.size)

    @property
    def _handed_out(self) -> int:
        return len(self._running) + len(self._starting)

    @property
    def waiting(self) -> int:
        """Files known to be in the inboxes that no worker is at work on yet."""
        ahead = self._handed_out - self.running
        return len(self._backlog) + len(self._large) + self.awaited + ahead

    @property
    def awaited(self) -> int:
        """Files that are not read for now: they settle, or a retry of their job waits for them."""
        return sum(len(runtime.arrivals.settling) for runtime in self._inboxes.values()) + self.retrying

    @property
    def retrying(self) -> int:
        """Files whose job waits to run again and that do not settle meanwhile."""
        return sum(
            self._registry.retrying(name, runtime.arrivals.settling)
            for name, runtime in self._inboxes.items()
        )

    @property
    def left(self) -> int:
        """Files noticed whose job has not ended yet."""
        return self._registry.unended + self.awaited

    # -- handing out ------------------------------------------------------------------------------

    def tick(self, now_s: float) -> float | None:
        """Once a turn of the loop: give idle workers work."""
        again_s = self._pool.tick(now_s)
        self._wait_for_disks()  # before anything is handed out: what it lets go on has no other turn to wait for
        if not self.stopping:
            self._hand_out(now_s)
        logged_s = self._endings.flush_logged(now_s, at_once=self.stopping)
        self._press_back()
        return min((due_s for due_s in (again_s, logged_s) if due_s is not None), default=None)

    def _hand_out(self, now_s: float) -> None:
        """Give idle workers work, and busy ones their next, so that they need not wait for us."""
        idle = self._pool.idle
        jobs = self._take(idle - len(self._starting), lambda: self._next_job(now_s))
        if len(self._starting) >= idle and self._may_hand_ahead():
            jobs += self._take(idle + self._pool.ahead - len(self._starting), self._next_waiting)
        elif len(self._starting) < idle and len(self._running) > self._pool.size - idle:
            self._pool.revoke()  # a worker has nothing to do while others have something waiting
        if jobs:
            self._begin(jobs)

    def _may_hand_ahead(self) -> bool:
        """Not when somebody has to run alone, or waits for memory: what is handed out counts as running."""
        return bool(self._backlog) and not (
            self._large or self._backlog.has_suspects or self._suspect_running()
        )

    def _take(self, count: int, choose: Callable[[], Job | None]) -> list[Job]:
        """Choose up to so many jobs; they count as starting from here on."""
        jobs: list[Job] = []
        while len(jobs) < count and (job := choose()) is not None:
            self._starting[job.id] = job
            jobs.append(job)
        return jobs

    def _next_waiting(self) -> Job | None:
        return self._backlog.next(running=self._handed_out, suspect_running=self._suspect_running())

    def _next_job(self, now_s: float) -> Job | None:
        """Return what to run now: a large job that fits, else the next of the backlog that does."""
        self._large.keep(lambda job: self._registry.get(job.id) is job)
        held = self._holding_memory()
        if not self._suspect_running() and not self._backlog.has_suspects:
            large = self._large.take(held, now_s, self._may_run)
            if large is not None:
                return large
        if not self._large.lets_start(held, now_s, self._backlog.is_paused):
            return None
        return self._next_waiting()

    def _holding_memory(self) -> list[Job]:
        """Return what may be at work while a worker is idle; what lies ready takes the place of something."""
        handed_out = [*self._starting.values(), *self._running.values()]
        return sorted(handed_out, key=lambda job: -job.grant_bytes)[: self._pool.size - 1]

    def _may_run(self, job: Job) -> bool:
        return not self._backlog.is_paused(job.inbox) and (not job.suspicion or not self._handed_out)

    def _suspect_running(self) -> bool:
        return any(job.suspicion for jobs in (self._starting, self._running) for job in jobs.values())

    def _wait_for_disks(self) -> None:
        """Start no job of an inbox while its disk cannot keep up with the workers: what they made waits in memory."""
        for name, runtime in self._inboxes.items():
            if runtime.finishing.unfinished > UNFINISHED_MANY:
                self._backlog.pause(name, FINISHING)
            elif runtime.finishing.unfinished < UNFINISHED_FEW:
                self._backlog.resume(name, FINISHING)

    def _press_back(self) -> None:
        """Pause an inbox's scans while enough of it is in memory, so that a million waiting files cost none."""
        # What suspects made is published at once: whatever ends the daemon meanwhile is counted against them.
        may_gather = not (self.stopping or self._backlog.has_suspects or self._suspect_running())
        for name, runtime in self._inboxes.items():
            waiting = self._backlog.count(name)
            runtime.finishing.set_backlogged(backlogged=waiting > 0 and may_gather)
            count = waiting + len(runtime.arrivals.settling)
            runtime.set_backpressure(full=count > (LOW_WATER if runtime.is_full else HIGH_WATER))

    def _begin(self, jobs: list[Job]) -> None:
        """Record the attempts first; the workers get them when that is committed."""
        starts = [self._start(job) for job in jobs]
        rendered, self._rendered = self._rendered, []

        def write(ledger: Ledger) -> None:
            ledger.rendered(rendered)
            for start in starts:
                start(ledger)

        ticket = self._journal.submit(
            write,
            point="ledger.started",
            then=partial(self._loop.post, self._recorded, jobs),
        )
        if len(jobs) == 1:
            ticket.wait(_COMMIT_S)  # the journal has the GIL now instead of after this turn

    def _start(self, job: Job) -> Callable[[Ledger], None]:
        recipe = self._inboxes[job.inbox].recipe
        job.attempt += 1
        job.state = State.RUNNING
        return partial(
            Ledger.start_attempt,
            job=job.id,
            identity=job.identity,
            recipe=recipe.name,
            recipe_hash=recipe.hash,
            attempt=job.attempt,
            queued_at=job.queued_at,
        )

    def _recorded(self, jobs: list[Job], ticket: Ticket[None]) -> None:
        error = ticket.exception()
        for job in jobs:
            self._starting.pop(job.id)
            if error is not None:
                job.attempt -= 1
                job.state = State.QUEUED
                self._backlog.add(job)
                self._endings.pause_for(self._inboxes[job.inbox], as_os_error(error), stage="ledger")
            elif self.stopping or not self._pool.room:  # its worker died meanwhile
                job.attempt -= 1
                self._outcomes.put_back(job)
            else:
                self._submit(job)

    def _submit(self, job: Job) -> None:
        runtime = self._inboxes[job.inbox]
        job.started_s = self._loop.clock()
        is_alone = not self._backlog
        task = RenderTask(
            job=job.id,
            attempt=job.attempt,
            root=runtime.spec.path,
            path=job.path,
            fingerprint=job.fingerprint,
            recipe=runtime.recipe.payload,
            staging_root=f"{runtime.spec.outbox}/{STAGING}",
            limits=self._outcomes.limits,
            output_mode=runtime.spec.output_mode,
            want_digest=job.want_digest,
            digest_later=job.want_digest and is_alone,
            grant_bytes=job.grant_bytes,
        )
        self._running[job.id] = job
        running = self._pool.submit(task)
        self._log.debug(
            "job.started",
            **lines.about(job),
            worker_pid=running.worker_pid,
            slot=running.slot,
            attempt=job.attempt,
            recipe=runtime.recipe.name,
            wait_s=round(max(job.started_s - job.queued_s, 0.0), 3),
        )
        running.add_done_callback(partial(self._loop.post, self._reported, job))
        if is_alone:
            runtime.finishing.expect(job.path, runtime.recipe)

    def release_workers(self, inbox: str) -> None:
        """Take the workers away from the running jobs of an inbox whose file system hangs; nothing is charged."""
        for job in self._running.values():
            if job.inbox == inbox:
                self._pool.abandon(job.id)

    def _reported(self, job: Job, running: Running) -> None:
        del self._running[job.id]
        report = running.result()
        # Not when it was handed out: it may have waited behind another one at its worker.
        job.started_s = self._loop.clock() - report.run_s
        if isinstance(report.result, Rendered):
            self._rendered.append(job.id)
        self._outcomes.reported(job, report)
