"""What a running daemon does when it is asked through the control channel.

Every method runs on a thread of the control server; what touches the dispatcher's state is sent to its loop.
"""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from procwatch.control import standing
from procwatch.control.pruning import prune_all
from procwatch.control.server import call_on_loop
from procwatch.delivery.real_fs import RealFs
from procwatch.dispatch.backlog import Backlog
from procwatch.dispatch.inbox_runtime import InboxRuntime
from procwatch.dispatch.journal import Journal
from procwatch.dispatch.ledger_queries import LedgerQueries
from procwatch.dispatch.loop import Loop
from procwatch.dispatch.registry import Registry
from procwatch.errors import UsageError
from procwatch.model import Original
from procwatch.pool.ports import WorkerPool

_ASKED: Final = "asked for"
#: Jobs forgotten in one commit: the journal's thread is everybody's.
_FORGET_AT_ONCE: Final = 500


class Commands:
    """Answers requests. Implements server.Handler by handle()."""

    def __init__(
        self,
        *,
        loop: Loop,
        inboxes: Mapping[str, InboxRuntime],
        registry: Registry,
        backlog: Backlog,
        pool: WorkerPool,
        journal: Journal,
        ledger_path: str,
        log: FilteringBoundLogger,
        status: Callable[[], Mapping[str, Any]],
    ) -> None:
        self._loop = loop
        self._inboxes = inboxes
        self._registry = registry
        self._backlog = backlog
        self._pool = pool
        self._journal = journal
        self._ledger_path = ledger_path
        self._log = log
        self._status = status
        self._table: dict[str, Callable[[Mapping[str, Any]], Mapping[str, Any]]] = {
            "explain": self._explain,
            "pause": self._pause,
            "resume": self._resume,
            "scan": self._scan,
            "status": lambda request: {"status": call_on_loop(loop.post, self._status)},
            "rebuild": self._rebuild,
            "forget": self._forget,
            "prune": self._prune,
        }

    def handle(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Do what is asked and return the answer's fields. Raises UsageError, TimeoutError."""
        command = self._table.get(str(request.get("command")))
        if command is None:
            raise UsageError(f"this procwatch does not know the request {request.get('command')!r:.80}")
        return command(request)

    def _explain(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        inbox, path = str(request.get("inbox")), str(request.get("path"))

        def look() -> dict[str, Any]:
            runtime = self._inboxes.get(inbox)
            if runtime is None:
                return {"phase": "unserved"}
            now_s = self._loop.clock()
            return standing.of(
                runtime, path, registry=self._registry, backlog=self._backlog, pool=self._pool, now_s=now_s
            )

        return {"standing": call_on_loop(self._loop.post, look)}

    def _pause(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        def pause() -> list[str]:
            names = [name for name in self._named(request) if not self._backlog.is_held(name)]
            for name in names:
                self._backlog.hold(name)
                self._log.info("intake.paused", inbox=name, reason=_ASKED)
            return names

        return {"inboxes": call_on_loop(self._loop.post, pause)}

    def _resume(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        def resume() -> list[str]:
            names = [name for name in self._named(request) if self._backlog.is_held(name)]
            for name in names:
                self._backlog.release(name)
                self._log.info("intake.resumed", inbox=name, reason=_ASKED)
            return names

        return {"inboxes": call_on_loop(self._loop.post, resume)}

    def _scan(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        def scan() -> list[str]:
            names = self._named(request)
            for name in names:
                self._inboxes[name].request_scan("request")
            return names

        return {"inboxes": call_on_loop(self._loop.post, scan)}

    def _rebuild(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Forget the done jobs of kept originals whose recipe is another now; a scan then finds them as new."""
        runtimes = call_on_loop(
            self._loop.post,
            lambda: {
                name: (self._inboxes[name], self._inboxes[name].recipe.hash) for name in self._named(request)
            },
        )
        counts: dict[str, int] = {}
        ledger = self._open_ledger()
        if ledger is None:
            return {"jobs": counts}
        with contextlib.closing(ledger):
            for name, (runtime, recipe_hash) in runtimes.items():
                stale = [known.job for known in ledger.stale(name, recipe_hash)]
                counts[name] = len(stale)
                self._forget_jobs(stale)
                if stale:
                    self._loop.post(runtime.request_scan, "request")
        return {"jobs": counts}

    def _prune(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Remove the outputs of kept originals that somebody deleted."""
        specs = call_on_loop(
            self._loop.post, lambda: {name: runtime.spec for name, runtime in self._inboxes.items()}
        )
        ledger = self._open_ledger()
        if ledger is None:
            return {"files": {}}
        with contextlib.closing(ledger):
            even_if_empty = request.get("even_if_empty") is True
            return {"files": prune_all(self._journal, RealFs(), ledger, specs, even_if_empty=even_if_empty)}

    def _forget(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Let an ended job no longer answer for the file that still lies in the inbox, so that it is done again."""
        inbox, path = str(request.get("inbox")), str(request.get("path"))
        runtime = call_on_loop(self._loop.post, lambda: self._inboxes.get(inbox))
        ledger = self._open_ledger()
        known = ledger.known(inbox, path) if ledger is not None else None
        if ledger is not None:
            ledger.close()
        if runtime is None or known is None or known.original not in (Original.BLOCKED, Original.STUCK):
            return {"jobs": 0}
        self._forget_jobs([known.job])
        self._loop.post(runtime.arrivals.look, path)
        return {"jobs": 1}

    def _forget_jobs(self, jobs: list[str]) -> None:
        for start in range(0, len(jobs), _FORGET_AT_ONCE):
            batch = jobs[start : start + _FORGET_AT_ONCE]
            self._journal.call(lambda ledger, batch=batch: forget(ledger, batch))  # type: ignore[misc]

    def _named(self, request: Mapping[str, Any]) -> list[str]:
        """Loop: the inbox that is asked about, or all."""
        name = request.get("inbox")
        if name is None:
            return list(self._inboxes)
        if not isinstance(name, str) or name not in self._inboxes:
            raise UsageError(
                f"there is no inbox {str(name)!a}", hint=f"there is: {', '.join(self._inboxes) or 'none'}"
            )
        return [name]

    def _open_ledger(self) -> LedgerQueries | None:
        try:
            return LedgerQueries.open_existing(self._ledger_path, live=True)
        except sqlite3.Error as error:
            raise UsageError(f"{os.path.basename(self._ledger_path)} cannot be read: {error}") from error


def forget(ledger: Any, jobs: list[str]) -> None:
    """Write that the jobs' originals are none of theirs any more: what lies at their paths counts as new."""
    for job in jobs:
        ledger.disposed(job, Original.GONE, None)
