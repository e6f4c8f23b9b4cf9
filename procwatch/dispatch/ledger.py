"""The ledger: the SQLite file that remembers jobs, attempts, renditions and who owns which output name.

Only the journal's thread writes through this class; the commands and lanes read through LedgerReader.
"""

import os
import sqlite3
import time
from collections.abc import Collection, Iterable, Sequence

from procwatch.dispatch.ledger_home import settle_in
from procwatch.dispatch.ledger_reader import LedgerReader, Rendition
from procwatch.dispatch.schema import migrate
from procwatch.model import Identity, Original


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

    def settle_in(self, home: str, roots: Collection[str]) -> str | None:
        """Have the absolute paths follow to the folder where the ledger is now; return where it was, if elsewhere."""
        return settle_in(self._db, home, roots)

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
