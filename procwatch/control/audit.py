"""The audit: does what lies in the folders agree with what the ledger says? Reads only, changes nothing.

Not defended: content that changed at the same size (nothing is read), and what happens while the audit looks;
with a daemon running, only what two passes both see counts as a difference.
"""

import contextlib
import errno
import os
import sqlite3
import time
from collections.abc import Callable
from typing import Final

from procwatch.control.findings import AuditReport, Finding, FolderSize
from procwatch.delivery.fsops import TEMP_PREFIX
from procwatch.delivery.naming import ERROR_SUFFIX, collision_key, error_name
from procwatch.dispatch.ledger_home import roots_of
from procwatch.dispatch.ledger_queries import LedgerQueries, Record
from procwatch.dispatch.sizes import own_folders
from procwatch.dispatch.tree import folders_below, size_of
from procwatch.fdopen import is_beneath
from procwatch.intake.filters import NameFilter
from procwatch.intake.walk import scan
from procwatch.model import STAGING, InboxSpec, Original, State
from procwatch.units import counted

#: Between two passes with a daemon running: longer than a file needs from rendering to the archive.
SECOND_LOOK_S: Final = 1.0
_OPEN: Final = (State.QUEUED, State.RUNNING, State.PUBLISHING)


def audit(
    inboxes: tuple[InboxSpec, ...],
    ledger_path: str,
    *,
    live: bool,
    sleep: Callable[[float], None] = time.sleep,
) -> AuditReport:
    """Return what differs. `live` says that a daemon runs, so that files may be on their way."""
    report = _pass(inboxes, ledger_path, live=live)
    if live and report.differences:
        sleep(SECOND_LOOK_S)
        seen = {(finding.kind, finding.inbox, finding.path, finding.job) for finding in report.differences}
        report = _pass(inboxes, ledger_path, live=live)
        report.differences = [
            finding
            for finding in report.differences
            if (finding.kind, finding.inbox, finding.path, finding.job) in seen
        ]
    return report


def _pass(inboxes: tuple[InboxSpec, ...], ledger_path: str, *, live: bool) -> AuditReport:
    report = AuditReport(live=live)
    report.ledger_bytes = sum(size_of(ledger_path + end) or 0 for end in ("", "-wal"))
    try:
        with contextlib.ExitStack() as stack:
            ledger = LedgerQueries.open_existing(ledger_path, live=live, roots=roots_of(inboxes))
            if ledger is not None:
                stack.callback(ledger.close)
                report.jobs = ledger.counts()
            for spec in inboxes:
                _InboxAudit(spec, inboxes, ledger, report).run()
            _tell_unconfigured(inboxes, report)
    except sqlite3.Error as error:
        detail = f"{ledger_path}: {error}"
        report.add(Finding(kind="ledger-unreadable", inbox="", path=ledger_path, detail=detail))
    return report


def _tell_unconfigured(inboxes: tuple[InboxSpec, ...], report: AuditReport) -> None:
    for name in sorted(set(report.jobs) - {spec.name for spec in inboxes}):
        count = sum(report.jobs[name].values())
        report.add(Finding(kind="inbox-unconfigured", inbox=name, path="", detail=counted(count, "job")))


