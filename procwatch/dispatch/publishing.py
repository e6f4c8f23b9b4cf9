"""The publishing half of an inbox's finishing lane: from files in staging to renditions in place.

Order, as DESIGN §4: staged files and the intent made durable, side by side → renamed into place → folders fsynced →
done committed. A crash anywhere is rolled forward from the intent; but for one of the machine before the rename: then
what is staged may be torn, and is rendered again.

The files are fsynced here and not by the worker that wrote them: an fsync is waiting, which a thread can do while the
worker's CPU renders the next picture. With fsync in the workers two CPUs were idle for a sixth of the time.
"""

import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from procwatch.delivery.fsops import Folders, FsOps, NotDurableError, NotPlainFileError
from procwatch.delivery.naming import plan_names
from procwatch.dispatch.journal import Journal, Ticket, as_os_error
from procwatch.dispatch.ledger import Ledger, LedgerReader, NameTakenError, Rendition
from procwatch.dispatch.name_choice import NameChooser, NameConflictError
from procwatch.dispatch.orders import PublishOrder, Results
from procwatch.fdopen import open_source
from procwatch.model import Fingerprint, Identity, InboxSpec

STAGING: Final = ".procwatch-staging"


class StagedLostError(Exception):
    """A staged file is neither in staging nor in place: the job has to be rendered again."""


@dataclass(kw_only=True, slots=True)
class _Plan:
    order: PublishOrder
    identity: Identity
    fingerprint: Fingerprint
    renditions: list[Rendition]
    replaces: bool = True  # the source has had renditions before; names that it no longer uses have to go

    def line(self) -> dict[str, Any]:
        return {**self.order.line, "outputs": [rendition.name for rendition in self.renditions]}


