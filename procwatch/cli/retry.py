"""procwatch retry: put failed files back through the inbox, as new jobs."""

import argparse
import contextlib
import os
import sqlite3
import sys
from typing import TYPE_CHECKING

from procwatch.cli.nearby import add_nearby_arguments, settings_near
from procwatch.errors import ERROR_CODES, EXIT_OK, EXIT_SOME_FAILED, ProcwatchError, UsageError
from procwatch.observe.console import safe_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from procwatch.control.retrying import FailedFile
    from procwatch.dispatch.ledger_queries import LedgerQueries
    from procwatch.dispatch.ledger_reader import Known
    from procwatch.model import InboxSpec
    from procwatch.settings.values import Settings

EXAMPLES = """examples:
  procwatch retry ~/pictures/failed/a.jpg        one file
  procwatch retry ~/pictures/failed/2024         a folder of them
  procwatch retry -d ~/pictures 2024/a.jpg       by its name in the inbox
  procwatch retry ~/pictures --all               every failed file
  procwatch retry -c my.toml --error timeout     those that failed for one reason

Each goes back to where it was dropped, without replacing anything, and its error file is removed. Works with and
without a running daemon. exit status: 0, or 1 when a file could not be put back
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths",
        metavar="PATH",
        nargs="*",
        help="a failed file, a folder of them, or an original path; with --all and --error the folder, as -d",
    )
    parser.add_argument("--all", action="store_true", help="every failed file")
    parser.add_argument("--error", metavar="CODE", help="every file that failed with this code")
    add_nearby_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Move the files; return 1 when one could not be moved or found."""
    _check(args)
    _take_folder(args)
    settings = settings_near(args, args.paths)
    from procwatch.control.protocol import is_running

    live = is_running(settings.state_dir)
    problems = 0
    files: dict[tuple[str, str], FailedFile] = {}
    blocked: dict[str, Known] = {}
    with contextlib.ExitStack() as stack:
        ledger = _open_ledger(settings, live=live)
        if ledger is not None:
            stack.callback(ledger.close)
        for spec in settings.inboxes if args.all or args.error else ():
            _add_every(spec, ledger, args.error, files, blocked)
        for path in args.paths:
            if not _add_one(path, settings, ledger, files, blocked):
                print(f"{safe_text(path)}: not among the failed files", file=sys.stderr)
                problems += 1
    moved, unmoved = _put_back(list(files.values()))
    problems += unmoved
    moved += _forget(settings, list(blocked.values()), live=live)
    if not moved and not problems:
        print("no failed files to retry")
    elif moved and not live:
        print("no daemon is running: they wait in the inbox for procwatch run, or once")
    return EXIT_SOME_FAILED if problems else EXIT_OK


def _take_folder(args: argparse.Namespace) -> None:
    """With --all and --error a path is the folder, as -d; alone it does not say what is meant."""
    from procwatch.settings.trust import is_site

    if args.all or args.error is not None:
        args.dir, args.paths = (args.paths[0] if args.paths else None), []
        return
    for path in args.paths:
        if is_site(path):
            shown = safe_text(path)
            hint = f"procwatch retry {shown} --all, or --error CODE, or paths of failed files"
            raise UsageError(f"say what to retry in {shown}", hint=hint)


def _check(args: argparse.Namespace) -> None:
    if args.all and args.error is not None:
        raise UsageError("--all and --error exclude each other", hint="--error CODE is the narrower one")
    if not args.paths and not args.all and args.error is None:
        raise UsageError(
            "say what to retry", hint="paths of failed files; or [DIR] --all; or [DIR] --error CODE"
        )
    if (args.all or args.error is not None) and (
        len(args.paths) > 1 or not all(os.path.isdir(path) for path in args.paths)
    ):
        hint = "paths of failed files; or [DIR] --all; or [DIR] --error CODE"
        raise UsageError("with --all and --error goes at most one folder, and no path of a file", hint=hint)
    if args.error is not None and args.error not in ERROR_CODES:
        import difflib

        near = difflib.get_close_matches(args.error, ERROR_CODES, n=1)
        guess = f'; did you mean "{near[0]}"?' if near else f"; there is {', '.join(ERROR_CODES)}"
        raise UsageError(f"no file fails with {safe_text(args.error)!r}{guess}")


def _open_ledger(settings: "Settings", *, live: bool) -> "LedgerQueries | None":
    from procwatch.dispatch.ledger_queries import LedgerQueries

    try:
        return LedgerQueries.open_site(settings.state_dir, settings.inboxes, live=live)
    except sqlite3.Error as error:
        print(f"procwatch: the ledger cannot be read ({error}); error files alone will do", file=sys.stderr)
        return None


