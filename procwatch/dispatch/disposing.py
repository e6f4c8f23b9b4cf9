"""The other half of an inbox's finishing lane: failures recorded, originals brought out of the inbox."""

import contextlib
import errno
import json
import os
import stat
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Final

from procwatch.delivery.fsops import Folders, FsOps, NotPlainFileError, bars_folder
from procwatch.delivery.naming import alternatives, around_files, error_name
from procwatch.dispatch.journal import Journal, as_os_error
from procwatch.dispatch.ledger import Ledger
from procwatch.dispatch.orders import (
    UNKNOWN_INODE,
    Disposed,
    DisposeOrder,
    FailOrder,
    Results,
    destination,
)
from procwatch.dispatch.originals import error_report, file_digest, inbox_away
from procwatch.dispatch.taking import Taker
from procwatch.intake.look import has_open_writer
from procwatch.model import Fingerprint, Identity, InboxSpec, Original

#: It will not be different a moment later: the original stays where it is, and others must not wait for it.
_DENIED: Final = frozenset({errno.EACCES, errno.EPERM, errno.ENAMETOOLONG})


class Disposer:
    """Ends jobs of one inbox. Every method runs on the finishing lane."""

    def __init__(
        self,
        *,
        spec: InboxSpec,
        fs: FsOps,
        journal: Journal,
        post: Callable[..., None],
        results: Results,
        is_there: Callable[[], bool] = lambda: True,
    ) -> None:
        self._spec = spec
        self._is_there = is_there
        self._uncommitted: dict[str, Disposed] = {}  # done to the file, not yet in the ledger
        self._fs = fs
        self._taker = Taker(fs)
        self._ready: set[str] = set()  # folders of archive and failed that were there in this batch
        self._journal = journal
        self._post = post
        self._results = results

    def fail(self, orders: Iterable[FailOrder]) -> None:
        """Commit failures, clean their staging."""
        batch = list(orders)
        futures = [
            self._journal.submit(_failure(order, self._spec.name), durable=True, point="ledger.failed")
            for order in batch
        ]
        for order, future in zip(batch, futures, strict=True):
            try:
                future.result()
            except Exception as error:  # noqa: BLE001 (the ledger's disk is full or gone)
                self._post(self._results.trouble, order.job, "ledger", as_os_error(error))
                continue
            if order.staging is not None:
                self.clean(order.staging)
            self._post(self._results.failed, order.job, order.line)

    def clean(self, staging: str) -> None:
        """Remove whatever begins with an attempt's prefix; what cannot be removed now is swept at the next start.

        For an attempt that came to nothing: what is published was renamed away, and nothing is left of it.
        """
        folder, prefix = os.path.split(staging)
        with contextlib.suppress(OSError):
            status = self._fs.lstat(folder)
            if status is None or not stat.S_ISDIR(status.st_mode):
                return
            for name in self._fs.list_dir(folder):
                if name.startswith(prefix):
                    with contextlib.suppress(OSError):  # the next one may go all the same
                        self._fs.remove_tree(os.path.join(folder, name))

    def dispose(self, orders: Iterable[DisposeOrder]) -> None:
        """Archive, delete, keep or fail originals; one commit for the batch."""
        results = []
        self._ready.clear()
        with self._fs.folders(self._spec.path) as inbox:
            for order in orders:
                what = self._uncommitted.get(order.job) or self._disposed(order, inbox)
                if what is not None:
                    results.append(what)
        self._sync_folders(results)
        self._commit(results)

    def _disposed(self, order: DisposeOrder, inbox: Folders) -> Disposed | None:
        """Return what became of the original; None when there was trouble, which is told."""
        try:
            return self._dispose_or_again(order, inbox)
        except NotPlainFileError:  # swapped for a link or a pipe after we looked: not the job's file any more
            return Disposed(job=order.job, result="changed", original=Original.GONE)
        except OSError as error:
            if error.errno in _DENIED:
                return self._stuck(order, error)
            self._post(self._results.trouble, order.job, "dispose", error)
            return None

    def _dispose_or_again(self, order: DisposeOrder, inbox: Folders) -> Disposed:
        """Dispose of it; once more when something went away meanwhile: a folder that was ready, or the original."""
        try:
            return self._dispose_one(order, inbox)
        except (FileNotFoundError, NotADirectoryError):
            self._ready.clear()
        return self._dispose_one(order, inbox)

    def _dispose_one(self, order: DisposeOrder, inbox: Folders) -> Disposed:
        while True:
            with inbox.beneath(order.path) as source:
                what = self._dispose_entry(order, source)
            if what is not None:
                return what
            if not inbox.forget(order.path):
                break
        if not self._is_there():
            raise inbox_away(order.path)
        return Disposed(job=order.job, result="disposed", original=Original.GONE)

    def _dispose_entry(self, order: DisposeOrder, source: str | None) -> Disposed | None:
        """Return what became of the entry; None when nothing is there."""
        held = self._taker.find(order, source, self._root(order))
        if held is not None:
            return self._finish(order, held, source)
        status = None if source is None else self._fs.lstat(source)
        if source is None or status is None:
            return None
        return self._dispose_what_is_there(order, source, status)

    def _dispose_what_is_there(self, order: DisposeOrder, source: str, status: os.stat_result) -> Disposed:
        now = Fingerprint.of(status)
        if now != order.fingerprint or status.st_ctime_ns != order.ctime_ns:
            return self._not_now(order, now, status.st_ctime_ns)
        if order.disposal != "keep" and self._has_writer(source, status):
            return Disposed(job=order.job, result="touched", fingerprint=now, ctime_ns=status.st_ctime_ns)
        return self._bring_out(order, source)

    def _bring_out(self, order: DisposeOrder, source: str) -> Disposed:
        if order.disposal == "keep":
            return Disposed(job=order.job, result="disposed", original=Original.KEPT)
        made = self._make_folder(order)
        try:
            return self._finish(order, self._taker.take(order, source, self._root(order)), source)
        except (OSError, NotPlainFileError):
            self._ready.difference_update(made)
            for folder in reversed(made):  # no litter for an original that stays where it is
                with contextlib.suppress(OSError):
                    self._fs.rmdir(folder)
            raise

    def _root(self, order: DisposeOrder) -> str | None:
        return destination(self._spec, order.disposal)

    def _finish(self, order: DisposeOrder, held: str, source: str | None) -> Disposed:
        """Delete or place the original that is held; where that fails it goes back."""
        try:
            if order.disposal == "delete":
                self._fs.unlink(held, missing_ok=True)
                what = Disposed(job=order.job, result="disposed", original=Original.DELETED)
            elif order.disposal == "failed":
                what = self._to_failed(order, held)
            else:
                what = self._to_archive(order, held)
        except OSError:
            if source is not None:
                self._taker.put_back(order, held, source)
            raise
        self._taker.placed(order)
        return what

    def _has_writer(self, source: str, status: os.stat_result) -> bool:
        """Whether somebody has opened it again and is about to write; whoever never does is not waited for."""
        if time.time() - status.st_ctime >= self._spec.incomplete_after_s:
            return False
        return has_open_writer(source) is True

    def _not_now(self, order: DisposeOrder, now: Fingerprint, ctime_ns: int) -> Disposed:
        """Tell a touched file (times, mode, owner set by name) from one with new content."""
        before = order.fingerprint
        if (
            before.inode == UNKNOWN_INODE
        ):  # after a restart only the identity is known: devices and inodes change
            before = replace(before, device=now.device, inode=now.inode)
        same_content = now == before or (
            (now.device, now.inode, now.size) == (before.device, before.inode, before.size)
            and order.sha256 is not None
            and file_digest(self._spec.path, order.path) == order.sha256
        )
        if not same_content:
            return Disposed(job=order.job, result="changed", original=Original.GONE)
        if now.mtime_ns != order.fingerprint.mtime_ns:
            identity = Identity(inbox=self._spec.name, path=order.path, size=now.size, mtime_ns=now.mtime_ns)
            self._journal.call(lambda ledger: ledger.reidentify(order.job, identity))
        return Disposed(job=order.job, result="touched", fingerprint=now, ctime_ns=ctime_ns)

    def _to_archive(self, order: DisposeOrder, held: str) -> Disposed:
        for name in alternatives(self._way(self._spec.archive, order), order.job[-6:]):
            target = os.path.join(self._spec.archive, name)
            if self._moved(held, target):
                return Disposed(job=order.job, result="disposed", original=Original.ARCHIVED, moved_to=target)
        raise OSError(errno.EEXIST, "every name in the archive is taken", order.path)

    def _to_failed(self, order: DisposeOrder, held: str) -> Disposed:
        for name in alternatives(self._way(self._spec.failed, order), order.job[-6:]):
            target = os.path.join(self._spec.failed, name)
            report = os.path.join(self._spec.failed, error_name(name))
            if not self._is_ours(report, order.job):
                continue
            if self._fs.lstat(target) is not None and self._fs.lstat(report) is None:
                continue
            self._fs.write_file(report, error_report(order.report), self._spec.output_mode)
            if self._moved(held, target):
                return Disposed(job=order.job, result="disposed", original=Original.FAILED, moved_to=target)
            self._fs.unlink(report, missing_ok=True)
        raise OSError(errno.EEXIST, "every name in the failed folder is taken", order.path)

    def _is_ours(self, report: str, job: str) -> bool:
        """Whether the error file's name is free, or a crash left our own there before the original was moved."""
        if self._fs.lstat(report) is None:
            return True
        try:
            return bool(json.loads(self._fs.read_file(report, 65536)).get("job") == job)
        except (OSError, ValueError, AttributeError):
            return False

    def _moved(self, held: str, target: str) -> bool:
        """Move without replacing; False when the name is taken."""
        try:
            self._fs.move_noreplace(held, target)
        except FileNotFoundError:
            if self._fs.lstat(held) is None:
                raise
            self._make_dirs(os.path.dirname(target))  # somebody tidied up meanwhile
            self._fs.move_noreplace(held, target)
        except FileExistsError:
            return False
        return True

    def _way(self, root: str, order: DisposeOrder) -> str:
        """Return the path below `root` for the original, around files that bar the way."""
        return around_files(
            order.path, order.job[-6:], lambda name: self._is_barred(os.path.join(root, name))
        )

    def _is_barred(self, folder: str) -> bool:
        return folder not in self._ready and bars_folder(self._fs, folder)

    def _make_folder(self, order: DisposeOrder) -> list[str]:
        """Make the folder that the original goes to, before it is taken; return what was made."""
        root = self._root(order)
        if root is None:
            return []
        folder = os.path.dirname(os.path.join(root, self._way(root, order)))
        if folder in self._ready:
            return []
        made = self._make_dirs(folder)
        self._ready.add(folder)
        while len(folder) > len(root):
            folder = os.path.dirname(folder)
            self._ready.add(folder)
        return made

    def _make_dirs(self, path: str) -> list[str]:
        made = self._fs.make_dirs(path, self._spec.dir_mode)
        for folder in made:  # a new folder's name is durable only when its parent is
            self._fs.fsync_dir(os.path.dirname(folder))
        return made

    def _stuck(self, order: DisposeOrder, error: OSError) -> Disposed:
        """We may not move it: the job is over all the same, and is not done again."""
        if order.disposal == "failed":
            self._leave_report(order)
        return Disposed(
            job=order.job,
            result="disposed",
            original=Original.BLOCKED if order.disposal == "failed" else Original.STUCK,
            problem=f"{errno.errorcode.get(error.errno or 0, 'error')}: {error.strerror}",
        )

    def _leave_report(self, order: DisposeOrder) -> None:
        try:
            self._make_folder(order)
            report = os.path.join(self._spec.failed, error_name(self._way(self._spec.failed, order)))
            self._fs.write_file(report, error_report(order.report), self._spec.output_mode)
        except OSError:
            return  # the ledger and the log line say it too

    def _sync_folders(self, results: list[Disposed]) -> None:
        for folder in sorted({os.path.dirname(what.moved_to) for what in results if what.moved_to}):
            try:
                self._fs.fsync_dir(folder)
            except OSError:
                continue  # the move itself succeeded; a power cut may undo it, and then it is done again

    def _commit(self, results: list[Disposed]) -> None:
        ended = [what for what in results if what.result != "touched"]
        if ended:
            try:
                self._journal.call(partial(_record, ended=ended), point="ledger.disposed")
            except Exception as error:  # noqa: BLE001 (the ledger's disk is full or gone)
                for what in ended:
                    self._uncommitted[what.job] = what
                    self._post(self._results.trouble, what.job, "ledger", as_os_error(error))
                results = [what for what in results if what.result == "touched"]
        for what in results:
            self._uncommitted.pop(what.job, None)
            self._post(self._results.disposed, what)


def _record(ledger: Ledger, ended: list[Disposed]) -> None:
    for what in ended:
        ledger.disposed(what.job, what.original, what.moved_to)


def _failure(order: FailOrder, inbox: str) -> Callable[[Ledger], None]:
    identity = Identity(
        inbox=inbox, path=order.path, size=order.fingerprint.size, mtime_ns=order.fingerprint.mtime_ns
    )
    line = json.dumps(dict(order.line))

    def write(ledger: Ledger) -> None:
        ledger.insert_failed(
            order.job,
            identity,
            recipe=order.recipe,
            recipe_hash=order.recipe_hash,
            queued_at=order.queued_at,
        )
        ledger.failed(
            order.job,
            error=order.error,
            reason=order.reason,
            line=line,
            worker_pid=order.line.get("worker_pid"),
        )

    return write
