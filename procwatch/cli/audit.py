"""procwatch audit: does what lies in the folders agree with the ledger? Reads only."""

import argparse
import json
import os
import sys
from typing import TYPE_CHECKING, Final

from procwatch.cli.target import add_target_arguments, settings_for
from procwatch.errors import EXIT_OK, EXIT_SOME_FAILED, ProcwatchError
from procwatch.observe.console import safe_text
from procwatch.units import format_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from procwatch.control.findings import AuditReport, Finding

EXAMPLES = """examples:
  procwatch audit ~/pictures            the folders, the ledger, and what differs
  procwatch audit --json | jq .ok       for monitoring
  procwatch audit --all                 every note too, such as each waiting file

exit status: 0 nothing differs, 1 something does
Works beside a running daemon and without one, and changes nothing.
"""

#: Notes of one kind that are shown; a million waiting files are one number.
_SHOWN: Final = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target_arguments(parser)
    parser.add_argument("--json", action="store_true", help="everything as one JSON object")
    parser.add_argument("--all", action="store_true", help="list up to 1000 notes of each kind instead of 5")


def run(args: argparse.Namespace) -> int:
    """Print the report; return 1 when anything differs."""
    settings = settings_for(args)
    from procwatch.control.audit import audit
    from procwatch.control.protocol import is_running
    from procwatch.dispatch.ledger_reader import LEDGER_NAME

    try:
        live = is_running(settings.state_dir)
        report = audit(settings.inboxes, os.path.join(settings.state_dir, LEDGER_NAME), live=live)
    except PermissionError as error:
        raise ProcwatchError(
            f"not allowed to look at {safe_text(str(error.filename))}",
            hint="run the audit as the user of the daemon, or as root",
        ) from error
    if args.json:
        print(json.dumps(report.to_json(), indent=2))
    else:
        print("\n".join(_text(report, shown=sys.maxsize if args.all else _SHOWN)))
    return EXIT_SOME_FAILED if report.differences else EXIT_OK


def _text(report: "AuditReport", *, shown: int) -> "Iterator[str]":
    yield from _sizes(report)
    yield from _jobs(report)
    yield from _notes(report, shown)
    differences = report.differences
    if not differences:
        yield "nothing differs"
        return
    yield f"{len(differences)} difference{'' if len(differences) == 1 else 's'}:"
    for finding in differences:
        detail = f"  ({safe_text(finding.detail)})" if finding.detail else ""
        yield f"  {finding.kind:<18} {_where(finding)}{detail}"


def _sizes(report: "AuditReport") -> "Iterator[str]":
    inbox = None
    for folder in report.folders:
        if folder.inbox != inbox:
            inbox = folder.inbox
            yield f"inbox {safe_text(inbox)}"
        yield (
            f"  {folder.folder:<8} {folder.files:>8} {'file ' if folder.files == 1 else 'files'}  {format_size(folder.bytes):>10}  {safe_text(folder.path)}"
        )


def _jobs(report: "AuditReport") -> "Iterator[str]":
    totals: dict[str, int] = {}
    for states in report.jobs.values():
        for state, count in states.items():
            totals[state] = totals.get(state, 0) + count
    listed = ", ".join(f"{count} {state}" for state, count in sorted(totals.items())) or "no jobs"
    running = "a daemon is running" if report.live else "no daemon is running"
    yield f"ledger {format_size(report.ledger_bytes)}: {listed}; {running}"


def _notes(report: "AuditReport", shown: int) -> "Iterator[str]":
    from procwatch.control.findings import NOTES

    for kind, meaning in NOTES.items():
        count = report.note_counts.get(kind, 0)
        if not count:
            continue
        yield f"note: {kind}, {count}: {meaning}"
        found = [finding for finding in report.notes if finding.kind == kind][:shown]
        for finding in found:
            detail = f"  ({safe_text(finding.detail)})" if finding.detail else ""
            yield f"  {_where(finding)}{detail}"
        if count > len(found):
            yield f"  … and {count - len(found)} more"


def _where(finding: "Finding") -> str:
    return safe_text(
        f"{finding.inbox}: {finding.path}"
        if finding.inbox and finding.path
        else finding.path or finding.inbox
    )