class Publisher:
    """Publishes batches of jobs of one inbox. Every method runs on the finishing lane."""

    def __init__(
        self,
        *,
        spec: InboxSpec,
        fs: FsOps,
        journal: Journal,
        reader: LedgerReader,
        post: Callable[..., None],
        results: Results,
        is_there: Callable[[], bool] = lambda: True,
    ) -> None:
        self._spec = spec
        self._is_there = is_there
        self._fs = fs
        self._journal = journal
        self._reader = reader
        self._post = post
        self._results = results
        self._names = NameChooser(spec, fs, reader)
        self._wished: dict[str, dict[str, str]] = {}  # job → output → name
        self._slots: set[str] = set()  # folders of staging that are no links, looked at once a batch

    def publish(self, orders: Iterable[PublishOrder]) -> None:
        """Publish the batch with one commit for all intents and one for all that is done."""
        orders = list(orders)
        self._slots.clear()
        self._wished = {order.job: _wishes(order) for order in orders}
        self._names.begin_batch(name for names in self._wished.values() for name in names.values())
        with self._fs.folders(self._spec.path) as inbox:
            planned = [plan for order in orders if (plan := self._plan(order, inbox)) is not None]
            intents = self._submit_intents(planned)
            sealed = {
                plan.order.job for plan in planned if self._is_sealed(plan)
            }  # while the ledger's disk works
            intended = [plan for plan in self._committed(planned, intents, inbox) if plan.order.job in sealed]
        placed = [plan for plan in intended if self._place(plan)]
        placed = self._sync_folders(placed)
        self._commit_done(placed)

    def place_all(self, renditions: list[Rendition]) -> None:
        """Rename into place what is not there yet. Raises StagedLostError, FileExistsError, OSError."""
        for rendition in renditions:
            self._place_one(rendition)

    def sync(self, renditions: Iterable[Rendition]) -> None:
        """Make the names of the renditions durable, each folder once."""
        for folder in sorted({folder for rendition in renditions for folder in _folders(rendition)}):
            self._fs.fsync_dir(folder)

    # -- planning ---------------------------------------------------------------------------------

    def _plan(self, order: PublishOrder, inbox: Folders) -> _Plan | None:
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
            self._tell(order, "name-conflict", f"the output name {conflict} belongs to another file")
        except StagedLostError as swapped:
            self._tell(order, "staging-lost", str(swapped))
        except OSError as error:
            self._trouble(order, error)
        else:
            return _Plan(order=order, identity=identity, fingerprint=fingerprint, renditions=renditions)
        return None

    def _source_now(self, order: PublishOrder, inbox: Folders) -> Fingerprint | None:
        """Return the source's fingerprint if its content is what was rendered, else tell and return None."""
        try:
            status = self._status(order.path, inbox)
        except (
            NotPlainFileError,
            PermissionError,
        ) as error:  # swapped for a link, or shut: its file's own trouble
            self._tell(order, "changed", f"the file cannot be reached any more: {error}")
            return None
        if status is None:
            if not self._is_there():
                raise inbox_away(order.path)
            self._tell(order, "vanished", "the file was removed while it was rendered")
            return None
        now = Fingerprint.of(status)
        if now == order.fingerprint or (
            replace(now, mtime_ns=order.fingerprint.mtime_ns) == order.fingerprint
            and order.rendered.sha256 is not None
            and file_digest(self._spec.path, order.path) == order.rendered.sha256
        ):
            return now
        self._tell(order, "changed", "the file changed while it was rendered")
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

    # -- seal, commit and place -------------------------------------------------------------------

    def seal_all(self, renditions: Iterable[Rendition]) -> None:
        """Make durable what will be renamed. Raises StagedLostError, NotPlainFileError, OSError."""
        for rendition in renditions:
            self._seal(rendition)

    def _is_sealed(self, plan: _Plan) -> bool:
        try:
            self.seal_all(plan.renditions)
        except (NotPlainFileError, StagedLostError) as swapped:
            self._tell(plan.order, "staging-lost", str(swapped))
        except NotDurableError as error:
            code = errno.errorcode.get(error.errno or 0, "error")
            self._tell(plan.order, "environment", f"{code}: {error.strerror}")
        except OSError as error:
            self._trouble(plan.order, error)
        else:
            return True
        return False

    def _seal(self, rendition: Rendition) -> None:
        """Make durable one that is a regular file with one link, and the one that the worker reported."""
        try:
            status = self._fs.seal(rendition.staged, self._spec.output_mode)
        except FileNotFoundError:
            if self.is_in_place(rendition):
                return
            raise StagedLostError(f"{rendition.output}: the staged file is gone") from None
        if (status.st_ino, status.st_size) != (rendition.inode, rendition.size):
            raise StagedLostError(
                f"{rendition.output}: the staged file is not the one that the worker reported"
            )

    def _submit_intents(self, plans: list[_Plan]) -> list[Ticket[bool]]:
        return [
            self._journal.submit(_intent(plan, self._spec), durable=True, point="ledger.publishing")
            for plan in plans
        ]

    def _committed(self, plans: list[_Plan], tickets: list[Ticket[bool]], inbox: Folders) -> list[_Plan]:
        """Wait for the intents; return those that stand."""
        intended = []
        for plan, ticket in zip(plans, tickets, strict=True):
            try:
                plan.replaces = ticket.result()
                intended.append(plan)
            except NameTakenError:  # another inbox with the same outbox was faster: choose again
                self._names.forget_owners()
                again = [self._plan(plan.order, inbox)]
                planned = [plan for plan in again if plan is not None]
                intended += self._committed(planned, self._submit_intents(planned), inbox)
            except Exception as error:  # noqa: BLE001 (the ledger's disk is full or gone)
                self._post(self._results.trouble, plan.order.job, "ledger", as_os_error(error))
        return intended

    def _place(self, plan: _Plan) -> bool:
        try:
            for index, rendition in enumerate(plan.renditions):
                plan.renditions[index] = self._place_somewhere(plan, rendition)
        except (StagedLostError, NotPlainFileError) as lost:
            self._tell(plan.order, "staging-lost", str(lost))
        except NameConflictError as conflict:
            self._tell(plan.order, "name-conflict", f"the output name {conflict} belongs to another file")
        except OSError as error:
            self._trouble(plan.order, error)
        else:
            return True
        return False

    def _place_somewhere(self, plan: _Plan, rendition: Rendition) -> Rendition:
        """Place under the intended name, or under the next one when somebody took it after we looked."""
        while True:
            try:
                self._place_one(rendition)
                return rendition
            except FileExistsError:
                lost = rendition
                self._names.lose(lost)
                rendition = self._names.choose(plan.order, lost, lost.name)
                position = next(
                    index for index, old in enumerate(plan.renditions) if old.output == rendition.output
                )
                plan.renditions[position] = rendition
                self._journal.call(
                    _other_intent(plan, self._spec, lost), durable=True, point="ledger.publishing"
                )

    def _place_one(self, rendition: Rendition) -> None:
        status = self._fs.lstat(rendition.staged)
        if status is None:
            if self.is_in_place(rendition):
                return
            raise StagedLostError(f"{rendition.output}: neither staged nor in place")
        if (status.st_ino, status.st_size) != (rendition.inode, rendition.size):
            raise StagedLostError(f"{rendition.output}: the staged file was swapped after it was checked")
        target = os.path.join(rendition.outbox, rendition.name)
        rename = self._fs.rename_replace if rendition.replace else self._fs.rename_noreplace
        try:
            rename(rendition.staged, target)
        except (FileNotFoundError, NotADirectoryError):
            self._fs.make_dirs(os.path.dirname(target), self._spec.dir_mode)
            rename(rendition.staged, target)

    def is_in_place(self, rendition: Rendition) -> bool:
        name = rendition.name or None
        status = name and self._fs.lstat(os.path.join(rendition.outbox, name))
        return bool(status) and (status.st_ino, status.st_size) == (rendition.inode, rendition.size)  # type: ignore[union-attr]

    def _sync_folders(self, plans: list[_Plan]) -> list[_Plan]:
        try:
            self.sync(rendition for plan in plans for rendition in plan.renditions)
        except OSError as error:
            for plan in plans:
                self._post(self._results.trouble, plan.order.job, "publish", error)
            return []
        return plans

    def _commit_done(self, plans: list[_Plan]) -> None:
        plans = [plan for plan in plans if self._obsolete_removed(plan)]
        tickets = [self._journal.submit(_done(plan), durable=True, point="ledger.done") for plan in plans]
        for plan, ticket in zip(plans, tickets, strict=True):
            try:
                ticket.result()
            except Exception as error:  # noqa: BLE001 (the ledger's disk is full or gone)
                self._post(self._results.trouble, plan.order.job, "ledger", as_os_error(error))
                continue
            order = plan.order
            self._post(
                self._results.published, order.job, plan.line(), order.rendered.sha256, plan.fingerprint
            )

    def _obsolete_removed(self, plan: _Plan) -> bool:
        try:
            if plan.replaces:
                self.remove_obsolete(plan.order.job)
        except OSError as error:
            self._post(self._results.trouble, plan.order.job, "publish", error)
            return False
        return True

    def remove_obsolete(self, job: str) -> None:
        """Remove renditions of the same source under names that its new renditions do not use. Raises OSError."""
        for outbox, name in self._reader.obsolete(job):
            path = os.path.join(outbox, name)
            status = self._fs.lstat(path)
            if status is not None and stat.S_ISREG(status.st_mode):  # else somebody removed ours long ago
                self._fs.unlink(path, missing_ok=True)

    def _trouble(self, order: PublishOrder, error: OSError) -> None:
        """The output side refuses, and all of the inbox waits; but for a path that is too long nobody else has to."""
        if error.errno == errno.ENAMETOOLONG:
            self._tell(order, "name-conflict", "the path of an output is longer than the file system allows")
        else:
            self._post(self._results.trouble, order.job, "publish", error)

    def _tell(self, order: PublishOrder, code: str, reason: str) -> None:
        self._post(self._results.unpublished, order.job, code, reason)