def _add_every(
    spec: "InboxSpec",
    ledger: "LedgerQueries | None",
    code: str | None,
    files: "dict[tuple[str, str], FailedFile]",
    blocked: "dict[str, Known]",
) -> None:
    from procwatch.control.retrying import failed_files

    for file in failed_files(spec):
        if code in (None, file.error):
            files[spec.failed, file.name] = file
    for known in ledger.blocked(spec.name) if ledger is not None else ():
        if code in (None, known.error):
            blocked[known.job] = known


def _add_one(
    given: str,
    settings: "Settings",
    ledger: "LedgerQueries | None",
    files: "dict[tuple[str, str], FailedFile]",
    blocked: "dict[str, Known]",
) -> bool:
    """Add what the path means; return whether it means anything."""
    found = list(_in_failed(given, settings))
    files.update({(file.spec.failed, file.name): file for file in found})
    if found:
        return True
    from procwatch.control.places import below, find
    from procwatch.control.retrying import failed_file
    from procwatch.model import Original

    meant = find(given, settings.inboxes, ledger)
    if meant is None or ledger is None:
        return False
    record = ledger.newest_record(meant.spec.name, meant.path)
    if record is None:
        return False
    name = below(record.moved_to, meant.spec.failed) if record.moved_to else None
    if record.known.original is Original.FAILED and name and os.path.lexists(record.moved_to or ""):
        files[meant.spec.failed, name] = failed_file(meant.spec, name)
    elif record.known.original is Original.BLOCKED:
        blocked[record.known.job] = record.known
    else:
        return False
    return True


def _in_failed(given: str, settings: "Settings") -> "Iterator[FailedFile]":
    """Yield the failed files that the path names: itself, its error file's, those of a folder, failed/PATH."""
    from procwatch.control.places import below
    from procwatch.control.retrying import failed_file, failed_files
    from procwatch.delivery.naming import ERROR_SUFFIX, error_name

    for spec in settings.inboxes:
        for candidate in (os.path.abspath(given), os.path.join(spec.failed, given)):
            inside = "" if candidate == spec.failed else below(os.path.normpath(candidate), spec.failed)
            if inside is None or not os.path.lexists(candidate):
                continue
            if os.path.isdir(candidate) and not os.path.islink(candidate):
                yield from failed_files(spec, inside)
                return
            about = inside.removesuffix(ERROR_SUFFIX)
            is_report = about != inside and not os.path.lexists(os.path.join(spec.failed, error_name(inside)))
            if is_report and not os.path.lexists(os.path.join(spec.failed, about)):
                return
            yield failed_file(spec, about if is_report else inside)
            return


def _put_back(files: "list[FailedFile]") -> tuple[int, int]:
    """Return (moved, not moved)."""
    from procwatch.control.retrying import explain_os_error, put_back
    from procwatch.delivery.real_fs import RealFs

    fs, moved = RealFs(), 0
    for file in files:
        try:
            put_back(fs, file)
        except (OSError, ValueError) as error:
            why = explain_os_error(error) if isinstance(error, OSError) else str(error)
            print(f"{safe_text(file.name)}: not retried: {safe_text(why)}", file=sys.stderr)
            continue
        moved += 1
        print(f"retrying {safe_text(file.path)}" + (f" (failed as {file.error})" if file.error else ""))
    return moved, len(files) - moved


def _forget(settings: "Settings", blocked: "list[Known]", *, live: bool) -> int:
    """Have files done again that never left the inbox; return how many."""
    if not blocked:
        return 0
    from procwatch.control.offline import forget_offline
    from procwatch.control.protocol import ask
    from procwatch.control.retrying import remove_report
    from procwatch.delivery.real_fs import RealFs

    if live:
        for known in blocked:
            request = {"command": "forget", "inbox": known.identity.inbox, "path": known.identity.path}
            if ask(settings.state_dir, request) is None:
                raise ProcwatchError("procwatch ended meanwhile; run this again")
    else:
        forget_offline(settings.state_dir, [known.job for known in blocked])
    specs = {spec.name: spec for spec in settings.inboxes}
    for known in blocked:
        remove_report(RealFs(), specs[known.identity.inbox], known.identity.path, known.job)
        print(f"retrying {safe_text(known.identity.path)} (failed as {known.error}; it never left the inbox)")
    return len(blocked)
