"""procwatch rebuild --stale: render kept originals again whose recipe is another now."""

import argparse
import contextlib
import sqlite3
from typing import TYPE_CHECKING

from procwatch.cli.target import add_target_arguments, settings_for
from procwatch.errors import EXIT_OK, ProcwatchError, UsageError

if TYPE_CHECKING:
    from procwatch.settings.values import Settings

EXAMPLES = """examples:
  procwatch rebuild --stale ~/pictures             after a change of the recipe
  procwatch rebuild --stale --dry-run -c my.toml   only say how many
  procwatch rebuild --prune ~/pictures             remove outputs whose kept original was deleted

For inboxes with on_success = "keep": each original that lies in the inbox and was rendered with another recipe is
rendered again over its own outputs. A running daemon does it (restart or reload it first, so that it knows the new
recipe); without one it is done here, as by `procwatch once`.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target_arguments(parser)
    parser.add_argument(
        "--stale", action="store_true", help="what was rendered with another recipe (required)"
    )
    parser.add_argument(
        "--prune", action="store_true", help="remove the outputs of kept originals that were deleted"
    )
    parser.add_argument("--even-if-empty", action="store_true", help="prune although the inbox is empty")
    parser.add_argument("--dry-run", action="store_true", help="only count")


def run(args: argparse.Namespace) -> int:
    """Ask the daemon, or do it here; return once's exit code then."""
    if not args.stale and not args.prune:
        raise UsageError(
            "say what to rebuild",
            hint="--stale: what was rendered with another recipe; --prune: outputs without their original",
        )
    settings = settings_for(args)
    from procwatch.control.protocol import is_running

    live = is_running(settings.state_dir)
    if args.prune:
        _prune(args, settings, live=live)
    return _rebuild(args, settings, live=live) if args.stale else EXIT_OK


def _prune(args: argparse.Namespace, settings: "Settings", *, live: bool) -> None:
    from procwatch.control.offline import count_orphans, prune_offline
    from procwatch.control.protocol import ask

    if args.dry_run:
        count = count_orphans(settings, even_if_empty=args.even_if_empty)
        print(f"{count} output{'' if count == 1 else 's'} of deleted originals would be removed")
        return
    if live:
        request = {"command": "prune", "even_if_empty": args.even_if_empty}
        answer = ask(settings.state_dir, request, timeout_s=600.0)
        if answer is None:
            raise ProcwatchError("procwatch ended meanwhile; run this again")
        count = sum(answer["files"].values())
    else:
        count = prune_offline(settings, even_if_empty=args.even_if_empty)
    print(f"{count} output{'' if count == 1 else 's'} of deleted originals removed")


def _rebuild(args: argparse.Namespace, settings: "Settings", *, live: bool) -> int:
    from procwatch.control.protocol import ask

    if args.dry_run:
        _tell(sum(map(len, _stale(settings, live=live).values())), "would be rendered again")
        return EXIT_OK
    if live:
        answer = ask(settings.state_dir, {"command": "rebuild"}, timeout_s=600.0)
        if answer is None:
            raise ProcwatchError("procwatch ended meanwhile; run this again")
        _tell(sum(answer["jobs"].values()), "are rendered again by the running daemon")
        return EXIT_OK
    return _here(args, settings)


def _here(args: argparse.Namespace, settings: "Settings") -> int:
    from procwatch.cli import once
    from procwatch.control.offline import forget_offline

    jobs = [job for stale in _stale(settings, live=False).values() for job in stale]
    _tell(len(jobs), "are rendered again")
    if not jobs:
        return EXIT_OK
    forget_offline(settings.state_dir, jobs)
    args.wait, args.level = "60s", None
    return once.run(args)


def _stale(settings: "Settings", *, live: bool) -> dict[str, list[str]]:
    """Return inbox → jobs, by the recipes of the configuration as it is now."""
    from procwatch.dispatch.ledger_queries import LedgerQueries

    try:
        ledger = LedgerQueries.open_site(settings.state_dir, settings.inboxes, live=live)
        if ledger is None:
            return {}
        with contextlib.closing(ledger):
            return {
                spec.name: [
                    known.job for known in ledger.stale(spec.name, settings.recipes[spec.recipe].hash)
                ]
                for spec in settings.inboxes
            }
    except sqlite3.Error as error:
        raise ProcwatchError(f"the ledger cannot be read: {error}") from error


def _tell(count: int, what: str) -> None:
    if not count:
        print("nothing is stale: every kept original was rendered with the recipe of today")
    else:
        print(f"{count} original{'' if count == 1 else 's'} {what}")
