"""Which names the renditions of a job get: the wished ones, or the next that are ours or free.

Who owns a name stands in the ledger; a name that it does not know belongs to whoever has put a file there.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Final

from procwatch.delivery.fsops import FsOps, bars_folder
from procwatch.delivery.naming import alternatives, around_files, collision_key
from procwatch.dispatch.ledger_reader import LedgerReader, Rendition
from procwatch.dispatch.orders import PublishOrder
from procwatch.model import InboxSpec

_SOMEBODY: Final = "\0"  # holds a name and is none of our sources: no path has this in it


class NameConflictError(Exception):
    """The output name belongs to somebody else, and the inbox says that this is a failure. Its text says to whom."""


class NameChooser:
    """Remembers, for the length of a batch, the names that are given but not yet in the ledger."""

    def __init__(self, spec: InboxSpec, fs: FsOps, reader: LedgerReader) -> None:
        self._spec = spec
        self._fs = fs
        self._reader = reader
        self._claimed: dict[tuple[str, str], str] = {}
        self._owners: dict[tuple[str, str], tuple[str, str] | None] = {}
        self._drafted: dict[tuple[str, str], tuple[str, str] | None] = {}
        self._folders: set[tuple[str, str]] = set()  # that no file bars, and no owner

    def begin_batch(self, wished: Iterable[str]) -> None:
        """Forget the last batch, and ask the ledger once for all names that this one wishes for."""
        self._claimed.clear()
        self._folders.clear()
        keys = self._keys(wished)
        drafted, self._drafted = self._drafted, {}
        self._owners = drafted if drafted.keys() >= keys else self._reader.owners(keys)

    def draft(self, wished: Iterable[str]) -> None:
        """Ask the ledger already for names that the next batch may wish for.

        Nobody else of this inbox takes one before that batch begins; of one that another inbox takes, the ledger tells
        when the intent is to be committed.
        """
        self._drafted = self._reader.owners(self._keys(wished))

    def _keys(self, names: Iterable[str]) -> set[tuple[str, str]]:
        return {(self._spec.outbox, collision_key(part)) for name in names for part in _with_folders(name)}

    def forget_owners(self) -> None:
        """Somebody else has taken a name in the ledger since: ask again."""
        self._owners.clear()
        self._folders.clear()

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
            status = self._fs.lstat(os.path.join(rendition.outbox, name))
            holder = self._holder(rendition.outbox, key, claim, exists=status is not None)
            if holder == _SOMEBODY and self._is_left(replace(rendition, name=name, key=key), status):
                holder = order.path
            usable = holder in (None, order.path) or mode == "overwrite"
            # No file replaces a folder, not even where its owner or on_conflict would.
            if usable and not (status is not None and stat.S_ISDIR(status.st_mode)):
                self._claimed[rendition.outbox, key] = claim
                return replace(rendition, name=name, key=key, replace=holder is not None)
            if mode == "fail":
                raise NameConflictError(self._whose(order, name, rendition.outbox, status))
        raise NameConflictError(f"every output name like {wished} belongs to another file")

    def _whose(self, order: PublishOrder, name: str, outbox: str, status: os.stat_result | None) -> str:
        if status is not None and stat.S_ISDIR(status.st_mode):
            return f"the output name {name} is that of a folder"
        owner = self._owner(outbox, collision_key(name))
        if owner is None or owner == (
            self._spec.name,
            order.path,
        ):  # its own, until somebody took it just now
            whose = "another file" if status is None else "a file that procwatch did not make"
        else:
            inbox, source = owner
            whose = source if inbox == self._spec.name else f"{source} of inbox {inbox}"
        return f"the output name {name} belongs to {whose}"

    def _is_left(self, rendition: Rendition, status: os.stat_result | None) -> bool:
        """Whether the file that has the name, of which the ledger knows nothing, is this very rendition.

        A power cut right after the rename may leave it so: see publishing. Nothing is lost by replacing it.
        """
        place = rendition.outbox, rendition.key
        if status is None or status.st_size != rendition.size or place in self._claimed:
            return False
        path = os.path.join(rendition.outbox, rendition.name)
        return self._owner(*place) is None and self._fs.same_bytes(path, rendition.staged)

    def _is_file(self, outbox: str, name: str) -> bool:
        """Whether the name is, or is about to be, that of an output or of somebody's file, and so of no folder."""
        key = collision_key(name)
        if (outbox, key) in self._claimed:
            return True
        if (outbox, name) in self._folders:
            return False
        if self._owner(outbox, key) is not None or bars_folder(self._fs, os.path.join(outbox, name)):
            return True
        self._folders.add((outbox, name))
        return False

    def _owner(self, outbox: str, key: str) -> tuple[str, str] | None:
        if (outbox, key) in self._owners:
            return self._owners[outbox, key]
        return self._reader.owner(outbox, key)

    def _holder(self, outbox: str, key: str, claim: str, *, exists: bool) -> str | None:
        """Return who holds the name: a source path of this inbox, _SOMEBODY for anybody else, None when it is free."""
        if self._claimed.get((outbox, key), claim) != claim:
            return _SOMEBODY
        owner = self._owner(outbox, key)
        if owner is not None:
            return owner[1] if owner[0] == self._spec.name else _SOMEBODY
        return _SOMEBODY if exists else None


def _with_folders(name: str) -> Iterator[str]:
    """Yield the name and the folders above it."""
    while name:
        yield name
        name = name.rpartition("/")[0]
