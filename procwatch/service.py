"""The service: builds every room from the settings, wires them, runs, drains."""

import contextlib
import gc
import os
import platform
import signal
import sqlite3
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import metadata
from types import FrameType
from typing import Any, Final

from procwatch import __version__
from procwatch.control.panel import Panel
from procwatch.delivery.fsops import RealFs
from procwatch.dispatch.backlog import Backlog
from procwatch.dispatch.dispatcher import Dispatcher
from procwatch.dispatch.endings import Endings
from procwatch.dispatch.inbox_runtime import Collaborators
from procwatch.dispatch.inboxes import Inboxes
from procwatch.dispatch.job import RecipePlan
from procwatch.dispatch.journal import Journal
from procwatch.dispatch.ledger import LEDGER_NAME, LedgerReader
from procwatch.dispatch.ledger_open import open_ledger
from procwatch.dispatch.loop import Loop
from procwatch.dispatch.registry import Registry
from procwatch.errors import EXIT_INTERRUPTED, NoInboxError, ProcwatchError
from procwatch.heartbeat import Heartbeat, status_line
from procwatch.imaging.codecs import extensions_of
from procwatch.intake.lock import lock_folder
from procwatch.model import InboxSpec, ids_start_after
from procwatch.observe.log import Log
from procwatch.observe.notify import Notifier
from procwatch.pool.ports import WorkerEntry
from procwatch.reload import Reloader
from procwatch.reporting import Reporting
from procwatch.service_events import ServiceEvents
from procwatch.service_sandbox import refuse_without_sandbox
from procwatch.service_workers import make_pool, memory_budget, worker_entry
from procwatch.settings.folders import UnusableInbox, inbox_problem, prepare
from procwatch.settings.values import Settings

