"""Open the ledger for writing; a damaged one is set aside and begun anew, so that the daemon always starts."""

import os
import sqlite3
import time
from collections.abc import Callable

from procwatch.dispatch.ledger import Ledger

_PARTS = ("", "-wal", "-shm")


def open_ledger(path: str, on_reset: Callable[[str, str], None]) -> Ledger:
    """Return the ledger at `path`; `on_reset(reason, kept_as)` is told when it had to be begun anew.

    The whole file is checked only after a run that did not end in order: that is when damage happens.
    Raises ConfigError for a ledger that a newer procwatch wrote, OSError or sqlite3.OperationalError for one that
    cannot be opened for another reason than damage.
    """
    try:
        ledger = Ledger.open(path)
        try:
            _check(ledger)
        except BaseException:
            ledger.close()  # before the file is set aside
            raise
        return ledger
    except sqlite3.OperationalError:
        raise  # locked, full, not permitted: nothing that a new file would mend
    except sqlite3.DatabaseError as error:
        kept_as = _set_aside(path)
        on_reset(str(error), kept_as)
        return Ledger.open(path)


def _check(ledger: Ledger) -> None:
    last = ledger.last_run()
    if last is None or last[1]:
        return
    verdict = ledger.quick_check()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)


def _set_aside(path: str) -> str:
    kept_as = f"{path}.damaged-{time.strftime('%Y%m%dT%H%M%S')}"
    for part in _PARTS:
        if os.path.lexists(path + part):
            os.replace(path + part, kept_as + part)
    return kept_as
