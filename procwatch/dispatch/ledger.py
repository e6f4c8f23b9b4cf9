"""The ledger: the SQLite file that remembers jobs, attempts, renditions and who owns which output name.

Only the journal's thread writes through this class; the commands and lanes read through LedgerReader.
Paths are stored as BLOBs of their bytes, since a file name need not be valid UTF-8.
"""

import os
import sqlite3
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from procwatch.dispatch.schema import migrate
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
_KNOWN = (
    "SELECT job, inbox, path, size, mtime_ns, state, original, attempts, deaths, suspicion, sha256, error, reason,"
    " worker_pid, queued_at, recipe_hash FROM jobs"
)


def _known(row: tuple[Any, ...]) -> Known:
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
        query = f"{_KNOWN} WHERE inbox = ? AND path = ? ORDER BY job DESC LIMIT 1"
        row = self._db.execute(query, (inbox, os.fsencode(path))).fetchone()
        return None if row is None else _known(row)

    def job(self, job: str) -> Known | None:
        row = self._db.execute(f"{_KNOWN} WHERE job = ?", (job,)).fetchone()
        return None if row is None else _known(row)

    def in_state(self, inbox: str, *states: State) -> list[Known]:
        marks = ",".join("?" * len(states))
        rows = self._db.execute(
            f"{_KNOWN} WHERE inbox = ? AND state IN ({marks}) ORDER BY job", (inbox, *states)
        )
        return [_known(row) for row in rows]

    def undisposed(self, inbox: str) -> list[Known]:
        """Return ended jobs whose original has not been disposed of yet."""
        query = (
            f"{_KNOWN} WHERE inbox = ? AND original = 'inbox' AND state IN ('done', 'failed') ORDER BY job"
        )
        return [_known(row) for row in self._db.execute(query, (inbox,))]

    def stuck(self, inbox: str, rows: int) -> list[Known]:
        """Return ended jobs whose original could not be removed."""
        query = f"{_KNOWN} WHERE inbox = ? AND original IN ('stuck', 'blocked') ORDER BY job LIMIT ?"
        return [_known(row) for row in self._db.execute(query, (inbox, rows))]

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
        query = f"{_KNOWN} WHERE inbox = ? AND original = 'kept' AND state = 'done' ORDER BY job"
        return [_known(row) for row in self._db.execute(query, (inbox,))]

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


class NameTakenError(Exception):
    """Between planning and commit another source took the output name; plan again."""


