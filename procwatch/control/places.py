"""Which file of which inbox somebody means by a path: in the inbox, the failed folder, the archive or the outbox."""

import json
import os
from dataclasses import dataclass
from typing import Any, Final

from procwatch.delivery.naming import ERROR_SUFFIX, collision_key, error_name
from procwatch.dispatch.ledger_queries import LedgerQueries, Record
from procwatch.fdopen import open_source
from procwatch.model import InboxSpec

_MAX_REPORT_BYTES: Final = 65536


@dataclass(frozen=True, kw_only=True, slots=True)
class Meant:
    """A path relative to an inbox. `record` is the job that the given path belongs to, where it names one exactly."""

    spec: InboxSpec
    path: str
    record: Record | None = None


def find(given: str, inboxes: tuple[InboxSpec, ...], ledger: LedgerQueries | None) -> Meant | None:
    """Return what `given` means, None when it is in no inbox and belongs to no job of one.

    It may be a path in any folder of an inbox, or the path of a file relative to its inbox.
    """
    absolute = _absolute(given)
    for spec in inboxes:
        inside = below(absolute, spec.path)
        if inside is not None:
            return Meant(spec=spec, path=inside)
    for spec in inboxes:
        meant = _in_failed(absolute, spec, ledger) or _in_outbox(absolute, spec, inboxes, ledger)
        if meant is not None:
            return meant
    if ledger is not None and (record := ledger.moved_to(absolute)) is not None:
        owner = next((spec for spec in inboxes if spec.name == record.known.identity.inbox), None)
        return Meant(spec=owner, path=record.known.identity.path, record=record) if owner else None
    return _on_its_way(absolute, inboxes, ledger) or _relative(given, inboxes, ledger)


def below(path: str, folder: str) -> str | None:
    """Return the path relative to the folder, None when it is not below it. Links above both do not matter."""
    for root in (folder, os.path.realpath(folder)):
        if path.startswith(root.rstrip("/") + "/"):
            return path[len(root.rstrip("/")) + 1 :]
    return None


def _absolute(given: str) -> str:
    """Resolve links on the way, but not the last component: a link in the inbox is what is asked about."""
    folder, name = os.path.split(os.path.abspath(given))
    return os.path.join(os.path.realpath(folder), name)


def _in_failed(absolute: str, spec: InboxSpec, ledger: LedgerQueries | None) -> Meant | None:
    inside = below(absolute, spec.failed)
    if inside is None:
        return None
    name = inside
    if not os.path.lexists(os.path.join(spec.failed, error_name(name))):
        name = name.removesuffix(ERROR_SUFFIX)
    report = read_report(spec.failed, error_name(name))
    record = ledger.record(report["job"]) if ledger is not None and "job" in report else None
    if record is None and ledger is not None:
        record = ledger.moved_to(os.path.join(spec.failed, name))
    path = report.get("path") or (record.known.identity.path if record else name)
    return Meant(spec=spec, path=path, record=record)


def read_report(failed: str, name: str) -> dict[str, Any]:
    """Return what an error file says of its file, as far as it is what procwatch wrote: text fields only.

    Others may write the failed folder: a pipe in the place of an error file is not waited for, a link not followed.
    """
    try:
        with open(open_source(failed, name), "rb") as file:
            content = json.loads(file.read(_MAX_REPORT_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    return {key: value for key, value in content.items() if isinstance(value, str)}


def _in_outbox(
    absolute: str, spec: InboxSpec, inboxes: tuple[InboxSpec, ...], ledger: LedgerQueries | None
) -> Meant | None:
    inside = below(absolute, spec.outbox)
    owned = ledger.name_at(spec.outbox, collision_key(inside)) if ledger is not None and inside else None
    owner = next((other for other in inboxes if owned is not None and other.name == owned.inbox), None)
    if ledger is None or owned is None or owner is None:
        return None
    return Meant(spec=owner, path=owned.source, record=ledger.record(owned.job))


def _on_its_way(absolute: str, inboxes: tuple[InboxSpec, ...], ledger: LedgerQueries | None) -> Meant | None:
    """Take the place in an archive where nothing is yet as the file that is to come there: for 2 s after it is done."""
    if os.path.lexists(absolute):
        return None
    for spec in inboxes:
        inside = below(absolute, spec.archive)
        if inside is not None and _is_or_was(spec, inside, ledger):
            return Meant(spec=spec, path=inside)
    return None


def _is_or_was(spec: InboxSpec, path: str, ledger: LedgerQueries | None) -> bool:
    if os.path.lexists(os.path.join(spec.path, path)):
        return True
    return ledger is not None and ledger.newest_record(spec.name, path) is not None


def _relative(given: str, inboxes: tuple[InboxSpec, ...], ledger: LedgerQueries | None) -> Meant | None:
    """Take the path as one relative to an inbox, if a file is there or was."""
    if os.path.isabs(given):
        return None
    path = os.path.normpath(given)
    if path.startswith(".."):
        return None
    for spec in inboxes:
        if _is_or_was(spec, path, ledger):
            return Meant(spec=spec, path=path)
    return None
