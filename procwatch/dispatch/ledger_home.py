"""The ledger's own place, by which the absolute paths in it follow when its folder is moved, copied or mounted elsewhere.

Without that, a site that was copied would own, replace and prune the results of the one that it was copied from.
"""

import os
import sqlite3
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from procwatch.model import InboxSpec

_UPDATES_BELOW: Final = (
    "UPDATE renditions SET staged = CAST(? || substr(staged, ?) AS BLOB) WHERE substr(staged, 1, ?) = ?",
    "UPDATE jobs SET moved_to = CAST(? || substr(moved_to, ?) AS BLOB) WHERE substr(moved_to, 1, ?) = ?",
)


def roots_of(inboxes: Iterable[InboxSpec]) -> frozenset[str]:
    """Return the folders that the ledger has absolute paths of or below."""
    return frozenset(
        folder for spec in inboxes for folder in (spec.outbox, spec.archive, spec.failed) if folder
    )


def moved_roots(before: str, now: str, roots: Collection[str]) -> dict[str, str]:
    """Return old root → new root, for the ledger's folder `before` and `now`.

    What the two have in common at their ends says what was moved: from /a/site/.procwatch to /b/site/.procwatch it was
    all that is below /a. A root that is not below it, or whose old place is a root still, stayed where it is.
    """
    old, new = before.split("/"), now.split("/")
    while len(old) > 1 and len(new) > 1 and old[-1] == new[-1]:
        old.pop()
        new.pop()
    old_base, new_base = "/".join(old), "/".join(new)
    places = {root: old_base + root[len(new_base) :] for root in roots if root.startswith(new_base + "/")}
    return {place: root for root, place in places.items() if place != root and place not in roots}


def home_of(db: sqlite3.Connection) -> str | None:
    """Return the folder in which the ledger was written last; None where it was never said."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    row = db.execute("SELECT path FROM home").fetchone() if version > 1 else None
    return None if row is None else os.fsdecode(row[0])


def settle_in(db: sqlite3.Connection, home: str, roots: Collection[str]) -> str | None:
    """Have the paths in the ledger follow it to its present folder, in one transaction. Return where it was, if elsewhere."""
    before = home_of(db)
    if before == home:
        return None
    db.execute("BEGIN IMMEDIATE")
    try:
        if before is not None:
            _follow(db, moved_roots(before, home, roots))
        db.execute("DELETE FROM home")
        db.execute("INSERT INTO home (path) VALUES (?)", (os.fsencode(home),))
        db.execute("COMMIT")
    except BaseException:
        db.execute("ROLLBACK")
        raise
    return before


def _follow(db: sqlite3.Connection, roots: Mapping[str, str]) -> None:
    for before, now in roots.items():
        old, new = os.fsencode(before), os.fsencode(now)
        # What the ledger has of the new place was written there, later.
        db.execute("UPDATE OR IGNORE names SET outbox = ? WHERE outbox = ?", (new, old))
        db.execute("DELETE FROM names WHERE outbox = ?", (old,))
        db.execute("UPDATE renditions SET outbox = ? WHERE outbox = ?", (new, old))
        for update in _UPDATES_BELOW:
            db.execute(update, (new, len(old) + 1, len(old) + 1, old + b"/"))
