"""N slots presented as one submit(): who is idle, who is overdue, who must be replaced.

All state is touched on the dispatcher's thread only. Starting and ending a worker takes tens of milliseconds, so
each happens in a short thread of its own that posts its result back.

    dispatcher ── submit ──► idle slot ── executor of one ──► worker process
        ▲                                                        │
        └──────── post(_finished) ◄── future's callback ◄────────┘
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import Protocol

from procwatch.model import RenderFailed, RenderResult, RenderTask
from procwatch.pool.answers import BadAnswerError
from procwatch.pool.places import PATIENCE_S, Place, Turn
from procwatch.pool.ports import Death, Post, Report, Running, SlotView, WorkerEntry
from procwatch.pool.results import read_result
from procwatch.pool.slot import DEATH_S, IDLE_CHECK_S, Worker
from procwatch.pool.starting import Starter
from procwatch.pool.verdicts import Verdicts

#: A worker that died is replaced at once (50 ms); only one that could not even start waits, each time longer.
_RESTART_DELAY_S = 0.5
_RESTART_DELAY_MAX_S = 30.0
#: For so long after one worker's word had all of them replaced, others that say the same are replaced alone.
_STALE_AGAIN_S = 10.0
_STALE = "folders changed; the sandbox binds to the old ones"
_OUTDATED = -1  # a generation older than all
#: While a worker has so many tasks left, its answers wait for each other, so long at the most: a turn of the loop for
#: each was a third of what the loop took.
_ENOUGH = 2
_GATHER_S = 0.4
_NONE = -1  # the number of a call that never came to be
#: Rust and C++ libraries abort where Python raises MemoryError. An abort of a job that was expected to need more than
#: this part of its grant is taken for that.
_NEAR_THE_LIMIT = 0.5


class Events(Protocol):
    """What the pool tells about its processes; called on the dispatcher's thread."""

    def worker_started(self, slot: int, worker: Worker) -> None: ...
    def worker_lost(
        self, slot: int, worker_pid: int | None, exit_text: str, reason: str, job: str | None
    ) -> None: ...
    def worker_recycled(self, slot: int, worker: Worker, reason: str) -> None: ...
    def capacity_changed(self) -> None: ...
    def pool_degraded(self, reason: str, deaths: int) -> None: ...
    def pool_recovered(self, seconds: float) -> None: ...


