"""The rooms of a daemon and how they are wired; nothing runs yet."""

import contextlib
import os
import sqlite3
from collections.abc import Mapping
from typing import Any, Final, Protocol

from procwatch.control.panel import Panel
from procwatch.delivery.real_fs import RealFs
from procwatch.dispatch.backlog import Backlog
from procwatch.dispatch.dispatcher import Dispatcher
from procwatch.dispatch.endings import Endings
from procwatch.dispatch.inbox_runtime import Collaborators
from procwatch.dispatch.inboxes import Inboxes
from procwatch.dispatch.job import RecipePlan
from procwatch.dispatch.journal import Journal
from procwatch.dispatch.ledger import Ledger
from procwatch.dispatch.ledger_home import roots_of
from procwatch.dispatch.ledger_open import open_ledger
from procwatch.dispatch.ledger_reader import LEDGER_NAME, LedgerReader
from procwatch.dispatch.loop import Loop
from procwatch.dispatch.registry import Registry
from procwatch.errors import NoInboxError
from procwatch.heartbeat import Heartbeat, status_line
from procwatch.imaging.codecs import extensions_of
from procwatch.model import InboxSpec, ids_start_after
from procwatch.observe.log import Log
from procwatch.observe.notify import Notifier
from procwatch.reporting import Reporting
from procwatch.service_events import Host, ServiceEvents
from procwatch.service_workers import make_pool, memory_budget
from procwatch.settings.folders import inbox_problem
from procwatch.settings.values import Settings

#: After the grace for running jobs is over, the finishing lanes get this long to end what they have.
_LANE_GRACE_S: Final = 5.0


class Tenant(Host, Protocol):
    """The service, as far as its rooms ask it something."""

    settings: Settings
    ready: bool


class Rooms:
    """What a daemon is made of."""

    def __init__(
        self,
        tenant: Tenant,
        *,
        usable: list[InboxSpec],
        loop: Loop,
        registry: Registry,
        notifier: Notifier,
        log: Log,
    ) -> None:
        """Wire everything. Raises NoInboxError where no state can be kept."""
        settings = tenant.settings
        ledger, is_forgiven = _open_state(settings, log)
        self._loop, self._registry, self._log = loop, registry, log
        self.journal = Journal(ledger)
        try:
            events = ServiceEvents(log.logger, loop.post, tenant)
            self.backlog = Backlog()
            self.inboxes = Inboxes(
                backlog=self.backlog,
                registry=registry,
                room=events,
                check=inbox_problem,
                state_dir=settings.state_dir,
            )
            self.pool = make_pool(settings, usable, loop, events)
            self._wire_watchers(tenant, notifier)
            self._wire_work(settings)
            events.connect(self.endings, self.backlog)
            #: What every inbox gets.
            self.shared = Collaborators(
                loop=loop,
                fs=RealFs(),
                journal=self.journal,
                open_reader=lambda: LedgerReader.open(_ledger_path(settings)),
                sink=self.dispatcher.reception,
                results=self.endings,
                events=events,
                slots=settings.pool.workers,
                forgiven=is_forgiven,
                lines_together=log.gathered,
            )
        except BaseException:
            self.journal.close()
            raise

    def _wire_watchers(self, tenant: Tenant, notifier: Notifier) -> None:
        """Make what tells the outside how things are."""
        settings = tenant.settings
        self.heartbeat = Heartbeat(
            notifier=notifier,
            journal=self.journal,
            pool=self.pool,
            status=lambda now_s: self._status(now_s, is_ready=tenant.ready),
            timeout_s=lambda: tenant.settings.pool.timeout_s,
        )
        self.reporting = Reporting(
            settings=settings,
            loop=self._loop,
            inboxes=self.inboxes,
            registry=self._registry,
            backlog=self.backlog,
            pool=self.pool,
            journal=self.journal,
            log=self._log.logger,
            lines_lost=lambda: self._log.dropped,
        )
        self.panel = Panel(
            state_dir=settings.state_dir,
            source=settings.source,
            ledger_path=_ledger_path(settings),
            loop=self._loop,
            inboxes=self.inboxes,
            registry=self._registry,
            backlog=self.backlog,
            pool=self.pool,
            journal=self.journal,
            log=self._log.logger,
        )

    def _wire_work(self, settings: Settings) -> None:
        """Make what decides about files."""
        self.endings = Endings(
            loop=self._loop,
            journal=self.journal,
            registry=self._registry,
            inboxes=self.inboxes,
            log=self._log.logger,
            pause=lambda runtime: self.backlog.pause(runtime.spec.name),
            resume=lambda runtime: self.backlog.resume(runtime.spec.name),
            on_ended=self.reporting.ended,
        )
        self.dispatcher = Dispatcher(
            loop=self._loop,
            pool=self.pool,
            journal=self.journal,
            registry=self._registry,
            endings=self.endings,
            inboxes=self.inboxes,
            backlog=self.backlog,
            limits=settings.limits,
            memory=memory_budget(settings),
            log=self._log.logger,
        )

    def _status(self, now_s: float, *, is_ready: bool) -> str:
        names = list(self.inboxes)
        oldest = [queued_s for name in names if (queued_s := self.backlog.oldest_queued_s(name)) is not None]
        unwatched = [name for name in names if not self.inboxes[name].watch.is_watched]
        return status_line(
            waiting=self.dispatcher.waiting,
            oldest_s=now_s - min(oldest) if oldest else None,
            running=self.dispatcher.running,
            failed_today=sum(self._registry.tally.today(name)[1] for name in names),
            trouble=f"not watched: {', '.join(unwatched)}" if unwatched and is_ready else "",
        )

    def close(self, *, is_orderly: bool) -> None:
        """Stop everything; an orderly end is noted in the ledger, so that running jobs are forgiven it."""
        self.panel.close()
        self.reporting.close()
        self.pool.stop()
        self.inboxes.close(_LANE_GRACE_S)
        if is_orderly:
            with contextlib.suppress(Exception):  # the last word; a full disk must not hide the exit code
                self.journal.submit(Ledger.end_run, durable=True).result(_LANE_GRACE_S)
        self.journal.close()


