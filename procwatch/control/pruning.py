"""Outputs of kept originals that somebody deleted: found on request, removed only when asked."""

import contextlib
import errno
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from procwatch.delivery.fsops import FsOps
from procwatch.dispatch.journal import Journal
from procwatch.dispatch.ledger import Ledger
from procwatch.dispatch.ledger_reader import Known, LedgerReader
from procwatch.errors import UsageError
from procwatch.fdopen import is_beneath
from procwatch.model import InboxSpec, Original
from procwatch.observe.console import safe_text


@dataclass(frozen=True, kw_only=True, slots=True)
class Orphan:
    """A done job whose kept original is gone, and the outputs that are left of it: (outbox, key, name)."""

    known: Known
    outputs: tuple[tuple[str, str, str], ...]


def orphans(ledger: LedgerReader, spec: InboxSpec, *, even_if_empty: bool = False) -> list[Orphan]:
    """Return what would be pruned of an inbox.

    Raises UsageError when the inbox is not there, or is empty although originals should be in it: that is far more
    often a mount that is missing than a wish to lose every output. So it does where an original cannot be seen.
    """
    gone = [known for known in ledger.kept(spec.name) if _is_gone(spec, known.identity.path)]
    if not gone:
        return []
    try:
        empty = not os.listdir(spec.path)
    except OSError as error:
        raise UsageError(f"inbox {spec.name}: {spec.path}: {error.strerror}", hint="is it mounted?") from None
    if empty and not even_if_empty:
        raise UsageError(
            f"inbox {spec.name} is empty, and {len(gone)} originals should be in it",
            hint="if it is mounted and they are meant to be gone, add --even-if-empty",
        )
    return [
        Orphan(known=known, outputs=tuple(ledger.names_of_source(spec.name, known.identity.path)))
        for known in gone
    ]


def _is_gone(spec: InboxSpec, path: str) -> bool:
    try:
        return not is_beneath(spec.path, path)
    except OSError as error:
        link = error.errno == errno.ELOOP
        reason = "a folder on the way is a symbolic link" if link else error.strerror
        raise UsageError(
            f"inbox {spec.name}: {safe_text(path)} may be there or not: {reason}",
            hint="nothing was removed; let the user of procwatch search that folder, or move what is in the way",
        ) from None


def prune(journal: Journal, fs: FsOps, found: list[Orphan]) -> int:
    """Remove the outputs, then forget them; return how many files are gone. Not on the loop: it waits for disks."""
    removed = 0
    for orphan in found:
        for outbox, _, name in orphan.outputs:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                fs.unlink(os.path.join(outbox, name))
                removed += 1
        journal.call(_forgetting(orphan))
    return removed


def prune_all(
    journal: Journal, fs: FsOps, ledger: LedgerReader, specs: Mapping[str, InboxSpec], *, even_if_empty: bool
) -> dict[str, int]:
    """Prune every inbox with on_success = "keep"; return inbox → files removed."""
    found = {
        name: orphans(ledger, spec, even_if_empty=even_if_empty)
        for name, spec in specs.items()
        if spec.on_success == "keep"
    }
    return {name: prune(journal, fs, each) for name, each in found.items()}


def _forgetting(orphan: Orphan) -> Callable[[Ledger], None]:
    def write(ledger: Ledger) -> None:
        for outbox, key, _ in orphan.outputs:
            ledger.disown(outbox, key)
        ledger.disposed(orphan.known.job, Original.GONE, None)

    return write