def _wishes(order: PublishOrder) -> dict[str, str]:
    """Return output → the name that its template makes; empty for an answer that is refused later anyway."""
    try:
        return plan_names(order.path, order.rendered.renditions, order.templates, order.recipe)
    except (KeyError, ValueError):
        return {}


def _intent(plan: _Plan, spec: InboxSpec) -> Callable[[Ledger], bool]:
    renditions, line = list(plan.renditions), json.dumps(plan.line())
    return lambda ledger: ledger.publishing(
        plan.order.job,
        plan.identity,
        renditions,
        line=line,
        sha256=plan.order.rendered.sha256,
        overwrite=spec.on_conflict == "overwrite",
    )


def _other_intent(plan: _Plan, spec: InboxSpec, lost: Rendition) -> Callable[[Ledger], None]:
    """The intent after a name was lost: what is there is not ours to remove when the new one is in place."""
    intent = _intent(plan, spec)

    def write(ledger: Ledger) -> None:
        ledger.disown(lost.outbox, lost.key)
        intent(ledger)

    return write


def _done(plan: _Plan) -> Callable[[Ledger], None]:
    return lambda ledger: ledger.done(plan.order.job, worker_pid=plan.order.line.get("worker_pid"))


def _folders(rendition: Rendition) -> list[str]:
    """Return the folder of the rendition and those above it up to the outbox: any of them may be new."""
    folders, folder = [rendition.outbox], os.path.dirname(os.path.join(rendition.outbox, rendition.name))
    while len(folder) > len(rendition.outbox):
        folders.append(folder)
        folder = os.path.dirname(folder)
    return folders


def inbox_away(path: str) -> OSError:
    """Return the error for a file that is missing because the whole inbox is (unmounted, renamed): it may be back."""
    return OSError(errno.ESTALE, "the inbox is not there", path)


def file_digest(root: str, path: str) -> str | None:
    """Return the sha256 of a file of the inbox in hex, None when it cannot be read."""
    try:
        with open(open_source(root, path), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def error_report(line: Mapping[str, Any]) -> bytes:
    """Return the content of an error file."""
    return (json.dumps(line, indent=2) + "\n").encode("ascii")
