"""How workers are made from the settings: their functions, their sandbox, their memory."""

from dataclasses import replace
from typing import Final

from procwatch.dispatch.loop import Loop
from procwatch.model import InboxSpec
from procwatch.pool.admission import Budget
from procwatch.pool.pool import Events, ProcessWorkerPool
from procwatch.pool.ports import WorkerEntry
from procwatch.service_sandbox import plan_sandbox, staging_maker
from procwatch.settings.values import Settings
from procwatch.worker import entry
from procwatch.worker.limits import MemoryBounds

#: Resident memory of a worker between jobs: measured 50 MiB, and up to 96 MiB that its heap keeps for the next picture.
_IDLE_WORKER_BYTES: Final = 152 * 1024**2


def make_pool(settings: Settings, usable: list[InboxSpec], loop: Loop, events: Events) -> ProcessWorkerPool:
    return ProcessWorkerPool(
        workers=settings.pool.workers,
        entry=worker_entry(settings, replace(settings, inboxes=tuple(usable))),
        post=loop.post,
        events=events,
        timeout_s=settings.pool.timeout_s,
        recycle_after_jobs=settings.pool.recycle_after_jobs,
        max_rss_growth_bytes=settings.pool.max_rss_growth_bytes,
    )


def worker_entry(settings: Settings, reachable: Settings) -> WorkerEntry:
    """Name the functions of a worker; they import what they need there, so the daemon never loads a decoder.

    `reachable` are the same settings with those inboxes only that a worker may touch.
    """
    used = tuple({spec.recipe: settings.recipes[spec.recipe] for spec in settings.inboxes}.values())
    memory = memory_budget(settings)
    bounds = MemoryBounds(budget_bytes=memory.total_bytes, grant_bytes=memory.grant_bytes)
    return WorkerEntry(
        start=entry.start,
        hello=entry.hello,
        run=entry.run,
        canary=entry.canary,
        start_args=(used, plan_sandbox(reachable), bounds),
        prepare=staging_maker(reachable),
        preload=entry.PRELOAD,
    )


def memory_budget(settings: Settings) -> Budget:
    """Return what running jobs may take: all that the workers may, without what they need when idle."""
    pool = settings.pool
    idle_bytes = pool.workers * _IDLE_WORKER_BYTES
    total_bytes = max(pool.memory_bytes - idle_bytes, pool.worker_memory_bytes)
    return Budget(total_bytes=total_bytes, grant_bytes=pool.worker_memory_bytes)
