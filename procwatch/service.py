"""The service: builds every room from the settings, wires them, runs, drains."""

import gc
import os
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from typing import Final

from procwatch import __version__
from procwatch.dispatch.loop import Loop
from procwatch.dispatch.registry import Registry
from procwatch.errors import ProcwatchError
from procwatch.intake.lock import lock_folder
from procwatch.model import InboxSpec
from procwatch.observe.log import Log
from procwatch.observe.notify import Notifier
from procwatch.pool.ports import WorkerEntry
from procwatch.reload import Reloader
from procwatch.service_rooms import Rooms, plan_of
from procwatch.service_sandbox import refuse_without_sandbox
from procwatch.service_signals import signals_posted
from procwatch.service_workers import memory_budget, worker_entry
from procwatch.settings.folders import UnusableInbox, prepare
from procwatch.settings.values import Settings

#: Made and not freed since the last look, before the collector of cycles looks again.
_NEW_OBJECTS: Final = 10_000


class Service:
    """One daemon, from start to stop."""

    def __init__(
        self,
        settings: Settings,
        log: Log,
        *,
        prepared: tuple[list[InboxSpec], list[UnusableInbox]] | None = None,
        on_turn: Callable[["Service"], float | None] | None = None,
    ) -> None:
        """Take what `prepare(settings)` has found, if that was done before; it can wait for a dead mount.

        `on_turn` is called at every turn of the loop, and again after the seconds that it returns at the latest.
        """
        self.settings = settings
        self._prepared = prepared
        self._log_owner = log
        self._log = log.logger
        self._on_turn = on_turn
        self._loop = Loop()
        self._registry = Registry()
        self._notifier = Notifier()
        self._state_lock = -1
        self._began_s = time.monotonic()
        self._stop_reason = ""
        self._deadline_s = 0.0
        self.ready = False
        self.first_worker = False
        self._rooms: Rooms  # from run() on
        self._reloader = Reloader(target=self, post=self._loop.post, notifier=self._notifier, log=self._log)

    # -- what others may ask ----------------------------------------------------------------------

    @property
    def registry(self) -> Registry:
        return self._registry

    @property
    def waiting(self) -> int:
        return self._rooms.dispatcher.waiting

    @property
    def running(self) -> int:
        return self._rooms.dispatcher.running

    @property
    def is_stopping(self) -> bool:
        return bool(self._stop_reason)

    @property
    def stop_reason(self) -> str:
        """Why it stops or stopped: the name of a signal, or what `stop` was given; "" while it runs."""
        return self._stop_reason

    @property
    def left(self) -> int:
        """Files in work or waited for, as far as they are in memory."""
        return self._rooms.dispatcher.left

    @property
    def is_drained(self) -> bool:
        """Whether nothing is queued, running or on its way out; files may still be settling."""
        return self.is_idle and not self.settling and not self.retrying

    @property
    def is_idle(self) -> bool:
        """Whether nothing moves, but for files that are waited for."""
        return (
            self.ready
            and not self._rooms.dispatcher.running
            and not len(self._rooms.backlog)
            and not len(self._registry)
            and not any(runtime.is_busy for runtime in self._rooms.inboxes.values())
        )

    @property
    def settling(self) -> int:
        """Files that are waited for: still changing, or perhaps not all there."""
        return self._rooms.dispatcher.awaited - self.retrying

    @property
    def retrying(self) -> int:
        """Files whose job waits to run again."""
        return self._rooms.dispatcher.retrying

    # -- life -------------------------------------------------------------------------------------

    def run(self) -> int:
        """Run until stopped; return the exit code. Raises ProcwatchError when it cannot start."""
        refuse_without_sandbox(self.settings)
        usable, unusable = self._prepared or prepare(self.settings)
        self._state_lock = lock_folder(self.settings.state_dir, "the state folder")
        try:
            self._rooms = Rooms(
                self,
                usable=usable,
                loop=self._loop,
                registry=self._registry,
                notifier=self._notifier,
                log=self._log_owner,
            )
            for spec in usable:
                self._rooms.inboxes.lock(spec)
            self._announce(usable)
            with signals_posted(self, self._loop.post):
                self._rooms.pool.start()
                for spec, trouble in [*((spec, "") for spec in usable), *unusable]:
                    self.add_inbox(spec, trouble)
                self._rooms.panel.start()
                self._rooms.reporting.listen(self.settings.metrics.listen)
                _leave_garbage_longer()
                self._loop.run(self._turn)
            return 0
        finally:
            self._close()

    def stop(self, reason: str) -> None:
        """Take no new work, let running jobs finish within the grace, then end. Loop thread, or posted."""
        if self._stop_reason:
            return
        self._stop_reason = reason
        self._deadline_s = self._loop.clock() + self.settings.stop_timeout_s
        self._rooms.dispatcher.stop()
        self._notifier.stopping(f"stopping: {reason}")
        self._log.info(
            "service.stopping",
            reason=reason,
            running=self._rooms.dispatcher.running,
            timeout_s=self.settings.stop_timeout_s,
        )
        self._rooms.inboxes.stop_intake()
        self._loop.post(_nothing)  # the loop may be asleep, or about to be

    # -- reload.Target ----------------------------------------------------------------------------

    def add_inbox(self, spec: InboxSpec, trouble: str = "") -> None:
        """Serve an inbox; one with trouble is degraded, and served as soon as that is over."""
        if not trouble:
            try:
                self._rooms.inboxes.lock(spec)
            except (OSError, ProcwatchError) as error:
                if not self.ready:
                    raise
                trouble = str(error)
        # Recovery of an inbox that was served before must see which lines are written.
        self._rooms.endings.flush_logged(self._loop.clock(), at_once=True)
        plan = plan_of(self.settings.recipes[spec.recipe])
        keep_s = self.settings.ledger_keep_s
        self._rooms.inboxes.add(spec, plan, self._rooms.shared, ledger_keep_s=keep_s, trouble=trouble)

    def retire_inbox(self, name: str, then: Callable[[], None]) -> None:
        self._rooms.inboxes.retire(name, then)

    def set_recipes(self) -> None:
        """Jobs from here on are rendered by the new recipes; running ones keep theirs."""
        recipes = {spec.name: spec.recipe for spec in self.settings.inboxes}
        for name, runtime in self._rooms.inboxes.items():
            if name in recipes:
                runtime.recipe = plan_of(self.settings.recipes[recipes[name]])

    def set_reporting(self) -> None:
        self._rooms.reporting.configure(self.settings)

    def set_pool(self) -> None:
        """Grow or shrink the pool; new folders and recipes need workers that know them."""
        pool = self.settings.pool
        self._rooms.dispatcher.set_limits(self.settings.limits, memory_budget(self.settings))
        self._rooms.pool.renew("the configuration was reloaded", self._entry())
        self._rooms.pool.resize(pool.workers, timeout_s=pool.timeout_s)
        self._rooms.shared = replace(self._rooms.shared, slots=pool.workers)

    def count_worker_lost(self) -> None:
        self._rooms.reporting.worker_lost()

    def renew_workers(self, reason: str) -> None:
        """A folder was replaced: the sandbox of the workers is bound to the old one."""
        if self.settings.pool.sandbox != "off":
            self._rooms.pool.renew(reason, self._entry())

    def do_without(self, inbox: str) -> None:
        """The file system of an inbox hangs: give its workers to the others, and new ones must not touch it."""
        self._rooms.pool.renew(f"the file system of inbox {inbox} does not answer", self._entry())
        self._rooms.dispatcher.release_workers(inbox)

    def _entry(self) -> WorkerEntry:
        """Return how workers start now: a worker opens the folders of every inbox, but for those that hang."""
        silent = {name for name, runtime in self._rooms.inboxes.items() if runtime.pulse.is_silent}
        kept = tuple(spec for spec in self.settings.inboxes if spec.name not in silent)
        return worker_entry(self.settings, replace(self.settings, inboxes=kept))

    def _announce(self, usable: list[InboxSpec]) -> None:
        self._log.info(
            "service.started",
            version=__version__,
            pid=os.getpid(),
            python=platform.python_version(),
            config=self.settings.source,
            inboxes=[spec.name for spec in usable],
            workers=self.settings.pool.workers,
            state_dir=self.settings.state_dir,
            pillow=metadata.version("pillow"),
        )

    # -- turns of the loop ------------------------------------------------------------------------

    def _turn(self, now_s: float) -> float | None:
        again_s = self._rooms.dispatcher.tick(now_s)
        self._rooms.inboxes.finish_leaving()
        if not self.ready:
            self._check_ready()
        if self._stop_reason:
            again_s = self._check_stopped(now_s, again_s)
        beat_s = self._rooms.heartbeat.beat(now_s, stopping=self.is_stopping)
        self._rooms.panel.turn(now_s, self._state)
        self._rooms.reporting.turn(now_s)
        self._log_owner.flush()
        look_s = self._on_turn(self) if self._on_turn is not None else None
        shown_s = None if look_s is None else now_s + look_s
        return min((due_s for due_s in (again_s, beat_s, shown_s) if due_s is not None), default=None)

    @property
    def _state(self) -> str:
        if self._stop_reason:
            return "stopping"
        return "running" if self.ready else "starting"

    def _check_ready(self) -> None:
        if self.first_worker and all(
            runtime.installed or runtime.watch.is_lost or runtime.pulse.is_silent
            for runtime in self._rooms.inboxes.values()
        ):
            self.ready = True
            self._notifier.ready("watching")
            self._log.info("service.ready", seconds=round(time.monotonic() - self._began_s, 3))

    def _check_stopped(self, now_s: float, again_s: float | None) -> float | None:
        busy = self._rooms.dispatcher.running or any(
            runtime.finishing.is_busy for runtime in self._rooms.inboxes.values()
        )
        if not busy or now_s >= self._deadline_s:
            self._loop.stop()
        return self._deadline_s if again_s is None else min(again_s, self._deadline_s)

    # -- service_signals.Target -------------------------------------------------------------------

    def reload(self) -> None:
        """Read the configuration again."""
        self._reloader.request()

    def reopen_log(self) -> None:
        """Write to a log file of the same name, which may be another one by now."""
        self._log_owner.reopen()

    # -- the end ----------------------------------------------------------------------------------

    def _close(self) -> None:
        if hasattr(self, "_rooms"):
            self._rooms.close(is_orderly=self.is_stopping)
        os.close(self._state_lock)
        if self._stop_reason:
            self._log.info(
                "service.stopped",
                seconds=round(time.monotonic() - self._began_s, 3),
                done=self._registry.done,
                failed=self._registry.failed,
                waiting=self._rooms.dispatcher.waiting,
                log_lines_lost=self._log_owner.dropped,
            )


def _nothing() -> None:
    """Wake the loop."""


def _leave_garbage_longer() -> None:
    """Have the collector of cycles look at what is new only, and less often: we make next to none.

    By default it went over all that was imported again and again, for a third of the loop's time: 0.62 ms a file at 49
    photos a second became 0.44 ms.
    """
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, 10, 10)
