"""The panel of a running daemon: its control channel and its status snapshot, built and wired.

loop ── content, once a second ──► status lane ── tmp + rename ──► STATE/status.json (0644)
room lane ── statvfs, every 10 s ──┘ (a hung mount stops only its own figures)
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from structlog.typing import FilteringBoundLogger

from procwatch import __version__
from procwatch.control.commands import Commands
from procwatch.control.server import ControlServer
from procwatch.control.snapshot import SnapshotMaker
from procwatch.delivery.sys_calls import write_all
from procwatch.dispatch.backlog import Backlog
from procwatch.dispatch.inbox_runtime import InboxRuntime
from procwatch.dispatch.journal import Journal
from procwatch.dispatch.lane import Lane
from procwatch.dispatch.ledger_queries import LedgerQueries
from procwatch.dispatch.loop import Loop
from procwatch.dispatch.registry import Registry
from procwatch.dispatch.tally import MAX_FAILURES, day_of, midnight_before
from procwatch.observe.status import MIN_INTERVAL_S, StatusSnapshot
from procwatch.pool.ports import WorkerPool

_ROOM_EVERY_S: Final = 10.0
#: Failures of earlier runs are shown when they are younger than this.
_RECENT_S: Final = 7 * 86400.0
_CLOSE_TIMEOUT_S: Final = 2.0


class Panel:
    """Loop thread only, but for what its lanes do."""

    def __init__(
        self,
        *,
        state_dir: str,
        source: str | None,
        ledger_path: str,
        loop: Loop,
        inboxes: Mapping[str, InboxRuntime],
        registry: Registry,
        backlog: Backlog,
        pool: WorkerPool,
        journal: Journal,
        log: FilteringBoundLogger,
    ) -> None:
        self._loop = loop
        self._inboxes = inboxes
        self._registry = registry
        self._pool = pool
        self._log = log
        self._ledger_path = ledger_path
        self._began_s = time.time()
        self._fixed = {"version": __version__, "config": source, "started_at_s": round(self._began_s, 3)}
        self._state = "starting"
        self._maker = SnapshotMaker(inboxes=inboxes, registry=registry, backlog=backlog)
        self._snapshot = StatusSnapshot(state_dir=state_dir, write=write_status)
        self._lane = Lane("procwatch-status", self._ignore)
        self._room_lane = Lane("procwatch-room", self._ignore)
        self._writing = False
        self._room_asked_s = float("-inf")
        self._measuring = False
        self._disks: Sequence[Mapping[str, Any]] = ()
        self._next_s = 0.0
        commands = Commands(
            loop=loop,
            inboxes=inboxes,
            registry=registry,
            backlog=backlog,
            pool=pool,
            journal=journal,
            ledger_path=ledger_path,
            log=log,
            status=self._content,
        )
        self._server = ControlServer(state_dir, commands.handle)

    def start(self) -> None:
        """Listen, and bring in what earlier runs did today."""
        try:
            self._server.start()
        except OSError as error:
            self._log.warning(
                "control.unavailable",
                reason=f"{error.strerror or error}",
                hint="files are processed; explain, pause and resume cannot ask this daemon",
            )
        self._lane.submit(self._ask_ledger)

    def turn(self, now_s: float, state: str) -> None:
        """Once a turn of the loop: hand a fresh snapshot to the lane when it is time and the last is written."""
        changed = state != self._state
        if (now_s < self._next_s and not changed) or self._writing:
            return
        self._state = state
        self._next_s = now_s + MIN_INTERVAL_S
        self._writing = True
        self._measure(now_s)
        self._lane.submit(self._write, self._content(), now_s, changed)

    def close(self) -> None:
        """Say that the daemon has ended, and answer no more."""
        self._server.close()
        self._state = "stopped"
        self._lane.submit(self._write_last, self._content())
        self._lane.close(_CLOSE_TIMEOUT_S)
        self._room_lane.close(0.0)

    def _content(self) -> dict[str, Any]:
        now_s, wall_s = self._loop.clock(), time.time()
        slots = self._pool.view(now_s)
        made = self._maker.make(
            slots, state=self._state, pool_degraded=self._pool.is_degraded, now_s=now_s, wall_s=wall_s
        )
        return {"state": self._state, **self._fixed, **made, "disks": list(self._disks)}

    # -- lanes ------------------------------------------------------------------------------------

    def _write(self, content: Mapping[str, Any], now_s: float, at_once: bool) -> None:
        write = self._snapshot.write_now if at_once else self._snapshot.offer
        try:
            write(content, now_s=now_s, wall_s=time.time())
        finally:
            self._loop.post(self._written)

    def _written(self) -> None:
        self._writing = False

    def _write_last(self, content: Mapping[str, Any]) -> None:
        self._snapshot.write_now(content, now_s=self._loop.clock(), wall_s=time.time())

    def _measure(self, now_s: float) -> None:
        """Ask for the free space, unless the last question is still not answered."""
        if self._measuring or now_s < self._room_asked_s + _ROOM_EVERY_S:
            return
        self._measuring, self._room_asked_s = True, now_s
        folders = [
            folder
            for runtime in self._inboxes.values()
            for folder in (runtime.spec.path, runtime.spec.outbox, runtime.spec.archive, runtime.spec.failed)
        ]
        self._room_lane.submit(self._measure_room, [*folders, os.path.dirname(self._ledger_path)])

    def _measure_room(self, folders: list[str]) -> None:
        self._loop.post(self._measured, room(folders))

    def _measured(self, disks: Sequence[Mapping[str, Any]]) -> None:
        self._measuring, self._disks = False, disks

    def _ask_ledger(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            ledger = LedgerQueries.open_existing(self._ledger_path, live=True)
            if ledger is None:
                return
            with contextlib.closing(ledger):
                ended = ledger.ended_between(midnight_before(self._began_s), self._began_s)
                failures = [
                    {
                        "failed_at_s": record.ended_at,
                        "inbox": record.known.identity.inbox,
                        "path": record.known.identity.path,
                        "error": record.known.error,
                        "reason": record.known.reason,
                        "job": record.known.job,
                    }
                    for record in ledger.last_failures(MAX_FAILURES, self._began_s - _RECENT_S)
                    if record.ended_at is not None and record.ended_at < self._began_s
                ]
            tally, day = self._registry.tally, day_of(self._began_s)
            self._loop.post(tally.add_earlier, day, ended["done"], ended["failed"], failures[::-1])

    def _ignore(self, error: BaseException) -> None:
        """Status is for looking: whatever goes wrong with it, files are processed."""
        self._writing = self._measuring = False


def room(folders: Sequence[str]) -> list[dict[str, Any]]:
    """Return the free and total bytes of each file system that the folders are on, rounded to what matters."""
    found: dict[int, dict[str, Any]] = {}
    for folder in folders:
        try:
            device, status = os.stat(folder).st_dev, os.statvfs(folder)
        except OSError:
            continue
        disk = found.setdefault(device, {"path": folder})
        disk["free_bytes"] = _rounded(status.f_bavail * status.f_frsize)
        disk["total_bytes"] = status.f_blocks * status.f_frsize
    return list(found.values())


def _rounded(count: int) -> int:
    """Drop what flickers: the snapshot of an idle daemon should stay the same."""
    unit = 16 * 1024**2
    return count // unit * unit if count >= unit else count


def write_status(path: str, data: bytes, mode: int) -> None:
    """Replace the file at once. Not through fsops: its loss harms nobody, so no fsync and no fault point."""
    temp = f"{path}.tmp"
    descriptor = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        os.fchmod(descriptor, mode)
        write_all(descriptor, data)  # a disk that is nearly full takes a part without a word
    finally:
        os.close(descriptor)
    os.rename(temp, path)
