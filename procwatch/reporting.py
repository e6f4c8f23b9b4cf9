"""What goes out beside the log: metrics to a file or a port, hooks to commands. Nothing here can hold up a file."""

import contextlib
import os
from collections.abc import Callable, Mapping
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from procwatch.control.panel import write_status
from procwatch.dispatch.backlog import Backlog
from procwatch.dispatch.hooks import HookCommands, Hooks
from procwatch.dispatch.inbox_runtime import InboxRuntime
from procwatch.dispatch.journal import Journal
from procwatch.dispatch.lane import Lane
from procwatch.dispatch.loop import Loop
from procwatch.dispatch.registry import Registry
from procwatch.model import InboxSpec
from procwatch.observe.metrics import Metrics
from procwatch.observe.metrics_server import MetricsServer
from procwatch.pool.ports import WorkerPool
from procwatch.settings.values import Settings

#: Scrapers come every 15 to 60 s; a file that is renewed more often is never read.
TEXTFILE_EVERY_S: Final = 15.0
TEXTFILE_NAME: Final = "metrics.prom"


class Reporting:
    """Loop thread only; files and ports have threads of their own."""

    def __init__(
        self,
        *,
        settings: Settings,
        loop: Loop,
        inboxes: Mapping[str, InboxRuntime],
        registry: Registry,
        backlog: Backlog,
        pool: WorkerPool,
        journal: Journal,
        log: FilteringBoundLogger,
        lines_lost: Callable[[], int],
    ) -> None:
        self._loop = loop
        self._inboxes = inboxes
        self._registry = registry
        self._backlog = backlog
        self._pool = pool
        self._journal = journal
        self._log = log
        self._lines_lost = lines_lost
        self.metrics = Metrics()
        self._server: MetricsServer | None = None
        self._textfile = _textfile(settings)
        self._lane = Lane("procwatch-metrics", lambda error: None)
        self._writing = False
        self._next_s = 0.0
        self._busy_inboxes: set[str] = set()
        self._hooks = Hooks(HookCommands(), fail=self._hook_failed)
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Take over commands and files of a new configuration; the port needs a restart."""
        hooks = settings.hooks
        self._hooks.commands = HookCommands(
            done=hooks.done, failed=hooks.failed, drained=hooks.drained, timeout_s=hooks.timeout_s
        )
        self._textfile = _textfile(settings)

    def listen(self, address: tuple[str, int] | None) -> None:
        """Serve the metrics, if asked; a port that cannot be had is told, and the main job goes on."""
        if address is None:
            return
        try:
            self._server = MetricsServer(self.metrics.render, *address)
        except ImportError:
            self._unavailable(
                address,
                "prometheus-client is not installed",
                "in the checkout of procwatch: pip install '.[metrics]'",
            )
        except OSError as error:
            self._unavailable(
                address, error.strerror or str(error), "choose another port in [metrics] listen"
            )

    def ended(self, event: str, line: Mapping[str, Any]) -> None:
        """A file ended: its terminal line was just logged."""
        self.metrics.ended(event, line)
        runtime = self._inboxes[line["inbox"]]
        self._busy_inboxes.add(runtime.spec.name)
        self._hooks.ended(event, line, _folders(runtime.spec))

    def worker_lost(self) -> None:
        self.metrics.count("procwatch_workers_lost_total")

    def turn(self, now_s: float) -> None:
        """Once a turn of the loop."""
        for name in [name for name in self._busy_inboxes if self._is_drained(name)]:
            self._busy_inboxes.discard(name)
            if name in self._inboxes:
                self._hooks.drained(name, _folders(self._inboxes[name].spec))
        if now_s >= self._next_s and not self._writing:
            self._next_s = now_s + TEXTFILE_EVERY_S
            self._set_gauges(now_s)
            if self._textfile is not None:
                self._writing = True
                self._lane.submit(self._write, self._textfile)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._hooks.close()
        if self._textfile is not None:
            self._lane.submit(self._write, self._textfile)
        self._lane.close(2.0)

    def _is_drained(self, name: str) -> bool:
        runtime = self._inboxes.get(name)
        if runtime is None:
            return True
        settling = runtime.arrivals.settling
        waiting = self._backlog.count(name) or settling or self._registry.retrying(name, settling)
        return not waiting and not any(
            job.inbox == name and not self._registry.has_ended(job.id) for job in self._registry.jobs()
        )

    def _set_gauges(self, now_s: float) -> None:
        metrics = self.metrics
        for gauge in ("waiting_files", "oldest_waiting_seconds", "inbox_watched", "missed_events_total"):
            metrics.forget(f"procwatch_{gauge}")
        for name, runtime in self._inboxes.items():
            settling = runtime.arrivals.settling
            waiting = self._backlog.count(name) + len(settling) + self._registry.retrying(name, settling)
            oldest_s = self._backlog.oldest_queued_s(name)
            metrics.set("procwatch_waiting_files", waiting, inbox=name)
            metrics.set(
                "procwatch_oldest_waiting_seconds", 0 if oldest_s is None else now_s - oldest_s, inbox=name
            )
            metrics.set("procwatch_inbox_watched", int(runtime.watch.is_watched), inbox=name)
            metrics.set("procwatch_missed_events_total", runtime.arrivals.missed, inbox=name)
        slots = self._pool.view(now_s)
        metrics.set("procwatch_running_jobs", sum(slot.job is not None for slot in slots))
        metrics.set("procwatch_workers", sum(slot.worker_pid is not None for slot in slots))
        metrics.set("procwatch_ledger_commits_total", self._journal.commits)
        metrics.set("procwatch_ledger_commit_seconds_total", self._journal.commit_s)
        metrics.set("procwatch_log_lines_lost_total", self._lines_lost())

    def _write(self, path: str) -> None:
        """Lane: replace the text file."""
        try:
            with contextlib.suppress(OSError):  # a full disk: the next one may fit
                write_status(path, self.metrics.render().encode(), 0o644)
        finally:
            self._loop.post(self._written)

    def _written(self) -> None:
        self._writing = False

    def _hook_failed(self, hook: str, reason: str, exit_text: str | None, fields: Mapping[str, Any]) -> None:
        """Any thread."""
        self._loop.post(self._tell_hook, hook, reason, exit_text, fields)

    def _tell_hook(self, hook: str, reason: str, exit_text: str | None, fields: Mapping[str, Any]) -> None:
        self.metrics.count("procwatch_hooks_failed_total")
        about = {key: fields[key] for key in ("job", "inbox", "path") if fields.get(key)}
        if hook == "drained":
            about.pop("path", None)
        exit_field = {"exit": exit_text} if exit_text else {}
        self._log.warning("hook.failed", hook=hook, reason=reason, **about, **exit_field)

    def _unavailable(self, address: tuple[str, int], reason: str, hint: str) -> None:
        host, port = address
        self._log.warning("metrics.unavailable", reason=f"{host}:{port}: {reason}", hint=hint)


def _textfile(settings: Settings) -> str | None:
    wanted = settings.metrics.textfile
    return os.path.join(settings.state_dir, TEXTFILE_NAME) if wanted == "auto" else wanted


def _folders(spec: InboxSpec) -> dict[str, str]:
    return {
        "inbox_folder": spec.path,
        "outbox_folder": spec.outbox,
        "archive_folder": spec.archive,
        "failed_folder": spec.failed,
    }
