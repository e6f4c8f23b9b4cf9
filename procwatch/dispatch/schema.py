"""The ledger's tables and the steps from one version of them to the next."""

import sqlite3

from procwatch.errors import ConfigError

#: Step n brings a ledger from version n to n + 1. Steps are only ever appended.
_STEPS = (
    """
    CREATE TABLE runs (
        run INTEGER PRIMARY KEY,
        boot TEXT NOT NULL,          -- /proc/sys/kernel/random/boot_id
        pid INTEGER NOT NULL,
        started_at REAL NOT NULL,    -- epoch seconds, as every *_at
        ended_at REAL                -- NULL: the run did not end in order
    );
    CREATE TABLE jobs (
        job TEXT PRIMARY KEY,
        inbox TEXT NOT NULL,
        path BLOB NOT NULL,          -- relative to the inbox, bytes
        size INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        sha256 TEXT,
        recipe TEXT NOT NULL,
        recipe_hash TEXT NOT NULL,
        state TEXT NOT NULL,         -- model.State
        original TEXT NOT NULL,      -- model.Original
        moved_to BLOB,
        attempts INTEGER NOT NULL,
        deaths INTEGER NOT NULL DEFAULT 0,
        suspicion INTEGER NOT NULL DEFAULT 0,
        error TEXT,
        reason TEXT,
        worker_pid INTEGER,
        queued_at REAL NOT NULL,
        ended_at REAL,
        line TEXT,                   -- fields of the terminal log line until it is known to be written
        logged INTEGER
    ) WITHOUT ROWID;
    CREATE INDEX jobs_by_path ON jobs (inbox, path, job);
    CREATE INDEX jobs_open ON jobs (inbox, state) WHERE state IN ('queued', 'running', 'publishing');
    CREATE INDEX jobs_undisposed ON jobs (inbox, original) WHERE original = 'inbox';
    CREATE INDEX jobs_stuck ON jobs (inbox, original) WHERE original IN ('stuck', 'blocked');
    CREATE INDEX jobs_unlogged ON jobs (inbox, logged) WHERE logged = 0;
    CREATE TABLE attempts (
        job TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        run INTEGER NOT NULL,
        started_at REAL NOT NULL,
        PRIMARY KEY (job, attempt)
    ) WITHOUT ROWID;
    CREATE TABLE renditions (
        job TEXT NOT NULL,
        position INTEGER NOT NULL,
        output TEXT NOT NULL,
        outbox BLOB NOT NULL,
        name BLOB NOT NULL,
        key BLOB NOT NULL,
        staged BLOB NOT NULL,
        inode INTEGER NOT NULL,
        size INTEGER NOT NULL,
        replace INTEGER NOT NULL,
        PRIMARY KEY (job, position)
    ) WITHOUT ROWID;
    CREATE TABLE names (
        outbox BLOB NOT NULL,
        key BLOB NOT NULL,           -- casefold(NFC(name)): what a careless file system takes for equal
        name BLOB NOT NULL,
        inbox TEXT NOT NULL,
        source BLOB NOT NULL,        -- the path in the inbox that owns the name
        output TEXT NOT NULL,
        job TEXT NOT NULL,
        obsolete_by TEXT,            -- the job whose publishing replaces this name by another
        PRIMARY KEY (outbox, key)
    ) WITHOUT ROWID;
    CREATE INDEX names_by_job ON names (job);
    CREATE INDEX jobs_ended ON jobs (inbox, ended_at);
    CREATE INDEX names_by_source ON names (inbox, source);
    CREATE INDEX names_obsolete ON names (obsolete_by) WHERE obsolete_by IS NOT NULL;
    """,
    """
    CREATE TABLE home (
        path BLOB NOT NULL           -- the folder in which the ledger was written last, see ledger_home.py
    );
    """,
)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the ledger to the newest version. Raises ConfigError for one that a newer procwatch wrote."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > len(_STEPS):
        raise ConfigError(
            f"the ledger has version {version}, this procwatch knows up to {len(_STEPS)}",
            hint="upgrade procwatch, or give it another state folder",
        )
    for number in range(version, len(_STEPS)):
        connection.executescript(
            f"BEGIN IMMEDIATE; {_STEPS[number]} PRAGMA user_version = {number + 1}; COMMIT;"
        )
