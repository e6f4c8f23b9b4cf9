"""Questions that people ask of the ledger: audit, explain, retry, rebuild and status. All of them only read."""

import contextlib
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from procwatch.dispatch.ledger_home import home_of, roots_of, settle_in
from procwatch.dispatch.ledger_reader import LEDGER_NAME, SELECT_KNOWN, Known, LedgerReader, known_of
from procwatch.model import InboxSpec

#: Rows a query: a reader that holds a snapshot for minutes would keep the daemon's WAL from being reset.
_PAGE: Final = 1000
#: A job that ended today may have been queued yesterday; older ones are left out of today's count.
_QUEUED_BEFORE_S: Final = 86400.0
_RECORD: Final = SELECT_KNOWN.replace(" FROM jobs", ", recipe, moved_to, ended_at FROM jobs")


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One job as people ask about it. `moved_to` is absolute; `ended_at` is in epoch seconds."""

    known: Known
    recipe: str
    moved_to: str | None
    ended_at: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class OwnedName:
    """An output name, the job that published under it last, and the size that it published."""

    outbox: str
    name: str
    output: str
    inbox: str
    source: str
    job: str
    size: int | None  # bytes; None where the job's renditions are not recorded any more


def _record(row: tuple[Any, ...]) -> Record:
    *known, recipe, moved_to, ended_at = row
    return Record(
        known=known_of(tuple(known)),
        recipe=recipe,
        moved_to=None if moved_to is None else os.fsdecode(moved_to),
        ended_at=ended_at,
    )


class LedgerQueries(LedgerReader):
    """A connection for one command."""

    @classmethod
    def open_existing(cls, path: str, *, live: bool, roots: Collection[str] = ()) -> "LedgerQueries | None":
        """Open the ledger for reading, None when there is none. Raises sqlite3.DatabaseError.

        One whose folder was moved since it was written is read as the next daemon will have it, with the paths of
        today's `roots`. Without a daemon and without a WAL the file alone is the whole ledger, and `immutable` reads it without
        leaving -wal and -shm files behind or needing to write in the folder. With either, the usual way has to do.
        """
        if not os.path.exists(path):
            return None
        quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        alone = not live and not _size(path + "-wal")
        connection = sqlite3.connect(
            f"file:{quoted}?{'immutable=1' if alone else 'mode=ro'}", uri=True, check_same_thread=False
        )
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            home = os.path.dirname(path)
            if roots and home_of(connection) not in {home, None}:
                connection = _copy_in_memory(connection)
                settle_in(connection, home, roots)
        except sqlite3.Error:
            connection.close()
            raise
        if version == 0:  # a daemon that was killed while it made the file: nothing is in it
            connection.close()
            return None
        return cls(connection)

    @classmethod
    def open_site(cls, state_dir: str, inboxes: Iterable[InboxSpec], *, live: bool) -> "LedgerQueries | None":
        """Open the ledger of a configuration for reading, with its paths as they are today; as open_existing."""
        return cls.open_existing(os.path.join(state_dir, LEDGER_NAME), live=live, roots=roots_of(inboxes))

    def records(self, inbox: str) -> Iterator[Record]:
        """Yield every job of the inbox, oldest first."""
        last = ""
        query = f"{_RECORD} WHERE job > ? AND inbox = ? ORDER BY job LIMIT {_PAGE}"
        while page := self._db.execute(query, (last, inbox)).fetchall():
            yield from map(_record, page)
            last = page[-1][0]

    def record(self, job: str) -> Record | None:
        row = self._db.execute(f"{_RECORD} WHERE job = ?", (job,)).fetchone()
        return None if row is None else _record(row)

    def newest_record(self, inbox: str, path: str) -> Record | None:
        """Return the newest job of the path, whatever became of it."""
        query = f"{_RECORD} WHERE inbox = ? AND path = ? ORDER BY job DESC LIMIT 1"
        row = self._db.execute(query, (inbox, os.fsencode(path))).fetchone()
        return None if row is None else _record(row)

    def moved_to(self, path: str) -> Record | None:
        """Return the job whose original was moved to this absolute path. Reads the whole table."""
        query = f"{_RECORD} WHERE moved_to = ? ORDER BY job DESC LIMIT 1"
        row = self._db.execute(query, (os.fsencode(path),)).fetchone()
        return None if row is None else _record(row)

    def owned_names(self, outbox: str, inbox: str) -> Iterator[OwnedName]:
        """Yield the names that done jobs of the inbox own in the outbox."""
        key = b""
        query = (
            "SELECT n.key, n.name, n.output, n.source, n.job, r.size FROM names n JOIN jobs j ON j.job = n.job"
            " LEFT JOIN renditions r ON r.job = n.job AND r.name = n.name"
            " WHERE n.outbox = ? AND n.key > ? AND n.inbox = ? AND j.state = 'done' AND n.obsolete_by IS NULL"
            " ORDER BY n.key LIMIT ?"
        )
        while page := self._db.execute(query, (os.fsencode(outbox), key, inbox, _PAGE)).fetchall():
            for _, name, output, source, job, size in page:
                yield OwnedName(
                    outbox=outbox,
                    name=os.fsdecode(name),
                    output=output,
                    inbox=inbox,
                    source=os.fsdecode(source),
                    job=job,
                    size=size,
                )
            key = page[-1][0]

    def name_at(self, outbox: str, key: str) -> OwnedName | None:
        """Return who owns the name with this collision key."""
        query = "SELECT name, output, inbox, source, job FROM names WHERE outbox = ? AND key = ?"
        row = self._db.execute(query, (os.fsencode(outbox), os.fsencode(key))).fetchone()
        if row is None:
            return None
        name, output, inbox, source, job = row
        return OwnedName(
            outbox=outbox,
            name=os.fsdecode(name),
            output=output,
            inbox=inbox,
            source=os.fsdecode(source),
            job=job,
            size=None,
        )

    def counts(self) -> dict[str, dict[str, int]]:
        """Return inbox → state → jobs."""
        found: dict[str, dict[str, int]] = {}
        for inbox, state, count in self._db.execute(
            "SELECT inbox, state, count(*) FROM jobs GROUP BY inbox, state"
        ):
            found.setdefault(inbox, {})[state] = count
        return found

    def ended_between(self, since_s: float, until_s: float) -> dict[str, dict[str, int]]:
        """Return state (done, failed) → inbox → jobs that ended in this time; looks at jobs of the day before too.

        The primary key sorts by the time at which a job was queued, so that a long history costs nothing.
        """
        first = f"{max(int((since_s - _QUEUED_BEFORE_S) * 1000), 0):012x}"
        found: dict[str, dict[str, int]] = {"done": {}, "failed": {}}
        rows = self._db.execute(
            "SELECT state, inbox, count(*) FROM jobs WHERE job >= ? AND state IN ('done', 'failed')"
            " AND ended_at >= ? AND ended_at < ? GROUP BY state, inbox",
            (first, since_s, until_s),
        )
        for state, inbox, count in rows:
            found[state][inbox] = count
        return found

    def last_failures(self, count: int, since_s: float) -> list[Record]:
        """Return the newest failed jobs queued since then, newest first."""
        query = f"{_RECORD} WHERE state = 'failed' AND job >= ? ORDER BY job DESC LIMIT ?"
        first = f"{max(int(since_s * 1000), 0):012x}"
        return [_record(row) for row in self._db.execute(query, (first, count))]

    def has_newer(self, record: Record) -> bool:
        """Whether the path got another job later."""
        newest = self.newest(record.known.identity.inbox, record.known.identity.path)
        return newest is not None and newest.job != record.known.job

    def blocked(self, inbox: str) -> list[Known]:
        """Return failed jobs whose file could not be moved out of the inbox."""
        query = f"{SELECT_KNOWN} WHERE inbox = ? AND state = 'failed' AND original = 'blocked' ORDER BY job"
        return [known_of(row) for row in self._db.execute(query, (inbox,))]

    def stale(self, inbox: str, recipe_hash: str) -> list[Known]:
        """Return the jobs of originals that still lie in the inbox and were rendered with another recipe."""
        query = (
            f"{SELECT_KNOWN} WHERE inbox = ? AND state = 'done' AND original IN ('kept', 'stuck')"
            " AND recipe_hash != ? ORDER BY job"
        )
        return [known_of(row) for row in self._db.execute(query, (inbox, recipe_hash))]


def _copy_in_memory(connection: sqlite3.Connection) -> sqlite3.Connection:
    copy = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    with contextlib.closing(connection):
        connection.backup(copy)
    return copy


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