class _InboxAudit:
    """One pass over one inbox."""

    def __init__(
        self,
        spec: InboxSpec,
        inboxes: tuple[InboxSpec, ...],
        ledger: LedgerQueries | None,
        report: AuditReport,
    ) -> None:
        self._spec = spec
        self._ledger = ledger
        self._report = report
        self._skip = own_folders(inboxes)

    def run(self) -> None:
        for folder in (self._spec.path, self._spec.outbox, self._spec.archive, self._spec.failed):
            if not os.path.isdir(folder):
                is_new = folder != self._spec.path and not self._report.jobs.get(self._spec.name)
                self._tell("folder-to-come" if is_new else "folder-missing", folder)
        if self._ledger is not None:
            for record in self._ledger.records(self._spec.name):
                self._check_record(record, self._ledger)
            self._check_names(self._ledger)
        self._check_inbox()
        self._check_outbox()
        self._check_staging()
        self._check_failed()
        self._measure("archive", self._spec.archive)

    def _tell(self, kind: str, path: str, *, job: str | None = None, detail: str = "") -> None:
        self._report.add(Finding(kind=kind, inbox=self._spec.name, path=path, job=job, detail=detail))

    # -- from the ledger to the folders -----------------------------------------------------------

    def _check_record(self, record: Record, ledger: LedgerQueries) -> None:
        known = record.known
        path, job = known.identity.path, known.job
        if known.state in _OPEN:
            self._check_open(record)
        elif known.original is Original.ARCHIVED:
            self._check_archived(record)
        elif known.original is Original.FAILED:
            self._check_gone_failure(record, ledger)
        elif self._in_inbox(path):
            self._check_staying(record, ledger)
        elif known.original is Original.KEPT and not ledger.has_newer(record):
            self._tell("original-removed", path, job=job)

    def _check_staying(self, record: Record, ledger: LedgerQueries) -> None:
        """An ended job whose original lies in the inbox, for now or for good."""
        known = record.known
        path, job = known.identity.path, known.job
        if known.original is Original.INBOX:
            self._tell("in-work" if self._report.live else "not-disposed", path, job=job)
        elif known.original is Original.STUCK:
            self._tell("stuck", path, job=job)
        elif known.original is Original.BLOCKED and not ledger.has_newer(record):
            report = os.path.join(self._spec.failed, error_name(path))
            if size_of(report) is None:
                self._tell("error-file-missing", path, job=job, detail=f"{report} is missing")

    def _check_open(self, record: Record) -> None:
        known = record.known
        if not self._in_inbox(known.identity.path):
            detail = f"{known.state}, but the inbox does not have it"
            self._tell("job-without-file", known.identity.path, job=known.job, detail=detail)
        else:
            kind = "in-work" if self._report.live else "interrupted"
            self._tell(kind, known.identity.path, job=known.job, detail=str(known.state))

    def _check_archived(self, record: Record) -> None:
        known, target = record.known, record.moved_to or ""
        size = size_of(target)
        if size is None and self._has_expired(record):
            return
        if size is None:
            self._tell("archive-missing", known.identity.path, job=known.job, detail=f"{target} is missing")
        elif size != known.identity.size:
            detail = f"{target} has {size} bytes, archived were {known.identity.size}"
            self._tell("archive-changed", known.identity.path, job=known.job, detail=detail)

    def _has_expired(self, record: Record) -> bool:
        """Whether archive_keep has removed it, or will at its next round."""
        keep_s = self._spec.archive_keep_s
        return keep_s is not None and (record.ended_at or 0.0) < time.time() - keep_s

    def _check_gone_failure(self, record: Record, ledger: LedgerQueries) -> None:
        """A failed file that is gone was retried, or somebody cleaned up; half of it is found in the folder."""
        path, target = record.known.identity.path, record.moved_to or ""
        if size_of(target) is not None or size_of(error_name(target)) is not None:
            return
        if not self._in_inbox(path) and not ledger.has_newer(record):
            self._tell("failed-removed", path, job=record.known.job)

    def _check_names(self, ledger: LedgerQueries) -> None:
        for owned in ledger.owned_names(self._spec.outbox, self._spec.name):
            size = size_of(os.path.join(owned.outbox, owned.name))
            if size is None:
                detail = f"{owned.output} of {owned.source}"
                self._tell("rendition-missing", owned.name, job=owned.job, detail=detail)
            elif owned.size is not None and size != owned.size:
                detail = f"{owned.output} of {owned.source}: {size} bytes, published were {owned.size}"
                self._tell("rendition-changed", owned.name, job=owned.job, detail=detail)

    def _in_inbox(self, path: str) -> bool:
        try:
            return is_beneath(self._spec.path, path)
        except OSError as error:
            if error.errno == errno.ELOOP:  # what is behind somebody's link is no original of ours
                return False
            raise

    # -- from the folders to the ledger -----------------------------------------------------------

    def _measure(self, folder: str, root: str, start: str = "") -> None:
        files = total = 0
        path = os.path.join(root, start) if start else root
        for found in folders_below(root, skip=self._skip - {root}, start=start):
            files += sum(folder != "failed" or not name.endswith(ERROR_SUFFIX) for name in found.sizes)
            total += sum(found.sizes.values())
            for name in found.sizes:
                if name.startswith(TEMP_PREFIX):
                    there = os.path.join(root, found.path(name))
                    self._tell("temp-leftover", os.path.relpath(there, path), detail=there)
        self._report.folders.append(
            FolderSize(inbox=self._spec.name, folder=folder, path=path, files=files, bytes=total)
        )

    def _check_inbox(self) -> None:
        spec = self._spec
        self._measure("inbox", spec.path)
        names = NameFilter(spec.include, spec.ignore)
        for found in scan(spec.path, recursive=spec.recursive, filter=names):
            if found.kind != "file":
                continue
            known = self._ledger.known(spec.name, found.path) if self._ledger else None
            if known is None:
                self._tell("waiting", found.path)

    def _check_outbox(self) -> None:
        root = self._spec.outbox
        self._measure("outbox", root)
        for found in folders_below(root, skip=self._skip - {root}):
            for name in found.sizes:
                if not name.startswith(TEMP_PREFIX) and not self._is_owned(found.path(name)):
                    self._tell("unowned", found.path(name))

    def _is_owned(self, name: str) -> bool:
        if self._ledger is None:
            return False
        owned = self._ledger.name_at(self._spec.outbox, collision_key(name))
        return owned is not None and owned.name == name

    def _check_staging(self) -> None:
        self._measure("staging", self._spec.outbox, STAGING)
        for found in folders_below(self._spec.outbox, start=STAGING):
            _, *parts = found.folder.split("/")
            if len(parts) == 2:  # noqa: PLR2004 (slot-K/JOB.N, of an earlier version)
                self._check_staged(parts, parts[1])
            elif len(parts) < 2:  # noqa: PLR2004
                for name in found.sizes:
                    self._check_staged([*parts, name], name)

    def _check_staged(self, parts: list[str], name: str) -> None:
        job, dot, _ = name.partition(".")
        if not dot or len(parts) < 2:  # noqa: PLR2004 (no job has files beside the slots)
            self._tell("staging-leftover", "/".join(parts))
        elif not self._is_wanted(job):
            self._tell("staging-leftover", "/".join(parts), job=job)

    def _is_wanted(self, job: str) -> bool:
        known = self._ledger.job(job) if self._ledger else None
        return known is not None and known.state in _OPEN

    def _check_failed(self) -> None:
        root = self._spec.failed
        self._measure("failed", root)
        for found in folders_below(root, skip=self._skip - {root}):
            reports = {error_name(name) for name in found.sizes}
            for name in found.sizes:
                if name.startswith(TEMP_PREFIX):
                    continue
                if error_name(name) in found.sizes:
                    continue  # a failed file with its report
                if name not in reports and name.endswith(ERROR_SUFFIX):
                    self._check_lone_report(found.path(name))
                elif name not in reports:
                    self._tell(
                        "error-file-missing", found.path(name), detail=os.path.join(root, found.path(name))
                    )

    def _check_lone_report(self, path: str) -> None:
        """An error file without its file: that of a blocked file, which lies in the inbox, is right."""
        original = path.removesuffix(ERROR_SUFFIX)
        known = self._ledger.known(self._spec.name, original) if self._ledger else None
        if known is None or known.original is not Original.BLOCKED or not self._in_inbox(original):
            self._tell(
                "error-file-alone", path, detail=f"{os.path.join(self._spec.failed, original)} is missing"
            )