class ProcessWorkerPool:
    """The real WorkerPool: one slot a worker, forkserver processes."""

    def __init__(
        self,
        *,
        workers: int,
        entry: WorkerEntry,
        post: Post,
        events: Events,
        timeout_s: float,
        recycle_after_jobs: int = 2000,
        max_rss_growth_bytes: int = 300 * 1024**2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._slots = [Place(number) for number in range(1, workers + 1)]
        self._post = post
        self._events = events
        self._timeout_s = timeout_s
        self._recycle_after_jobs = recycle_after_jobs
        self._max_rss_growth_bytes = max_rss_growth_bytes
        self._clock = clock
        self._renewal = ""  # why workers of an older generation are replaced
        self._renew_all_at_s = 0.0  # before it a worker that says "sandbox-stale" is replaced alone
        self._starter = Starter(entry, parent=self, post=post)
        self._verdicts = Verdicts(starter=self._starter, listener=events, post=post, clock=clock)

    @property
    def size(self) -> int:
        return len(self._slots)

    @property
    def idle(self) -> int:
        return sum(slot.is_idle for slot in self._slots) if self._verdicts.may_hand_out else 0

    @property
    def ahead(self) -> int:
        now_s = self._clock()
        return sum(slot.ahead(now_s) for slot in self._slots) if self._verdicts.may_hand_out else 0

    @property
    def room(self) -> int:
        now_s = self._clock()
        return self.idle + sum(slot.room(now_s) for slot in self._slots) if self._verdicts.may_hand_out else 0

    @property
    def is_degraded(self) -> bool:
        return self._verdicts.is_degraded

    def start(self) -> None:
        for slot in self._slots:
            self._start_worker(slot)

    def submit(self, task: RenderTask) -> Running:
        now_s = self._clock()
        slot = next((slot for slot in self._slots if slot.is_idle), None)
        slot = slot or max(self._slots, key=lambda slot: slot.room(now_s))
        worker = slot.worker
        assert worker is not None
        if not slot.turns:
            worker.busy_since_s = now_s
        turn = Turn(number=_NONE, task=task, future=Running(slot.number, worker.pid))
        slot.turns.append(turn)
        try:
            turn.number, inner = worker.submit(self._starter.entry, task)
        except BrokenProcessPool:
            self._post(self._lost, slot, worker)
        else:
            inner.add_done_callback(partial(self._answered, slot, worker))
        return turn.future

    def _answered(self, slot: Place, worker: Worker, inner: "Future[bytes]") -> None:
        """The executor's thread: keep the answer, and wake the loop unless the worker has enough to do."""
        worker.answers.append((inner, self._clock()))
        worker.answered += 1
        if worker.unanswered < _ENOUGH or inner.exception() is not None:
            self._post(self._collect, slot, worker)

    def _collect(self, slot: Place, worker: Worker) -> None:
        """Handle what the worker has answered, in its order."""
        while worker.answers:
            self._finished(slot, worker, *worker.answers.popleft())

    def tick(self, now_s: float) -> float | None:
        due = [now_s + IDLE_CHECK_S] if any(slot.is_idle for slot in self._slots) else []
        for slot in list(self._slots):
            if slot.restart_at_s is not None:
                if now_s >= slot.restart_at_s:
                    self._start_worker(slot)
                else:
                    due.append(slot.restart_at_s)
            elif slot.worker is not None and slot.turns:
                due.append(self._watch(slot, slot.worker, now_s))
            elif slot.worker is not None and slot.worker.died_idle(now_s):
                self._replace_lost(slot, slot.worker)
        canary_s = self._verdicts.tick(now_s)
        if canary_s is not None:
            due.append(canary_s)
        return min(due, default=None)

    def revoke(self) -> None:
        for slot in self._slots:
            if slot.has_begun:  # else the first of its turns would come back, too: a worker has it already
                slot.revoke()

    def abandon(self, job: str) -> None:
        for slot in self._slots:
            if slot.worker is None or not any(turn.task.job == job for turn in slot.turns):
                continue
            slot.revoke()
            if slot.turns[0].task.job == job and not slot.turns[0].revoked:
                slot.worker.kill("abandoned")

    def renew(self, reason: str, entry: WorkerEntry | None = None) -> None:
        self._starter.renew(entry)
        self._renewal = reason
        for slot in self._slots:
            slot.revoke()  # it would be done by the old worker
            if slot.worker is not None:
                self._recycle_if_due(slot, slot.worker)

    def resize(self, workers: int, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        kept = sorted(self._slots, key=lambda slot: slot.number)[:workers]
        for slot in list(self._slots):
            if slot in kept:
                slot.leaving = False
            else:
                self._remove(slot)
        taken = {slot.number for slot in self._slots}
        for number in (n for n in range(1, workers + 1) if n not in taken):
            slot = Place(number)
            self._slots.append(slot)
            self._start_worker(slot)

    def _remove(self, slot: Place) -> None:
        """Let a slot go: at once when it is idle, else after its job."""
        slot.leaving = True
        slot.revoke()
        if slot.worker is not None and not slot.turns:
            self._let_go(slot, slot.worker)
        elif slot.worker is None and not slot.turns:
            self._slots.remove(slot)  # a worker that is being started for it is ended when it reports

    def _let_go(self, slot: Place, worker: Worker) -> None:
        slot.worker = None
        self._slots.remove(slot)
        self._events.worker_recycled(slot.number, worker, "the pool has fewer workers now")
        self._starter.end(worker)

    def view(self, now_s: float) -> list[SlotView]:
        return [slot.view(now_s) for slot in self._slots]

    def stop(self) -> None:
        """Kill every worker, busy or not, and wait until none is left that can die. A pending future ends as stopped."""
        born = self._starter.stop()
        workers = born | {slot.worker for slot in self._slots if slot.worker is not None}
        for worker in workers:
            worker.kill("stopped")
        until_s = time.monotonic() + DEATH_S
        for worker in workers:
            worker.close(max(until_s - time.monotonic(), 0.0))
        for slot in self._slots:
            self._answer_stopped(slot)
        self._verdicts.stop()

    def _answer_stopped(self, slot: Place) -> None:
        worker, slot.worker = slot.worker, None
        turns = [turn for turn in slot.turns if not turn.revoked]
        slot.turns.clear()
        if worker is None:
            return
        for turn in turns:
            death = Death(kind="stopped", exit="SIGKILL", started=worker.has_begun(turn.number))
            turn.future.set_result(self._report(slot, worker, self._clock(), death=death))

    def _watch(self, slot: Place, worker: Worker, now_s: float) -> float:
        """Look after a busy worker; return when to look again."""
        self._collect(slot, worker)
        if slot.worker is not worker or not slot.turns:
            return now_s + IDLE_CHECK_S
        if not worker.is_being_buried and worker.is_cut_off:
            self._lost(slot, worker)
            return now_s + IDLE_CHECK_S
        again_s = self._watch_deadline(slot, worker, now_s)
        return min(again_s, now_s + _GATHER_S) if len(slot.turns) > _ENOUGH else again_s

    def _watch_deadline(self, slot: Place, worker: Worker, now_s: float) -> float:
        """Kill the worker if its task is overdue, and do without it if it cannot even die; return when to look again."""
        if worker.kill_reason:
            worker.killed_s = min(worker.killed_s, now_s)
            if now_s >= worker.killed_s + DEATH_S and not worker.is_given_up:
                worker.is_given_up = True
                self._lost(slot, worker)
            return now_s + IDLE_CHECK_S
        patience_s = worker.busy_since_s + PATIENCE_S
        if len(slot.turns) > 1 and now_s > patience_s:
            slot.revoke()
        deadline_s = worker.busy_since_s + self._timeout_s
        if now_s < deadline_s:
            return deadline_s if len(slot.turns) == 1 or now_s > patience_s else patience_s
        worker.kill("timeout")
        return now_s + IDLE_CHECK_S

    def _finished(self, slot: Place, worker: Worker, inner: "Future[bytes]", at_s: float) -> None:
        """A worker answered the first of its turns: they come in their order."""
        if slot.worker is not worker or worker.is_being_buried:
            return  # the pool was stopped, and the future has its answer; or the first to fail has told
        if inner.exception() is not None:
            self._lost(slot, worker)
            return
        turn = slot.turns[0]
        if not turn.revoked:
            try:
                result, rss_bytes = read_result(inner.result())
            except BadAnswerError:  # as good as dead
                self._lost(slot, worker)
                return
            late = partial(worker.digest_of, turn.number) if turn.task.digest_later else None
            report = self._report(slot, worker, at_s, result=result, late_digest=late)
            worker.release(rss_bytes, report.run_s)
            self._renew_if_stale(worker, result)
            self._verdicts.worked()
        slot.turns.popleft()
        worker.busy_since_s = at_s
        self._recycle_if_due(slot, worker)
        if not turn.revoked:
            turn.future.set_result(report)

    def _report(
        self,
        slot: Place,
        worker: Worker,
        ended_s: float,
        *,
        result: RenderResult | None = None,
        death: Death | None = None,
        late_digest: Callable[[], str | None] | None = None,
    ) -> Report:
        return Report(
            slot=slot.number,
            worker_pid=worker.pid,
            run_s=ended_s - worker.busy_since_s,
            result=result,
            death=death,
            late_digest=late_digest,
        )

    def _renew_if_stale(self, worker: Worker, result: RenderResult) -> None:
        """What one worker's sandbox no longer fits, no other's of its generation does; but it may lie, again and again."""
        stale = isinstance(result, RenderFailed) and result.code == "sandbox-stale"
        if not stale or worker.generation != self._starter.generation:
            return
        now_s = self._clock()
        if now_s >= self._renew_all_at_s:
            self._renew_all_at_s = now_s + _STALE_AGAIN_S
            self.renew(_STALE)
        else:
            worker.generation, self._renewal = _OUTDATED, self._renewal or _STALE

    def _recycle_if_due(self, slot: Place, worker: Worker) -> None:
        """Replace a worker that has done enough or grown too much; it stays out of `idle` from here on."""
        if slot.turns:
            return  # not before it has done what it has
        growth_bytes = worker.rss_bytes - worker.first_rss_bytes
        if slot.leaving:
            self._let_go(slot, worker)
            return
        reason = ""
        if worker.generation != self._starter.generation:
            reason = self._renewal
        elif worker.jobs >= self._recycle_after_jobs:
            reason = f"{worker.jobs} jobs done"
        elif growth_bytes > self._max_rss_growth_bytes:
            reason = "resident memory grew"
        if reason and not self._starter.is_stopping:
            slot.worker = None
            self._events.worker_recycled(slot.number, worker, reason)
            self._start_worker(slot, old=worker)

    def _lost(self, slot: Place, worker: Worker) -> None:
        """A worker is gone while it had tasks: find out how, then answer their futures."""
        if not worker.is_being_buried:
            worker.is_being_buried = True
            self._starter.in_thread(self._close_lost, slot, worker)

    def _close_lost(self, slot: Place, worker: Worker) -> None:
        """Thread: reap the dead worker. One that was given up had its time to die."""
        worker.kill("crashed")  # the executor is broken: whatever may be left of the process is useless
        exit_text = worker.close(0.0 if worker.is_given_up else DEATH_S)
        self._post(self._bury, slot, worker, exit_text)

    def _bury(self, slot: Place, worker: Worker, exit_text: str) -> None:
        if slot.worker is not worker:
            return  # the pool was stopped meanwhile
        kind, first, waiting = worker.kill_reason, slot.turns[0], list(slot.turns)[1:]
        orphan = worker.is_orphan and kind == "crashed"
        started = worker.has_begun(first.number) and not orphan
        if exit_text == "SIGABRT" and kind == "crashed" and worker.pressure >= _NEAR_THE_LIMIT:
            kind = "out-of-memory"
        reason = "lost with the fork server" if orphan else kind
        job = None if first.revoked else first.task.job
        self._events.worker_lost(slot.number, worker.pid, exit_text, reason, job)
        slot.worker = None
        slot.turns.clear()
        for turn in waiting:
            if not turn.revoked:
                turn.revoke()
        if not first.revoked:
            death = Death(kind=kind, exit=exit_text, started=started)
            report = self._report(slot, worker, self._clock(), death=death)
            self._verdicts.withhold(first.future, report)
        self._verdicts.note_loss(counts=not orphan and kind != "abandoned")
        self._start_worker(slot)

    def _replace_lost(self, slot: Place, worker: Worker) -> None:
        """An idle worker died: nobody's fault, nothing lost."""
        slot.worker = None
        self._start_worker(slot, old=worker, died=True)

    # -- starting ---------------------------------------------------------------------------------

    def _start_worker(self, slot: Place, old: Worker | None = None, *, died: bool = False) -> None:
        slot.restart_at_s = None
        if slot.leaving and slot in self._slots:
            self._slots.remove(slot)
        elif not self._starter.is_stopping:
            self._starter.start(slot, old, died=died)

    def worker_started(self, slot: Place, worker: Worker) -> None:
        """Implements starting.Parent, as the next two."""
        if slot.leaving:
            self._starter.end(worker)
            return
        slot.worker, slot.failures = worker, 0
        self._events.worker_started(slot.number, worker)
        self._recycle_if_due(slot, worker)  # it may have been renewed while it started
        self._events.capacity_changed()

    def worker_failed_to_start(self, slot: Place, reason: str) -> None:
        self._events.worker_lost(slot.number, None, "unknown", f"did not start: {reason}", None)
        self._verdicts.note_loss()
        slot.failures += 1
        slot.restart_at_s = self._clock() + restart_delay_s(slot.failures)
        self._events.capacity_changed()

    def idle_worker_died(self, slot: Place, worker: Worker, exit_text: str) -> None:
        self._events.worker_lost(slot.number, worker.pid, exit_text, "died while idle", None)
        self._verdicts.note_loss()


def restart_delay_s(failures: int) -> float:
    """Return how long to wait after the n-th start in a row that failed (from 1)."""
    return min(_RESTART_DELAY_S * 2.0 ** min(failures - 1, 10), _RESTART_DELAY_MAX_S)