#: After the grace for running jobs is over, the finishing lanes get this long to end what they have.
_LANE_GRACE_S: Final = 5.0
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
        self._hangup_stops = False
        self._deadline_s = 0.0
        self.ready = False
        self.first_worker = False
        self._reloader = Reloader(target=self, post=self._loop.post, notifier=self._notifier, log=self._log)

    # -- what others may ask ----------------------------------------------------------------------

    @property
    def registry(self) -> Registry:
        return self._registry

    @property
    def waiting(self) -> int:
        return self._dispatcher.waiting

    @property
    def running(self) -> int:
        return self._dispatcher.running

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
        return self._dispatcher.left

    @property
    def is_drained(self) -> bool:
        """Whether nothing is queued, running or on its way out; files may still be settling."""
        return self.is_idle and not self.settling and not self.retrying

    @property
    def is_idle(self) -> bool:
        """Whether nothing moves, but for files that are waited for."""
        return (
            self.ready
            and not self._dispatcher.running
            and not len(self._backlog)
            and not len(self._registry)
            and not any(runtime.is_busy for runtime in self._inboxes.values())
        )

    @property
    def settling(self) -> int:
        """Files that are waited for: still changing, or perhaps not all there."""
        return self._dispatcher.awaited - self.retrying

    @property
    def retrying(self) -> int:
        """Files whose job waits to run again."""
        return self._dispatcher.retrying

    # -- life -------------------------------------------------------------------------------------

    def run(self) -> int:
        """Run until stopped; return the exit code. Raises ProcwatchError when it cannot start."""
        refuse_without_sandbox(self.settings)
        usable, unusable = self._prepared or prepare(self.settings)
        self._state_lock = lock_folder(self.settings.state_dir, "the state folder")
        try:
            self._build(usable)
            for spec in usable:
                self._inboxes.lock(spec)
            self._announce(usable)
            with self._signals():
                self._pool.start()
                for spec, trouble in [*((spec, "") for spec in usable), *unusable]:
                    self.add_inbox(spec, trouble)
                self._panel.start()
                self._reporting.listen(self.settings.metrics.listen)
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
        self._dispatcher.stop()
        self._notifier.stopping(f"stopping: {reason}")
        self._log.info(
            "service.stopping",
            reason=reason,
            running=self._dispatcher.running,
            timeout_s=self.settings.stop_timeout_s,
        )
        self._inboxes.stop_intake()
        self._loop.post(_nothing)  # the loop may be asleep, or about to be

    # -- reload.Target ----------------------------------------------------------------------------

    def add_inbox(self, spec: InboxSpec, trouble: str = "") -> None:
        """Serve an inbox; one with trouble is degraded, and served as soon as that is over."""
        if not trouble:
            try:
                self._inboxes.lock(spec)
            except (OSError, ProcwatchError) as error:
                if not self.ready:
                    raise
                trouble = str(error)
        # Recovery of an inbox that was served before must see which lines are written.
        self._endings.flush_logged(self._loop.clock(), at_once=True)
        plan = _plan(self.settings.recipes[spec.recipe])
        keep_s = self.settings.ledger_keep_s
        self._inboxes.add(spec, plan, self._shared, ledger_keep_s=keep_s, trouble=trouble)

    def retire_inbox(self, name: str, then: Callable[[], None]) -> None:
        self._inboxes.retire(name, then)

    def set_recipes(self) -> None:
        """Jobs from here on are rendered by the new recipes; running ones keep theirs."""
        recipes = {spec.name: spec.recipe for spec in self.settings.inboxes}
        for name, runtime in self._inboxes.items():
            if name in recipes:
                runtime.recipe = _plan(self.settings.recipes[recipes[name]])

    def set_reporting(self) -> None:
        self._reporting.configure(self.settings)

    def set_pool(self) -> None:
        """Grow or shrink the pool; new folders and recipes need workers that know them."""
        pool = self.settings.pool
        self._dispatcher.set_limits(self.settings.limits, memory_budget(self.settings))
        self._pool.renew("the configuration was reloaded", self._entry())
        self._pool.resize(pool.workers, timeout_s=pool.timeout_s)
        self._shared: Collaborators = replace(self._shared, slots=pool.workers)

    def count_worker_lost(self) -> None:
        self._reporting.worker_lost()

    def renew_workers(self, reason: str) -> None:
        """A folder was replaced: the sandbox of the workers is bound to the old one."""
        if self.settings.pool.sandbox != "off":
            self._pool.renew(reason, self._entry())

    def do_without(self, inbox: str) -> None:
        """The file system of an inbox hangs: give its workers to the others, and new ones must not touch it."""
        self._pool.renew(f"the file system of inbox {inbox} does not answer", self._entry())
        self._dispatcher.release_workers(inbox)

    def _entry(self) -> WorkerEntry:
        """Return how workers start now: a worker opens the folders of every inbox, but for those that hang."""
        silent = {name for name, runtime in self._inboxes.items() if runtime.pulse.is_silent}
        kept = tuple(spec for spec in self.settings.inboxes if spec.name not in silent)
        return worker_entry(self.settings, replace(self.settings, inboxes=kept))

    def _build(self, usable: list[InboxSpec]) -> None:
        """Wire every room; nothing runs yet."""
        settings = self.settings
        ledger_path = os.path.join(settings.state_dir, LEDGER_NAME)
        boot = _boot_id()
        try:
            ledger = open_ledger(ledger_path, self._tell_reset)
            last = ledger.last_run()
            ledger.begin_run(boot, os.getpid())
            ids_start_after(ledger.newest_job())
        except (OSError, sqlite3.OperationalError) as error:
            raise NoInboxError(
                f"cannot keep state in {settings.state_dir}: {error}",
                hint="make room on its disk, or name another folder as [state] dir",
            ) from None
        self._journal = Journal(ledger)
        events = ServiceEvents(self._log, self._loop.post, self)
        self._backlog = Backlog()
        self._inboxes = Inboxes(
            backlog=self._backlog, registry=self._registry, room=events, check=inbox_problem
        )
        self._pool = make_pool(settings, usable, self._loop, events)
        self._heartbeat = Heartbeat(
            notifier=self._notifier,
            journal=self._journal,
            pool=self._pool,
            status=self._status_line,
            timeout_s=lambda: self.settings.pool.timeout_s,
        )
        self._reporting = Reporting(
            settings=settings,
            loop=self._loop,
            inboxes=self._inboxes,
            registry=self._registry,
            backlog=self._backlog,
            pool=self._pool,
            journal=self._journal,
            log=self._log,
            lines_lost=lambda: self._log_owner.dropped,
        )
        self._endings = Endings(
            loop=self._loop,
            journal=self._journal,
            registry=self._registry,
            inboxes=self._inboxes,
            log=self._log,
            pause=lambda runtime: self._backlog.pause(runtime.spec.name),
            resume=lambda runtime: self._backlog.resume(runtime.spec.name),
            on_ended=self._reporting.ended,
        )
        events.connect(self._endings, self._backlog)
        self._dispatcher = Dispatcher(
            loop=self._loop,
            pool=self._pool,
            journal=self._journal,
            registry=self._registry,
            endings=self._endings,
            inboxes=self._inboxes,
            backlog=self._backlog,
            limits=settings.limits,
            memory=memory_budget(settings),
            log=self._log,
        )
        self._shared = Collaborators(
            loop=self._loop,
            fs=RealFs(),
            journal=self._journal,
            open_reader=lambda: LedgerReader.open(ledger_path),
            sink=self._dispatcher,
            results=self._endings,
            events=events,
            slots=settings.pool.workers,
            forgiven=last is None or last[1] or last[0] != boot,
            lines_together=self._log_owner.gathered,
        )
        self._panel = Panel(
            state_dir=settings.state_dir,
            source=settings.source,
            ledger_path=ledger_path,
            loop=self._loop,
            inboxes=self._inboxes,
            registry=self._registry,
            backlog=self._backlog,
            pool=self._pool,
            journal=self._journal,
            log=self._log,
        )

    def _tell_reset(self, reason: str, kept_as: str) -> None:
        self._log.error(
            "ledger.reset",
            reason=reason,
            path=os.path.join(self.settings.state_dir, LEDGER_NAME),
            kept_as=kept_as,
            hint="what is in the inboxes is done again; results that exist get a number added to their names",
        )

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
        again_s = self._dispatcher.tick(now_s)
        self._inboxes.finish_leaving()
        if not self.ready:
            self._check_ready()
        if self._stop_reason:
            again_s = self._check_stopped(now_s, again_s)
        beat_s = self._heartbeat.beat(now_s, stopping=self.is_stopping)
        self._panel.turn(now_s, self._state)
        self._reporting.turn(now_s)
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
            for runtime in self._inboxes.values()
        ):
            self.ready = True
            self._notifier.ready("watching")
            self._log.info("service.ready", seconds=round(time.monotonic() - self._began_s, 3))

    def _check_stopped(self, now_s: float, again_s: float | None) -> float | None:
        busy = self._dispatcher.running or any(runtime.is_finishing for runtime in self._inboxes.values())
        if not busy or now_s >= self._deadline_s:
            self._loop.stop()
        return self._deadline_s if again_s is None else min(again_s, self._deadline_s)

    def _status_line(self, now_s: float) -> str:
        names = list(self._inboxes)
        oldest = [queued_s for name in names if (queued_s := self._backlog.oldest_queued_s(name)) is not None]
        unwatched = [name for name in names if not self._inboxes[name].watch.is_watched]
        return status_line(
            waiting=self._dispatcher.waiting,
            oldest_s=now_s - min(oldest) if oldest else None,
            running=self._dispatcher.running,
            failed_today=sum(self._registry.tally.today(name)[1] for name in names),
            trouble=f"not watched: {', '.join(unwatched)}" if unwatched and self.ready else "",
        )

    @contextlib.contextmanager
    def _signals(self) -> Any:
        """Turn signals into messages; a second Ctrl-C ends at once.

        SIGHUP is the end of the terminal where there is one (not under nohup), and asks a service to reload.
        """
        ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        self._hangup_stops = _has_terminal() and not ignored
        before = {
            number: signal.signal(number, self._on_signal)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGUSR1:
            self._loop.post(self._log_owner.reopen)
        elif number == signal.SIGHUP and not self._hangup_stops:
            self._loop.post(self._reloader.request)
        elif number == signal.SIGINT and self._stop_reason:
            os._exit(
                EXIT_INTERRUPTED
            )  # the kernel kills the workers with us; the ledger knows what was running
        else:
            self._loop.post(self.stop, signal.Signals(number).name)

    # -- the end ----------------------------------------------------------------------------------

    def _close(self) -> None:
        if hasattr(self, "_panel"):
            self._panel.close()
        if hasattr(self, "_reporting"):
            self._reporting.close()
        if hasattr(self, "_pool"):
            self._pool.stop()
        if hasattr(self, "_inboxes"):
            self._inboxes.close(_LANE_GRACE_S)
        if hasattr(self, "_journal"):
            if self._stop_reason:
                with contextlib.suppress(Exception):  # the last word; a full disk must not hide the exit code
                    self._journal.submit(lambda ledger: ledger.end_run(), durable=True).result(_LANE_GRACE_S)
            self._journal.close()
        os.close(self._state_lock)
        if self._stop_reason:
            self._log.info(
                "service.stopped",
                seconds=round(time.monotonic() - self._began_s, 3),
                done=self._registry.done,
                failed=self._registry.failed,
                waiting=self._dispatcher.waiting,
                log_lines_lost=self._log_owner.dropped,
            )


def _nothing() -> None:
    """Wake the loop."""


def _has_terminal() -> bool:
    """Return whether this process has a controlling terminal, wherever its output goes."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


def _plan(recipe: Any) -> RecipePlan:
    templates: Mapping[str, str] = {output.name: output.template for output in recipe.outputs}
    extensions = {output.name: extensions_of(output.format) for output in recipe.outputs}
    return RecipePlan(
        name=recipe.name, hash=recipe.hash, templates=templates, payload=recipe, extensions=extensions
    )


def _leave_garbage_longer() -> None:
    """Have the collector of cycles look at what is new only, and less often: we make next to none.

    By default it went over all that was imported again and again, for a third of the loop's time: 0.62 ms a file at 49
    photos a second became 0.44 ms.
    """
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, 10, 10)


def _boot_id() -> str:
    """Return what identifies this boot; under the unit's ProcSubset=pid systemd has to say it (%b)."""
    if told := os.environ.get("PROCWATCH_BOOT_ID"):
        return told
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
