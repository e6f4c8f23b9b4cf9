"""The heartbeat: tells systemd that the service is alive, as long as it makes progress, and what it does.

Withheld for stalls inside procwatch only: the loop (which does not come here then), the ledger's thread, a worker that
outlives its deadline. A stalled mount or a full disk is trouble that a restart cannot cure: that is for status and log.
"""

from collections.abc import Callable
from typing import Final

from procwatch.dispatch.journal import Journal
from procwatch.observe.notify import Notifier
from procwatch.pool.ports import WorkerPool
from procwatch.units import format_duration

#: A commit that takes longer than this hangs: SQLite itself gives up on a busy file after 5 s.
LEDGER_STALLED_S: Final = 60.0
#: A worker is killed at its deadline; one that is still there so much later cannot be killed.
WORKER_GRACE_S: Final = 30.0
_STATUS_EVERY_S: Final = 5.0
_EXTEND_EVERY_S: Final = 5.0
_EXTEND_BY_S: Final = 15.0


class Heartbeat:
    """Loop thread only; `beat` once a turn."""

    def __init__(
        self,
        *,
        notifier: Notifier,
        journal: Journal,
        pool: WorkerPool,
        status: Callable[[float], str],
        timeout_s: Callable[[], float],
    ) -> None:
        self._notifier = notifier
        self._journal = journal
        self._pool = pool
        self._status = status
        self._timeout_s = timeout_s
        self._ping_due_s = 0.0
        self._status_due_s = 0.0
        self._extend_due_s = 0.0

    def beat(self, now_s: float, *, stopping: bool) -> float | None:
        """Ping, tell the status, ask for time while stopping; return when to be called again at the latest."""
        if not self._notifier.active:
            return None
        due = [self._tell_status(now_s)]
        interval_s = self._notifier.watchdog_interval_s()
        if interval_s is not None:
            due.append(self._ping(now_s, interval_s / 3))
        if stopping:
            due.append(self._extend(now_s))
        return min(due)

    def stalled(self, now_s: float) -> str:
        """Return what inside procwatch does not move, "" when all is well."""
        if self._journal.busy_s(now_s) > LEDGER_STALLED_S:
            return "the ledger's thread"
        limit_s = self._timeout_s() + WORKER_GRACE_S
        late = next((slot for slot in self._pool.view(now_s) if slot.job and slot.busy_s > limit_s), None)
        return "" if late is None else f"worker {late.worker_pid}, past its deadline"

    def _ping(self, now_s: float, every_s: float) -> float:
        if now_s >= self._ping_due_s and not self.stalled(now_s):
            self._notifier.watchdog()
            self._ping_due_s = now_s + every_s
        return max(self._ping_due_s, now_s + every_s / 2)

    def _tell_status(self, now_s: float) -> float:
        if now_s >= self._status_due_s:
            self._status_due_s = now_s + _STATUS_EVERY_S
            text = self._status(now_s)
            if text != self._notifier.shown:  # a reload shows its own word for a while
                self._notifier.status(text)
        return self._status_due_s

    def _extend(self, now_s: float) -> float:
        """Stopping takes as long as running jobs may; systemd's own timeout must not cut it short."""
        if now_s >= self._extend_due_s:
            self._notifier.extend_timeout(_EXTEND_BY_S)
            self._extend_due_s = now_s + _EXTEND_EVERY_S
        return self._extend_due_s


def status_line(
    *, waiting: int, oldest_s: float | None, running: int, failed_today: int, trouble: str
) -> str:
    """Return what `systemctl status` shows: "12 waiting, oldest 4.0 s, 8 running, 3 failed today"."""
    parts = [f"{waiting} waiting"]
    if oldest_s is not None:
        parts.append(f"oldest {format_duration(oldest_s)}")
    parts += [f"{running} running", f"{failed_today} failed today"]
    return ", ".join(parts) + (f"; {trouble}" if trouble else "")
