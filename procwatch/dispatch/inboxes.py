"""The inboxes that are served: added, retired and added again without stopping running work."""

import os
from collections.abc import Callable, Iterator, Mapping

from procwatch.dispatch.backlog import Backlog
from procwatch.dispatch.housekeeping import Housekeeping, Keep, RoomEvents
from procwatch.dispatch.inbox_runtime import Collaborators, InboxRuntime
from procwatch.dispatch.job import RecipePlan
from procwatch.dispatch.lane import Lane
from procwatch.dispatch.registry import Registry
from procwatch.intake.lock import lock_folder
from procwatch.model import InboxSpec, State


class Inboxes(Mapping[str, InboxRuntime]):
    """Every inbox with work or watch, by name. Loop thread only."""

    def __init__(self, *, backlog: Backlog, registry: Registry, room: RoomEvents) -> None:
        self._backlog = backlog
        self._registry = registry
        self._room = room
        self._runtimes: dict[str, InboxRuntime] = {}
        self._keepers: dict[str, Housekeeping] = {}
        self._locks: dict[str, int] = {}
        self._leaving: dict[str, Callable[[], None]] = {}

    def __getitem__(self, name: str) -> InboxRuntime:
        return self._runtimes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._runtimes)

    def __len__(self) -> int:
        return len(self._runtimes)

    def lock(self, spec: InboxSpec) -> None:
        """Take the inbox for this daemon. Raises AlreadyRunningError or OSError."""
        if spec.name not in self._locks:
            self._locks[spec.name] = lock_folder(spec.path, "the inbox")

    def add(
        self, spec: InboxSpec, recipe: RecipePlan, shared: Collaborators, *, ledger_keep_s: float | None
    ) -> None:
        """Begin to serve a locked inbox."""
        runtime = InboxRuntime(spec, recipe, shared)
        self._runtimes[spec.name] = runtime
        keep = Keep(
            archive_s=spec.archive_keep_s,
            failed_s=spec.failed_keep_s,
            min_free_bytes=spec.min_free_bytes,
            ledger_s=ledger_keep_s,
        )
        self._keepers[spec.name] = Housekeeping(
            spec=spec,
            keep=keep,
            fs=shared.fs,
            journal=shared.journal,
            loop=shared.loop,
            lane=Lane(f"keep-{spec.name}", runtime.lane_error),
            events=self._room,
        )
        runtime.start()
        self._keepers[spec.name].start()

    def retire(self, name: str, then: Callable[[], None] = lambda: None) -> None:
        """Take nothing new from the inbox; when its running jobs are published, forget it and call `then`.

        What was queued stays in the inbox folder, for whoever serves it next.
        """
        runtime = self._runtimes[name]
        runtime.stop_intake()
        self._keepers.pop(name).close()
        self._backlog.drop_inbox(name)
        for job in self._registry.jobs():
            if job.inbox == name and job.state in (State.QUEUED, State.DONE, State.FAILED):
                self._registry.remove(job)
        self._leaving[name] = then

    def finish_leaving(self) -> None:
        """Once a turn: let go of retired inboxes that have nothing left to do."""
        for name, then in list(self._leaving.items()):
            if self._runtimes[name].is_finishing or any(job.inbox == name for job in self._registry.jobs()):
                continue
            del self._leaving[name]
            self._runtimes.pop(name).close(0.0)
            self._unlock(name)
            then()

    def stop_intake(self) -> None:
        """No more arrivals anywhere."""
        for keeper in self._keepers.values():
            keeper.close()
        for runtime in self._runtimes.values():
            runtime.stop_intake()

    def close(self, timeout_s: float) -> None:
        """End every lane and release the folders."""
        for runtime in self._runtimes.values():
            runtime.close(timeout_s)
        for name in list(self._locks):
            self._unlock(name)

    def _unlock(self, name: str) -> None:
        descriptor = self._locks.pop(name, None)
        if descriptor is not None:
            os.close(descriptor)
