"""The publishing half of an inbox's finishing lane: from files in staging to renditions in place.

Order: intent committed, staged files made durable → renamed into place → folders fsynced → done committed, and durable
with it the intent. A crash of the daemon anywhere is rolled forward from the intent. One of the machine may take the
intent away, or tear what is staged: then the job is rendered again, and a file under its name that the ledger does not
know and that holds the same bytes is taken for its own (name_choice). Waiting for the intent's way to the disk was a
third of what a file alone took behind its worker. Where something of an earlier job is replaced or removed, the intent
is durable first: else the ledger would call the earlier job done with files that are gone.

The files are fsynced here and not by the worker that wrote them: an fsync is waiting, which a thread can do while the
worker's CPU renders the next picture. With fsync in the workers two CPUs were idle for a sixth of the time.
"""

import errno
import json
import os
import stat
from collections.abc import Callable, Iterable

from procwatch.delivery.fsops import Folders, FsOps, NotDurableError, NotPlainFileError
from procwatch.dispatch.job import RecipePlan
from procwatch.dispatch.journal import Journal, Ticket, as_os_error, nothing
from procwatch.dispatch.ledger import Ledger, NameTakenError
from procwatch.dispatch.ledger_reader import LedgerReader, Rendition
from procwatch.dispatch.name_choice import NameConflictError
from procwatch.dispatch.orders import PublishOrder, Results
from procwatch.dispatch.planning import Plan, Planner, Refusals, StagedLostError
from procwatch.model import InboxSpec, inode_of


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
        self._fs = fs
        self._journal = journal
        self._reader = reader
        self._post = post
        self._results = results
        self._refusals = Refusals(post, results)
        self._planner = Planner(spec=spec, fs=fs, reader=reader, refusals=self._refusals, is_there=is_there)

    def draft(self, path: str, recipe: RecipePlan) -> None:
        """Prepare the publication of a file that is being rendered and that nothing waits behind."""
        self._planner.draft(path, recipe)

    def publish(self, orders: Iterable[PublishOrder]) -> None:
        """Publish the batch with one commit for all intents and one for all that is done."""
        orders = list(orders)
        self._planner.begin_batch(orders)
        with self._fs.folders(self._spec.path) as inbox:
            planned = [plan for order in orders if (plan := self._planner.plan(order, inbox)) is not None]
            intents = self._submit_intents(planned)
            # While the ledger's disk works:
            sealed = {plan.order.job for plan in planned if self._is_sealed(plan)}
            intended = [plan for plan in self._committed(planned, intents, inbox) if plan.order.job in sealed]
        intended = self._durable_where_others_go(intended)
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

    # -- seal, commit and place -------------------------------------------------------------------

    def seal_all(self, renditions: Iterable[Rendition]) -> None:
        """Make durable what will be renamed. Raises StagedLostError, NotPlainFileError, OSError."""
        for rendition in renditions:
            self._seal(rendition)

    def _is_sealed(self, plan: Plan) -> bool:
        try:
            self.seal_all(plan.renditions)
        except (NotPlainFileError, StagedLostError) as swapped:
            self._refusals.tell(plan.order, "staging-lost", str(swapped))
        except NotDurableError as error:
            code = errno.errorcode.get(error.errno or 0, "error")
            self._refusals.tell(plan.order, "environment", f"{code}: {error.strerror}")
        except OSError as error:
            self._refusals.trouble(plan.order, error)
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
        if (inode_of(status), status.st_size) != (rendition.inode, rendition.size):
            raise StagedLostError(
                f"{rendition.output}: the staged file is not the one that the worker reported"
            )

    def _submit_intents(self, plans: list[Plan]) -> list[Ticket[bool]]:
        return [self._journal.submit(_intent(plan, self._spec), point="ledger.publishing") for plan in plans]

    def _committed(self, plans: list[Plan], tickets: list[Ticket[bool]], inbox: Folders) -> list[Plan]:
        """Wait for the intents; return those that stand."""
        intended = []
        for plan, ticket in zip(plans, tickets, strict=True):
            try:
                plan.replaces = ticket.result()
                intended.append(plan)
            except NameTakenError:  # another inbox with the same outbox was faster: choose again
                again = self._planner.plan_again(plan.order, inbox)
                planned = [again] if again is not None else []
                intended += self._committed(planned, self._submit_intents(planned), inbox)
            except Exception as error:  # noqa: BLE001 (the ledger's disk is full or gone)
                self._post(self._results.trouble, plan.order.job, "ledger", as_os_error(error))
        return intended

    def _durable_where_others_go(self, plans: list[Plan]) -> list[Plan]:
        """Have the disk take the intents if one of them is to replace or to remove something; return those that stand."""
        if not any(plan.replaces or any(one.replace for one in plan.renditions) for plan in plans):
            return plans
        try:
            self._journal.call(nothing, durable=True)
        except Exception as error:  # noqa: BLE001 (the ledger's disk is full or gone)
            for plan in plans:
                self._post(self._results.trouble, plan.order.job, "ledger", as_os_error(error))
            return []
        return plans

    def _place(self, plan: Plan) -> bool:
        try:
            for index, rendition in enumerate(plan.renditions):
                plan.renditions[index] = self._place_somewhere(plan, rendition)
        except (StagedLostError, NotPlainFileError) as lost:
            self._refusals.tell(plan.order, "staging-lost", str(lost))
        except NameConflictError as conflict:
            self._refusals.tell(plan.order, "name-conflict", str(conflict))
        except OSError as error:
            self._refusals.trouble(plan.order, error)
        else:
            return True
        return False

    def _place_somewhere(self, plan: Plan, rendition: Rendition) -> Rendition:
        """Place under the intended name, or under the next one when somebody took it after we looked."""
        while True:
            try:
                self._place_one(rendition)
                return rendition
            except FileExistsError:
                rendition = self._another_name(plan, rendition)

    def _another_name(self, plan: Plan, lost: Rendition) -> Rendition:
        """Intend the next name that nobody has, not even another inbox with the same outbox that was faster."""
        while True:
            rendition = self._planner.rename(plan, lost)
            try:
                self._journal.call(
                    _other_intent(plan, self._spec, lost), durable=True, point="ledger.publishing"
                )
            except NameTakenError:
                self._planner.lose(rendition)
                continue
            return rendition

    def _place_one(self, rendition: Rendition) -> None:
        status = self._fs.lstat(rendition.staged)
        if status is None:
            if self.is_in_place(rendition):
                return
            raise StagedLostError(f"{rendition.output}: neither staged nor in place")
        if (inode_of(status), status.st_size) != (rendition.inode, rendition.size):
            raise StagedLostError(f"{rendition.output}: the staged file was swapped after it was checked")
        target = os.path.join(rendition.outbox, rendition.name)
        rename = self._fs.rename_replace if rendition.replace else self._fs.rename_noreplace
        try:
            rename(rendition.staged, target)
        except (FileNotFoundError, NotADirectoryError):
            self._fs.make_dirs(os.path.dirname(target), self._spec.dir_mode)
            rename(rendition.staged, target)

    def is_in_place(self, rendition: Rendition) -> bool:
        place = os.path.join(rendition.outbox, rendition.name)
        status = self._fs.lstat(place) if rendition.name else None
        return status is not None and (inode_of(status), status.st_size) == (rendition.inode, rendition.size)

    def _sync_folders(self, plans: list[Plan]) -> list[Plan]:
        try:
            self.sync(rendition for plan in plans for rendition in plan.renditions)
        except OSError as error:
            for plan in plans:
                self._post(self._results.trouble, plan.order.job, "publish", error)
            return []
        return plans

    def _commit_done(self, plans: list[Plan]) -> None:
        plans = [plan for plan in plans if self._obsolete_removed(plan)]
        digests = [plan.order.digest() for plan in plans]
        tickets = [
            self._journal.submit(_done(plan, digest), durable=True, point="ledger.done")
            for plan, digest in zip(plans, digests, strict=True)
        ]
        for plan, digest, ticket in zip(plans, digests, tickets, strict=True):
            try:
                ticket.result()
            except Exception as error:  # noqa: BLE001 (the ledger's disk is full or gone)
                self._post(self._results.trouble, plan.order.job, "ledger", as_os_error(error))
                continue
            order = plan.order
            self._post(self._results.published, order.job, plan.line(), digest, plan.fingerprint)

    def _obsolete_removed(self, plan: Plan) -> bool:
        try:
            if plan.replaces:
                self.remove_obsolete(plan.order.job)
        except OSError as error:
            self._post(self._results.trouble, plan.order.job, "publish", error)
            return False
        return True

    def remove_obsolete(self, job: str) -> None:
        """Remove renditions of the same source under names that its new renditions do not use. Raises OSError.

        For good: when the job is done the names are nobody's, and a file that a power cut brings back would stay.
        """
        obsolete = [os.path.join(outbox, name) for outbox, name in self._reader.obsolete(job)]
        for path in obsolete:
            status = self._fs.lstat(path)
            if status is not None and stat.S_ISREG(status.st_mode):  # else somebody removed ours long ago
                self._fs.unlink(path, missing_ok=True)
        for folder in sorted({os.path.dirname(path) for path in obsolete}):
            if self._fs.lstat(folder) is not None:
                self._fs.fsync_dir(folder)


