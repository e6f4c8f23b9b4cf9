"""What the status snapshot says of a running daemon, made from the loop's state. Loop thread only, cheap.

Times are epoch seconds, not ages: an idle daemon's snapshot then stays the same and is not written again.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from procwatch.control.standing import pause_reason
from procwatch.dispatch.backlog import Backlog
from procwatch.dispatch.inbox_runtime import InboxRuntime
from procwatch.dispatch.registry import Registry
from procwatch.pool.ports import SlotView


class SnapshotMaker:
    """Remembers only when an inbox missed an event last."""

    def __init__(self, *, inboxes: Mapping[str, InboxRuntime], registry: Registry, backlog: Backlog) -> None:
        self._inboxes = inboxes
        self._registry = registry
        self._backlog = backlog
        self._missed: dict[str, tuple[int, float | None]] = {}

    def make(
        self,
        slots: Sequence[SlotView],
        *,
        state: str,
        pool_degraded: bool,
        now_s: float,
        wall_s: float,
    ) -> dict[str, Any]:
        """Return inboxes, slots, pool and failures."""
        to_wall_s = wall_s - now_s
        shown = [self._slot(slot, wall_s) for slot in slots]
        inboxes = [self._inbox(runtime, shown, to_wall_s, wall_s) for runtime in self._inboxes.values()]
        up = sum(slot.worker_pid is not None for slot in slots)
        return {
            "inboxes": inboxes,
            "slots": shown,
            "pool": {"size": len(slots), "up": up, "busy": sum(slot["path"] is not None for slot in shown)},
            "done": self._registry.done,
            "failed": self._registry.failed,
            "failures": list(self._registry.tally.failures),
            "degraded": [
                *_inbox_trouble(inboxes),
                *(["worker processes die of everything; nothing is handed out"] if pool_degraded else []),
                *(["no worker process is up"] if state == "running" and not up else []),
            ],
        }

    def _slot(self, slot: SlotView, wall_s: float) -> dict[str, Any]:
        job = self._registry.get(slot.job) if slot.job is not None else None
        return {
            "slot": slot.slot,
            "worker_pid": slot.worker_pid,
            "inbox": job.inbox if job else None,
            "path": job.path if job else None,
            "started_at_s": round(wall_s - slot.busy_s, 1) if job else None,
            "jobs": slot.jobs,
            "rss_bytes": slot.rss_bytes,
        }

    def _inbox(
        self, runtime: InboxRuntime, slots: Sequence[Mapping[str, Any]], to_wall_s: float, wall_s: float
    ) -> dict[str, Any]:
        spec, tally = runtime.spec, self._registry.tally
        settling = runtime.arrivals.settling
        queued = self._backlog.count(spec.name)
        retrying = self._registry.retrying(spec.name, settling)
        waits_s = [item.first_seen_s for item in settling.values()]
        oldest_queued_s = self._backlog.oldest_queued_s(spec.name)
        oldest_s = min([*waits_s, *([oldest_queued_s] if oldest_queued_s is not None else [])], default=None)
        done, failed = tally.today(spec.name)
        return {
            "name": spec.name,
            "path": spec.path,
            "mode": runtime.watch.mode,
            "watched": runtime.watch.is_watched,
            "lost_because": runtime.watch.lost_because or None,
            "starting": not runtime.installed,
            "paused": pause_reason(runtime, self._backlog),
            "waiting": queued + len(settling) + retrying,
            "queued": queued,
            "settling": len(settling),
            "retrying": retrying,
            "running": sum(slot["inbox"] == spec.name for slot in slots),
            "oldest_at_s": None if oldest_s is None else round(oldest_s + to_wall_s, 1),
            "done_today": done,
            "failed_today": failed,
            "per_minute": tally.per_minute(spec.name),
            **self._missed_of(runtime, wall_s),
            "sizes": None if runtime.sizes is None else runtime.sizes.to_json(),
        }

    def _missed_of(self, runtime: InboxRuntime, wall_s: float) -> dict[str, Any]:
        """Tell how many files only a scan found, and when the last of them was."""
        count, at_s = self._missed.get(runtime.spec.name, (0, None))
        if runtime.arrivals.missed != count:
            count, at_s = runtime.arrivals.missed, round(wall_s, 1)
            self._missed[runtime.spec.name] = (count, at_s)
        return {"missed": count, "missed_at_s": at_s}


def _inbox_trouble(inboxes: Sequence[Mapping[str, Any]]) -> list[str]:
    found = []
    for inbox in inboxes:
        if not inbox["watched"] and not inbox["starting"]:
            why = f": {inbox['lost_because']}" if inbox["lost_because"] else ""
            found.append(f"inbox {inbox['name']} cannot be watched{why}")
        if inbox["paused"]:
            found.append(f"inbox {inbox['name']} is paused: {inbox['paused']}")
    return found
