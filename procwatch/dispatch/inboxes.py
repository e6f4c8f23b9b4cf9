"""The inboxes that are served: added, retired and added again without stopping running work."""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial

from procwatch.dispatch.backlog import Backlog
from procwatch.dispatch.housekeeping import Housekeeping, Keep, RoomEvents
from procwatch.dispatch.inbox_runtime import Collaborators, InboxRuntime
from procwatch.dispatch.job import RecipePlan
from procwatch.dispatch.lane import Lane
from procwatch.dispatch.registry import Registry
from procwatch.dispatch.sizes import Measuring, own_folders
from procwatch.intake.door import Check, Door
from procwatch.model import InboxSpec, State


class Inboxes(Mapping[str, InboxRuntime]):
    """Every inbox with work or watch, by name. Loop thread only."""

    def __init__(
        self, *, backlog: Backlog, registry: Registry, room: RoomEvents, check: Check, state_dir: str = ""
    ) -> None:
        """Take what every inbox shares. `check` says what is wrong with the folders of one; it runs on its lane."""
        self._state_dir = state_dir
        self._backlog = backlog
        self._registry = registry
        self._room = room
        self._runtimes: dict[str, InboxRuntime] = {}
        self._keepers: dict[str, Housekeeping] = {}
        self._measuring: dict[str, Measuring] = {}
        self._check = check
        self._doors: dict[str, Door] = {}
        self._leaving: dict[str, Callable[[], None]] = {}

    def __getitem__(self, name: str) -> InboxRuntime:
        return self._runtimes[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._runtimes)

    def __len__(self) -> int:
        return len(self._runtimes)

    def lock(self, spec: InboxSpec) -> None:
        """Take the inbox for this daemon. Raises AlreadyRunningError or OSError."""
        if spec.name not in self._doors:
            door = Door(spec, self._check)
            door.lock()
            self._doors[spec.name] = door

    def add(
        self,
        spec: InboxSpec,
        recipe: RecipePlan,
        shared: Collaborators,
        *,
        ledger_keep_s: float | None,
        trouble: str = "",
    ) -> None:
        """Begin to serve an inbox; `trouble`: why it cannot be served yet. It is tried until it can.

        One of that name that is leaving still is let go of first.
        """
        if spec.name in self._leaving:
            self._leaving[spec.name] = partial(
                self.add, spec, recipe, shared, ledger_keep_s=ledger_keep_s, trouble=trouble
            )
            return
        door = self._doors.pop(spec.name, None) or Door(spec, self._check)
        runtime = InboxRuntime(spec, recipe, shared, door)
        self._runtimes[spec.name] = runtime
        keep = Keep(
            archive_s=spec.archive_keep_s,
            failed_s=spec.failed_keep_s,
            min_free_bytes=spec.min_free_bytes,
            ledger_s=ledger_keep_s,
        )
        lane = Lane(f"keep-{spec.name}", runtime.lane_error)
        self._measuring[spec.name] = Measuring(
            spec=spec,
            loop=shared.loop,
            lane=lane,
            apart=self._own_folders,
            is_inbox=door.is_inbox,
            tell=runtime.measured,
            wall_s=time.time,
        )
        self._keepers[spec.name] = Housekeeping(
            spec=spec,
            keep=keep,
            fs=shared.fs,
            journal=shared.journal,
            loop=shared.loop,
            lane=lane,
            is_inbox=door.is_inbox,
            events=self._room,
            apart=lambda: self._own_folders() | {self._state_dir},
        )
        runtime.start(trouble)
        self._keepers[spec.name].start()
        self._measuring[spec.name].start()

    def _own_folders(self) -> frozenset[str]:
        """Lanes ask it, too."""
        return own_folders(runtime.spec for runtime in list(self._runtimes.values()))

    def retire(self, name: str, then: Callable[[], None] = lambda: None) -> None:
        """Take nothing new from the inbox; when its running jobs are published, forget it and call `then`.

        What was queued stays in the inbox folder, for whoever serves it next. Asked again meanwhile, by another reload,
        the newest `then` counts.
        """
        if name in self._leaving:
            self._leaving[name] = then
            return
        runtime = self._runtimes[name]
        runtime.stop_intake()
        self._measuring.pop(name).close()
        self._keepers.pop(name).close()
        self._backlog.drop_inbox(name)
        for job in self._registry.jobs():
            if job.inbox == name and (job.state is State.QUEUED or self._registry.has_ended(job.id)):
                self._registry.remove(job)
        self._registry.drop_returning(name)
        self._leaving[name] = then

    def finish_leaving(self) -> None:
        """Once a turn: let go of retired inboxes that have nothing left to do."""
        for name, then in list(self._leaving.items()):
            if self._runtimes[name].finishing.is_busy or any(
                job.inbox == name for job in self._registry.jobs()
            ):
                continue
            del self._leaving[name]
            self._runtimes.pop(name).close(0.0)
            then()

    def stop_intake(self) -> None:
        """No more arrivals anywhere."""
        for measuring in self._measuring.values():
            measuring.close()
        for keeper in self._keepers.values():
            keeper.close()
        for runtime in self._runtimes.values():
            runtime.stop_intake()

    def close(self, timeout_s: float) -> None:
        """End every lane and release the folders; several that hang do not add up."""
        deadline_s = time.monotonic() + timeout_s
        for runtime in self._runtimes.values():
            runtime.close(max(deadline_s - time.monotonic(), 0.0))
        for door in self._doors.values():
            door.close()
