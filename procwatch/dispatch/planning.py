"""What is decided before anything is published: is it still the file that was rendered, are the staged files what the
worker was asked for, which names do they get.
"""

import errno
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from procwatch.delivery.fsops import Folders, FsOps, NotPlainFileError
from procwatch.delivery.naming import plan_names
from procwatch.dispatch.job import RecipePlan
from procwatch.dispatch.ledger_reader import LedgerReader, Rendition
from procwatch.dispatch.name_choice import NameChooser, NameConflictError
from procwatch.dispatch.orders import PublishOrder, Results
from procwatch.dispatch.originals import file_digest, inbox_away
from procwatch.model import Fingerprint, Identity, InboxSpec, Staged


class StagedLostError(Exception):
    """A staged file is neither in staging nor in place: the job has to be rendered again."""


@dataclass(kw_only=True, slots=True)
class Plan:
    """A job that may be published, and as what."""

    order: PublishOrder
    identity: Identity
    fingerprint: Fingerprint
    renditions: list[Rendition]
    replaces: bool = True  # the source has had renditions before; names that it no longer uses have to go

    def line(self) -> dict[str, Any]:
        return {**self.order.line, "outputs": [rendition.name for rendition in self.renditions]}


class Refusals:
    """Tells the loop why something is not published."""

    def __init__(self, post: Callable[..., None], results: Results) -> None:
        self._post = post
        self._results = results

    def tell(self, order: PublishOrder, code: str, reason: str) -> None:
        """It is the job's own trouble."""
        self._post(self._results.unpublished, order.job, code, reason)

    def trouble(self, order: PublishOrder, error: OSError) -> None:
        """The output side refuses, and all of the inbox waits; but for a path that is too long nobody else has to."""
        if error.errno == errno.ENAMETOOLONG:
            self.tell(order, "name-conflict", "the path of an output is longer than the file system allows")
        else:
            self._post(self._results.trouble, order.job, "publish", error)