def _open_state(settings: Settings, log: Log) -> tuple[Ledger, bool]:
    """Return the ledger, and whether the last run is forgiven what it was doing at its end."""
    boot = _boot_id()
    try:
        ledger = open_ledger(_ledger_path(settings), lambda *told: _tell_reset(settings, log, *told))
        moved_from = ledger.settle_in(settings.state_dir, roots_of(settings.inboxes))
        if moved_from is not None:
            log.logger.info("ledger.moved", moved_from=moved_from, path=settings.state_dir)
        last = ledger.last_run()
        ledger.begin_run(boot, os.getpid())
        ids_start_after(ledger.newest_job())
    except (OSError, sqlite3.OperationalError) as error:
        raise NoInboxError(
            f"cannot keep state in {settings.state_dir}: {error}",
            hint="make room on its disk, or name another folder as [state] dir",
        ) from None
    return ledger, last is None or last[1] or last[0] != boot


def _tell_reset(settings: Settings, log: Log, reason: str, kept_as: str) -> None:
    log.logger.error(
        "ledger.reset",
        reason=reason,
        path=_ledger_path(settings),
        kept_as=kept_as,
        hint="what is in the inboxes is done again; results that exist get a number added to their names",
    )


def _ledger_path(settings: Settings) -> str:
    return os.path.join(settings.state_dir, LEDGER_NAME)


def plan_of(recipe: Any) -> RecipePlan:
    """Return what the daemon knows of a recipe; the rest of it is the workers' business."""
    templates: Mapping[str, str] = {output.name: output.template for output in recipe.outputs}
    extensions = {output.name: extensions_of(output.format) for output in recipe.outputs}
    return RecipePlan(
        name=recipe.name, hash=recipe.hash, templates=templates, payload=recipe, extensions=extensions
    )


def _boot_id() -> str:
    """Return what identifies this boot; under the unit's ProcSubset=pid systemd has to say it (%b)."""
    if told := os.environ.get("PROCWATCH_BOOT_ID"):
        return told
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