class Ledger(LedgerReader):
    """Every write. The caller owns transactions and durability (see journal.py)."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        super().__init__(connection)
        self.run = 0

    @classmethod
    def open(cls, path: str) -> "Ledger":
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA wal_autocheckpoint = 4000")
            migrate(connection)
        except BaseException:
            connection.close()
            raise
        return cls(connection)

    def begin_run(self, boot: str, pid: int) -> None:
        cursor = self._db.execute(
            "INSERT INTO runs (boot, pid, started_at) VALUES (?, ?, ?)", (boot, pid, time.time())
        )
        self.run = cursor.lastrowid or 0

    def end_run(self) -> None:
        self._db.execute("UPDATE runs SET ended_at = ? WHERE run = ?", (time.time(), self.run))

    def start_attempt(
        self, job: str, identity: Identity, *, recipe: str, recipe_hash: str, attempt: int, queued_at: float
    ) -> None:
        """Record that an attempt starts, before it does."""
        self._db.execute(
            "INSERT INTO jobs (job, inbox, path, size, mtime_ns, recipe, recipe_hash, state, original, attempts,"
            " queued_at) VALUES (?, ?, ?, ?, ?, ?, ?, 'running', 'inbox', ?, ?)"
            " ON CONFLICT (job) DO UPDATE SET state = 'running', attempts = excluded.attempts, size = excluded.size,"
            " mtime_ns = excluded.mtime_ns, recipe = excluded.recipe, recipe_hash = excluded.recipe_hash",
            (
                job,
                identity.inbox,
                os.fsencode(identity.path),
                identity.size,
                identity.mtime_ns,
                recipe,
                recipe_hash,
                attempt,
                queued_at,
            ),
        )
        self._db.execute(
            "INSERT OR REPLACE INTO attempts (job, attempt, run, started_at) VALUES (?, ?, ?, ?)",
            (job, attempt, self.run, time.time()),
        )

    def rendered(self, jobs: Iterable[str]) -> None:
        """They wait to be published: whatever ends the daemon from here on, it was not them."""
        query = "UPDATE jobs SET state = 'queued' WHERE job = ? AND state = 'running'"
        self._db.executemany(query, [(job,) for job in jobs])

    def requeue(self, job: str, *, deaths: int = 0, suspicion: int = 0) -> None:
        """The attempt is over without an end of the job; it waits for another."""
        self._db.execute(
            "UPDATE jobs SET state = 'queued', deaths = ?, suspicion = ? WHERE job = ?",
            (deaths, suspicion, job),
        )

    def publishing(
        self,
        job: str,
        identity: Identity,
        renditions: Sequence[Rendition],
        *,
        line: str,
        sha256: str | None,
        overwrite: bool,
    ) -> bool:
        """Record the intent to publish under final names; return whether the source has had others before.

        Raises NameTakenError unless `overwrite`.
        """
        self._db.execute(
            "UPDATE jobs SET state = 'publishing', size = ?, mtime_ns = ?, sha256 = ?, line = ? WHERE job = ?",
            (identity.size, identity.mtime_ns, sha256, line, job),
        )
        before = self._db.execute(
            "UPDATE names SET obsolete_by = ? WHERE inbox = ? AND source = ?",
            (job, identity.inbox, os.fsencode(identity.path)),
        )
        self._db.execute("DELETE FROM renditions WHERE job = ?", (job,))
        for position, rendition in enumerate(renditions):
            self._own_name(job, identity, rendition, overwrite=overwrite)
            self._insert_rendition(job, position, rendition)
        return before.rowcount > 0

    def _insert_rendition(self, job: str, position: int, rendition: Rendition) -> None:
        self._db.execute(
            "INSERT INTO renditions (job, position, output, outbox, name, key, staged, inode, size, replace)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                job,
                position,
                rendition.output,
                os.fsencode(rendition.outbox),
                os.fsencode(rendition.name),
                os.fsencode(rendition.key),
                os.fsencode(rendition.staged),
                rendition.inode,
                rendition.size,
                rendition.replace,
            ),
        )

    def _own_name(self, job: str, identity: Identity, rendition: Rendition, *, overwrite: bool) -> None:
        source = (identity.inbox, identity.path)
        owner = self.owner(rendition.outbox, rendition.key)
        if owner is not None and owner != source and not overwrite:
            raise NameTakenError(rendition.name)
        self._db.execute(
            "INSERT OR REPLACE INTO names (outbox, key, name, inbox, source, output, job) VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                os.fsencode(rendition.outbox),
                os.fsencode(rendition.key),
                os.fsencode(rendition.name),
                identity.inbox,
                os.fsencode(identity.path),
                rendition.output,
                job,
            ),
        )

    def done(self, job: str, *, worker_pid: int | None, sha256: str | None = None) -> None:
        """Record that every rendition is in place; names that the job no longer uses are free."""
        self._db.execute(
            "UPDATE jobs SET state = 'done', logged = 0, ended_at = ?, worker_pid = ?,"
            " sha256 = coalesce(?, sha256) WHERE job = ?",
            (time.time(), worker_pid, sha256, job),
        )
        self._db.execute("DELETE FROM names WHERE obsolete_by = ?", (job,))

    def failed(self, job: str, *, error: str, reason: str, line: str, worker_pid: int | None) -> None:
        self._db.execute(
            "UPDATE jobs SET state = 'failed', error = ?, reason = ?, line = ?, logged = 0, ended_at = ?,"
            " worker_pid = ? WHERE job = ?",
            # A reason may quote a name that is no Unicode, which SQLite takes for no text.
            (error, reason.encode("utf-8", "backslashreplace").decode(), line, time.time(), worker_pid, job),
        )
        self._db.execute("UPDATE names SET obsolete_by = NULL WHERE obsolete_by = ?", (job,))

    def insert_failed(
        self, job: str, identity: Identity, *, recipe: str, recipe_hash: str, queued_at: float
    ) -> None:
        """Make room for a job that fails before any attempt (a file that may not be read)."""
        self._db.execute(
            "INSERT OR IGNORE INTO jobs (job, inbox, path, size, mtime_ns, recipe, recipe_hash, state, original,"
            " attempts, queued_at) VALUES (?, ?, ?, ?, ?, ?, ?, 'queued', 'inbox', 0, ?)",
            (
                job,
                identity.inbox,
                os.fsencode(identity.path),
                identity.size,
                identity.mtime_ns,
                recipe,
                recipe_hash,
                queued_at,
            ),
        )

    def vanished(self, job: str) -> None:
        self._db.execute(
            "UPDATE jobs SET state = 'vanished', original = 'gone', ended_at = ? WHERE job = ?",
            (time.time(), job),
        )

    def logged(self, jobs: Iterable[str]) -> None:
        self._db.executemany(
            "UPDATE jobs SET logged = 1, line = NULL WHERE job = ?", [(job,) for job in jobs]
        )

    def disposed(self, job: str, original: Original, moved_to: str | None) -> None:
        self._db.execute(
            "UPDATE jobs SET original = ?, moved_to = ? WHERE job = ?",
            (original, None if moved_to is None else os.fsencode(moved_to), job),
        )

    def prune(self, inbox: str, before_s: float, rows: int) -> list[str]:
        """Forget ended jobs from before the time (epoch) whose original left the inbox; return their ids."""
        found = self._db.execute(
            "SELECT job FROM jobs WHERE inbox = ? AND ended_at < ? AND state IN ('done', 'failed', 'vanished')"
            " AND original NOT IN ('inbox', 'kept', 'stuck', 'blocked') AND logged IS NOT 0 ORDER BY ended_at LIMIT ?",
            (inbox, before_s, rows),
        )
        jobs = [job for (job,) in found]
        for table in ("attempts", "renditions", "jobs"):
            self._db.executemany(f"DELETE FROM {table} WHERE job = ?", [(job,) for job in jobs])  # noqa: S608
        return jobs

    def disown(self, outbox: str, key: str) -> None:
        self._db.execute(
            "DELETE FROM names WHERE outbox = ? AND key = ?", (os.fsencode(outbox), os.fsencode(key))
        )

    def reidentify(self, job: str, identity: Identity) -> None:
        """Only the mtime changed and the content did not: the job answers for the file under its new identity."""
        self._db.execute(
            "UPDATE jobs SET size = ?, mtime_ns = ? WHERE job = ?", (identity.size, identity.mtime_ns, job)
        )
