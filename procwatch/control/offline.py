"""What commands write into the ledger themselves while no daemon runs, under the daemon's own lock."""

import contextlib
import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from procwatch.control.commands import forget
from procwatch.control.pruning import orphans, prune_all
from procwatch.delivery.real_fs import RealFs
from procwatch.dispatch.journal import Journal
from procwatch.dispatch.ledger import Ledger
from procwatch.dispatch.ledger_home import roots_of
from procwatch.dispatch.ledger_queries import LedgerQueries
from procwatch.dispatch.ledger_reader import LEDGER_NAME
from procwatch.intake.lock import lock_folder

if TYPE_CHECKING:
    from procwatch.settings.values import Settings


@contextmanager
def ledger_alone(state_dir: str, roots: Collection[str] = ()) -> Iterator[Journal]:
    """Open the ledger for writing, through a journal as the daemon does. Raises AlreadyRunningError when a daemon starts.

    With `roots`, its paths follow first to where it is now.
    """
    lock = lock_folder(state_dir, "the state folder")
    try:
        ledger = Ledger.open(os.path.join(state_dir, LEDGER_NAME))
        try:
            if roots:
                ledger.settle_in(state_dir, roots)
        except BaseException:
            ledger.close()
            raise
        with contextlib.closing(Journal(ledger)) as journal:
            yield journal
    finally:
        os.close(lock)


def forget_offline(state_dir: str, jobs: Sequence[str]) -> None:
    """Let ended jobs no longer answer for the files at their paths."""
    with ledger_alone(state_dir) as journal:
        journal.call(lambda ledger: forget(ledger, list(jobs)), durable=True)


def count_orphans(settings: "Settings", *, even_if_empty: bool) -> int:
    """Return how many outputs of deleted originals there are."""
    ledger = LedgerQueries.open_site(settings.state_dir, settings.inboxes, live=False)
    if ledger is None:
        return 0
    with contextlib.closing(ledger):
        found = [
            orphan
            for spec in settings.inboxes
            if spec.on_success == "keep"
            for orphan in orphans(ledger, spec, even_if_empty=even_if_empty)
        ]
    return sum(len(orphan.outputs) for orphan in found)


def prune_offline(settings: "Settings", *, even_if_empty: bool) -> int:
    """Remove the outputs of deleted originals while no daemon runs."""
    if not os.path.lexists(os.path.join(settings.state_dir, LEDGER_NAME)):
        return 0
    specs = {spec.name: spec for spec in settings.inboxes}
    with ledger_alone(settings.state_dir, roots_of(settings.inboxes)) as journal:
        ledger = LedgerQueries.open_site(settings.state_dir, settings.inboxes, live=True)
        assert ledger is not None
        with contextlib.closing(ledger):
            return sum(prune_all(journal, RealFs(), ledger, specs, even_if_empty=even_if_empty).values())