def _intent(plan: Plan, spec: InboxSpec) -> Callable[[Ledger], bool]:
    renditions, line = list(plan.renditions), json.dumps(plan.line())
    return lambda ledger: ledger.publishing(
        plan.order.job,
        plan.identity,
        renditions,
        line=line,
        sha256=plan.order.rendered.sha256,
        overwrite=spec.on_conflict == "overwrite",
    )


def _other_intent(plan: Plan, spec: InboxSpec, lost: Rendition) -> Callable[[Ledger], None]:
    """The intent after a name was lost: what is there is not ours to remove when the new one is in place."""
    intent = _intent(plan, spec)

    def write(ledger: Ledger) -> None:
        ledger.disown(lost.outbox, lost.key)
        intent(ledger)

    return write


def _done(plan: Plan, digest: str | None) -> Callable[[Ledger], None]:
    worker_pid = plan.order.line.get("worker_pid")
    return lambda ledger: ledger.done(plan.order.job, worker_pid=worker_pid, sha256=digest)


def _folders(rendition: Rendition) -> list[str]:
    """Return the folder of the rendition and those above it up to the outbox: any of them may be new."""
    folders, folder = [rendition.outbox], os.path.dirname(os.path.join(rendition.outbox, rendition.name))
    while len(folder) > len(rendition.outbox):
        folders.append(folder)
        folder = os.path.dirname(folder)
    return folders
