"""What the ledger remembers, and every question to it that a daemon asks, read-only.

Paths are stored as BLOBs of their bytes, since a file name need not be valid UTF-8. The commands' own questions are in
ledger_queries.
"""

import os
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from procwatch.model import Identity, Original, State

#: Its name in the state folder.
LEDGER_NAME: Final = "ledger.sqlite"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendition:
    """One file that an output made, with the name it will be published under. Folders are absolute."""

    output: str
    outbox: str
    name: str  # relative to the outbox
    key: str  # collision key of the name
    staged: str  # absolute path in staging
    inode: int
    size: int  # bytes
    replace: bool  # the name is ours already (or on_conflict says overwrite)


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What the ledger knows of the newest job of a path."""

    job: str
    identity: Identity
    state: State
    original: Original
    attempts: int
    deaths: int
    suspicion: int
    sha256: str | None
    error: str | None
    reason: str | None
    worker_pid: int | None
    queued_at: float
    recipe_hash: str

    @property
    def holds_the_path(self) -> bool:
        """Whether this job still answers for the file in the inbox."""
        return self.state in _OPEN or self.original in _STILL_THERE


_OPEN = (State.QUEUED, State.RUNNING, State.PUBLISHING)
_STILL_THERE = (Original.INBOX, Original.KEPT, Original.STUCK, Original.BLOCKED)
SELECT_KNOWN = (
    "SELECT job, inbox, path, size, mtime_ns, state, original, attempts, deaths, suspicion, sha256, error, reason,"
    " worker_pid, queued_at, recipe_hash FROM jobs"
)


def known_of(row: tuple[Any, ...]) -> Known:
    job, inbox, path, size, mtime_ns, state, original, attempts, deaths, suspicion, sha256, error, *rest = row
    reason, worker_pid, queued_at, recipe_hash = rest
    return Known(
        job=job,
        identity=Identity(inbox=inbox, path=os.fsdecode(path), size=size, mtime_ns=mtime_ns),
        state=State(state),
        original=Original(original),
        attempts=attempts,
        deaths=deaths,
        suspicion=suspicion,
        sha256=sha256,
        error=error,
        reason=reason,
        worker_pid=worker_pid,
        queued_at=queued_at,
        recipe_hash=recipe_hash,
    )


class LedgerReader:
    """Read-only questions, on a connection of its own: for one thread at a time."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    @classmethod
    def open(cls, path: str) -> "LedgerReader":
        quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        return cls(sqlite3.connect(f"file:{quoted}?mode=ro", uri=True, check_same_thread=False))

    def close(self) -> None:
        self._db.close()

    def known(self, inbox: str, path: str) -> Known | None:
        """Return the newest job of the path, if it still answers for the file there."""
        newest = self.newest(inbox, path)
        return newest if newest is not None and newest.holds_the_path else None

    def newest(self, inbox: str, path: str) -> Known | None:
        query = f"{SELECT_KNOWN} WHERE inbox = ? AND path = ? ORDER BY job DESC LIMIT 1"
        row = self._db.execute(query, (inbox, os.fsencode(path))).fetchone()
        return None if row is None else known_of(row)

    def job(self, job: str) -> Known | None:
        row = self._db.execute(f"{SELECT_KNOWN} WHERE job = ?", (job,)).fetchone()
        return None if row is None else known_of(row)

    def in_state(self, inbox: str, *states: State) -> list[Known]:
        marks = ",".join("?" * len(states))
        rows = self._db.execute(
            f"{SELECT_KNOWN} WHERE inbox = ? AND state IN ({marks}) ORDER BY job", (inbox, *states)
        )
        return [known_of(row) for row in rows]

    def undisposed(self, inbox: str) -> list[Known]:
        """Return ended jobs whose original has not been disposed of yet."""
        query = f"{SELECT_KNOWN} WHERE inbox = ? AND original = 'inbox' AND state IN ('done', 'failed') ORDER BY job"
        return [known_of(row) for row in self._db.execute(query, (inbox,))]

    def stuck(self, inbox: str, rows: int) -> list[Known]:
        """Return ended jobs whose original could not be removed."""
        query = f"{SELECT_KNOWN} WHERE inbox = ? AND original IN ('stuck', 'blocked') ORDER BY job LIMIT ?"
        return [known_of(row) for row in self._db.execute(query, (inbox, rows))]

    def unlogged(self, inbox: str) -> list[tuple[str, State, str]]:
        """Return (job, state, line) of ended jobs whose log line may not have been written."""
        query = "SELECT job, state, line FROM jobs WHERE inbox = ? AND logged = 0 AND line IS NOT NULL ORDER BY job"
        return [(job, State(state), line) for job, state, line in self._db.execute(query, (inbox,))]

    def renditions(self, job: str) -> list[Rendition]:
        query = (
            "SELECT output, outbox, name, key, staged, inode, size, replace FROM renditions"
            " WHERE job = ? ORDER BY position"
        )
        return [
            Rendition(
                output=output,
                outbox=os.fsdecode(outbox),
                name=os.fsdecode(name),
                key=os.fsdecode(key),
                staged=os.fsdecode(staged),
                inode=inode,
                size=size,
                replace=bool(replace),
            )
            for output, outbox, name, key, staged, inode, size, replace in self._db.execute(query, (job,))
        ]

    def owner(self, outbox: str, key: str) -> tuple[str, str] | None:
        """Return (inbox, source path) of who owns the output name, None when nobody does."""
        query = "SELECT inbox, source FROM names WHERE outbox = ? AND key = ?"
        row = self._db.execute(query, (os.fsencode(outbox), os.fsencode(key))).fetchone()
        return None if row is None else (row[0], os.fsdecode(row[1]))

    def owners(self, names: Iterable[tuple[str, str]]) -> dict[tuple[str, str], tuple[str, str] | None]:
        """Return what owner() does for each (outbox, key), all as of one moment: one look at the file's locks."""
        self._db.execute("BEGIN")
        try:
            return {(outbox, key): self.owner(outbox, key) for outbox, key in names}
        finally:
            self._db.execute("ROLLBACK")

    def obsolete(self, job: str) -> list[tuple[str, str]]:
        """Return (outbox, name) of renditions that the job's new ones replace under other names."""
        query = "SELECT outbox, name FROM names WHERE obsolete_by = ?"
        return [(os.fsdecode(outbox), os.fsdecode(name)) for outbox, name in self._db.execute(query, (job,))]

    def names_of(self, jobs: Iterable[str]) -> list[tuple[str, str, str]]:
        """Return (outbox, key, name) of the output names that the jobs own."""
        query = "SELECT outbox, key, name FROM names WHERE job = ?"
        return [
            (os.fsdecode(outbox), os.fsdecode(key), os.fsdecode(name))
            for job in jobs
            for outbox, key, name in self._db.execute(query, (job,))
        ]

    def names_of_source(self, inbox: str, path: str) -> list[tuple[str, str, str]]:
        """Return (outbox, key, name) of the output names that a source path owns."""
        query = "SELECT outbox, key, name FROM names WHERE inbox = ? AND source = ?"
        rows = self._db.execute(query, (inbox, os.fsencode(path)))
        return [(os.fsdecode(outbox), os.fsdecode(key), os.fsdecode(name)) for outbox, key, name in rows]

    def kept(self, inbox: str) -> list[Known]:
        """Return done jobs whose original stays in the inbox (on_success = "keep")."""
        query = f"{SELECT_KNOWN} WHERE inbox = ? AND original = 'kept' AND state = 'done' ORDER BY job"
        return [known_of(row) for row in self._db.execute(query, (inbox,))]

    def quick_check(self) -> str:
        """Return "ok", or the first thing that is wrong with the file (PRAGMA quick_check)."""
        (verdict,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        return str(verdict)

    def newest_job(self) -> str | None:
        """Return the highest job id."""
        row = self._db.execute("SELECT max(job) FROM jobs").fetchone()
        return None if row is None or row[0] is None else str(row[0])

    def is_of_this_boot(self, job: str) -> bool:
        """Whether the newest attempt of the job ran since the machine was started, as far as that is known."""
        query = "SELECT boot FROM attempts JOIN runs USING (run) WHERE job = ? ORDER BY attempt DESC LIMIT 1"
        row, newest = self._db.execute(query, (job,)).fetchone(), self.last_run()
        return row is not None and newest is not None and bool(row[0]) and row[0] == newest[0]

    def last_run(self) -> tuple[str, bool] | None:
        """Return (boot id, ended in order) of the newest run."""
        row = self._db.execute("SELECT boot, ended_at FROM runs ORDER BY run DESC LIMIT 1").fetchone()
        return None if row is None else (row[0], row[1] is not None)
