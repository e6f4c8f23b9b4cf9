"""What commands write into the ledger themselves while no daemon runs, under the daemon's own lock."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from procwatch.control.commands import forget
from procwatch.dispatch.journal import Journal
from procwatch.dispatch.ledger import LEDGER_NAME, Ledger
from procwatch.intake.lock import lock_folder


@contextmanager
def ledger_alone(state_dir: str) -> Iterator[Journal]:
    """Open the ledger for writing, through a journal as the daemon does. Raises AlreadyRunningError when a daemon starts."""
    lock = lock_folder(state_dir, "the state folder")
    try:
        ledger = Ledger.open(os.path.join(state_dir, LEDGER_NAME))
        with contextlib.closing(Journal(ledger)) as journal:
            yield journal
    finally:
        os.close(lock)


def forget_offline(state_dir: str, jobs: Sequence[str]) -> None:
    """Let ended jobs no longer answer for the files at their paths."""
    with ledger_alone(state_dir) as journal:
        journal.call(lambda ledger: forget(ledger, list(jobs)), durable=True)
