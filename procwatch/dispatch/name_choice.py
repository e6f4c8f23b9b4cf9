"""Which names the renditions of a job get: the wished ones, or the next that are ours or free.

Who owns a name stands in the ledger; a name that it does not know belongs to whoever has put a file there.
"""

import os
import stat
from dataclasses import replace
from typing import Final

from procwatch.delivery.fsops import FsOps, bars_folder
from procwatch.delivery.naming import alternatives, around_files, collision_key
from procwatch.dispatch.ledger import LedgerReader, Rendition
from procwatch.dispatch.orders import PublishOrder
from procwatch.model import InboxSpec

_SOMEBODY: Final = "\0"  # holds a name and is none of our sources: no path has this in it


class NameConflictError(Exception):
    """The output name belongs to another file, and the inbox says that this is a failure."""


class NameChooser:
    """Remembers, for the length of a batch, the names that are given but not yet in the ledger."""

    def __init__(self, spec: InboxSpec, fs: FsOps, reader: LedgerReader) -> None:
        self._spec = spec
        self._fs = fs
        self._reader = reader
        self._claimed: dict[tuple[str, str], str] = {}

    def begin_batch(self) -> None:
        self._claimed.clear()

    def lose(self, rendition: Rendition) -> None:
        """Somebody took the rendition's name after it was chosen: else it would pass for our own."""
        self._claimed[rendition.outbox, rendition.key] = _SOMEBODY

    def choose(self, order: PublishOrder, rendition: Rendition, wished: str) -> Rendition:
        """Return the rendition with the first name that is ours or free (on_conflict decides about others')."""
        mode, token = self._spec.on_conflict, order.job[-6:]
        clear = around_files(wished, token, lambda folder: self._is_file(rendition.outbox, folder))
        for name in alternatives(clear, token):
            key = collision_key(name)
            claim = f"{order.job}/{rendition.output}"
            holder = self._holder(rendition.outbox, name, key, claim)
            usable = holder in (None, order.path) or mode == "overwrite"
            if usable and not self._is_folder(rendition.outbox, name):
                self._claimed[rendition.outbox, key] = claim
                return replace(rendition, name=name, key=key, replace=holder is not None)
            if mode == "fail":
                raise NameConflictError(name)
        raise NameConflictError(wished)

    def _is_file(self, outbox: str, name: str) -> bool:
        """Whether the name is, or is about to be, that of an output or of somebody's file, and so of no folder."""
        key = collision_key(name)
        if (outbox, key) in self._claimed or self._reader.owner(outbox, key) is not None:
            return True
        return bars_folder(self._fs, os.path.join(outbox, name))

    def _is_folder(self, outbox: str, name: str) -> bool:
        """Whether a folder has the name: no file replaces one, not even where its owner or on_conflict would."""
        status = self._fs.lstat(os.path.join(outbox, name))
        return status is not None and stat.S_ISDIR(status.st_mode)

    def _holder(self, outbox: str, name: str, key: str, claim: str) -> str | None:
        """Return who holds the name: a source path of this inbox, _SOMEBODY for anybody else, None when it is free."""
        if self._claimed.get((outbox, key), claim) != claim:
            return _SOMEBODY
        owner = self._reader.owner(outbox, key)
        if owner is not None:
            return owner[1] if owner[0] == self._spec.name else _SOMEBODY
        return None if self._fs.lstat(os.path.join(outbox, name)) is None else _SOMEBODY