class Planner:
    """Plans a batch. Every method runs on the finishing lane."""

    def __init__(
        self,
        *,
        spec: InboxSpec,
        fs: FsOps,
        reader: LedgerReader,
        refusals: Refusals,
        is_there: Callable[[], bool],
    ) -> None:
        self._spec = spec
        self._fs = fs
        self._refusals = refusals
        self._is_there = is_there
        self._names = NameChooser(spec, fs, reader)
        self._wished: dict[str, dict[str, str]] = {}  # job → output → name
        self._slots: set[str] = set()  # folders of staging that are no links, looked at once a batch

    def begin_batch(self, orders: Sequence[PublishOrder]) -> None:
        """Forget the last batch; ask for all names of this one at once."""
        self._slots.clear()
        self._wished = {order.job: _wishes(order) for order in orders}
        self._names.begin_batch(name for names in self._wished.values() for name in names.values())

    def draft(self, path: str, recipe: RecipePlan) -> None:
        """Prepare the publication of a file that is being rendered: 0.13 ms that nobody has to wait for then.

        For nothing where a template asks for the size of what is not there yet.
        """
        wished: set[str] = set()
        for ext in sorted(set().union(*recipe.extensions.values())):
            made = [_unmade(output, ext, extensions) for output, extensions in recipe.extensions.items()]
            wished.update(_wished_names(path, made, recipe.templates, recipe.name).values())
        self._names.draft(wished)

    def plan(self, order: PublishOrder, inbox: Folders) -> Plan | None:
        """Check the source and the staged files and choose names; None when the job ends here (and was told so)."""
        try:
            fingerprint = self._source_now(order, inbox)
            if fingerprint is None:
                return None
            identity = Identity(
                inbox=self._spec.name, path=order.path, size=fingerprint.size, mtime_ns=fingerprint.mtime_ns
            )
            renditions = self._choose_names(order)
        except NameConflictError as conflict:
            self._refusals.tell(order, "name-conflict", str(conflict))
        except StagedLostError as swapped:
            self._refusals.tell(order, "staging-lost", str(swapped))
        except OSError as error:
            self._refusals.trouble(order, error)
        else:
            return Plan(order=order, identity=identity, fingerprint=fingerprint, renditions=renditions)
        return None

    def plan_again(self, order: PublishOrder, inbox: Folders) -> Plan | None:
        """Plan once more, after another inbox took a name of the same outbox."""
        self._names.forget_owners()
        return self.plan(order, inbox)

    def rename(self, plan: Plan, lost: Rendition) -> Rendition:
        """Give a rendition of the plan the next name, because somebody's file has its own. Raises NameConflictError."""
        self._names.lose(lost)
        renamed = self._names.choose(plan.order, lost, self._wished[plan.order.job][lost.output])
        position = next(index for index, old in enumerate(plan.renditions) if old.output == lost.output)
        plan.renditions[position] = renamed
        return renamed

    def lose(self, rendition: Rendition) -> None:
        """Somebody has the name that was chosen last: do not choose it again in this batch."""
        self._names.lose(rendition)

    def _source_now(self, order: PublishOrder, inbox: Folders) -> Fingerprint | None:
        """Return the source's fingerprint if its content is what was rendered, else tell and return None."""
        try:
            status = self._status(order.path, inbox)
        except (
            NotPlainFileError,
            PermissionError,
        ) as error:  # swapped for a link, or shut: its file's own trouble
            self._refusals.tell(order, "changed", f"the file cannot be reached any more: {error}")
            return None
        if status is None:
            if not self._is_there():
                raise inbox_away(order.path)
            self._refusals.tell(order, "vanished", "the file was removed while it was rendered")
            return None
        now = Fingerprint.of(status)
        if now == order.fingerprint or (
            replace(now, mtime_ns=order.fingerprint.mtime_ns) == order.fingerprint
            and (digest := order.digest()) is not None
            and file_digest(self._spec.path, order.path) == digest
        ):
            return now
        self._refusals.tell(order, "changed", "the file changed while it was rendered")
        return None

    def _status(self, path: str, inbox: Folders) -> os.stat_result | None:
        while True:
            with inbox.beneath(path) as source:
                status = None if source is None else self._fs.lstat(source)
            if status is not None or not inbox.forget(path):
                return status

    def _choose_names(self, order: PublishOrder) -> list[Rendition]:
        self._check_answer(order)
        folder = os.path.dirname(order.staging)
        self._check_folder(folder)
        wished = self._wished[order.job]
        chosen = []
        for staged in order.rendered.renditions:
            path = os.path.join(folder, staged.file)
            rendition = Rendition(
                output=staged.output,
                outbox=self._spec.outbox,
                name="",
                key="",
                staged=path,
                inode=staged.inode,
                size=staged.size,
                replace=False,
            )
            chosen.append(self._names.choose(order, rendition, wished[staged.output]))
        return chosen

    def _check_answer(self, order: PublishOrder) -> None:
        """Make sure that the worker made what the recipe asks for (it may lie; the recipe may be a newer one)."""
        made = [staged.output for staged in order.rendered.renditions]
        if len(made) != len(order.templates) or set(made) != order.templates.keys():
            raise StagedLostError(
                f"the worker made {', '.join(sorted(made)) or 'nothing'}: not what the recipe asks for"
            )
        prefix = os.path.basename(order.staging)
        for index, staged in enumerate(order.rendered.renditions):
            if staged.file != f"{prefix}{index}.{staged.ext}" or "/" in staged.file:
                raise StagedLostError("the worker names files that are not of this attempt")

    def _check_folder(self, folder: str) -> None:
        """Make sure that what the files lie in is no link to elsewhere."""
        if folder in self._slots:
            return
        status = self._fs.lstat(folder)
        if status is not None and not stat.S_ISDIR(status.st_mode):
            raise StagedLostError("the staging folder was swapped for something else")
        if status is not None:
            self._slots.add(folder)


def _wishes(order: PublishOrder) -> dict[str, str]:
    return _wished_names(order.path, order.rendered.renditions, order.templates, order.recipe)


def _unmade(output: str, ext: str, extensions: frozenset[str]) -> Staged:
    """Return what a rendition may come to be like, as far as it matters for its name."""
    ext = ext if ext in extensions else min(extensions)
    return Staged(output=output, file="", ext=ext, width=0, height=0, size=0, inode=0)


def _wished_names(
    path: str, renditions: Sequence[Staged], templates: Mapping[str, str], recipe: str
) -> dict[str, str]:
    """Return output → the name that its template makes; empty for an answer that is refused later anyway."""
    try:
        return plan_names(path, renditions, templates, recipe)
    except (KeyError, ValueError):
        return {}
