"""procwatch explain: why a file is not done yet, or how it ended, in one sentence."""

import argparse
import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING, Any

from procwatch.cli.nearby import add_nearby_arguments, settings_near
from procwatch.cli.target import settings_for
from procwatch.errors import EXIT_OK, ProcwatchError, UsageError
from procwatch.observe.console import safe_text

if TYPE_CHECKING:
    from procwatch.control.places import Meant
    from procwatch.dispatch.ledger_queries import LedgerQueries
    from procwatch.settings.values import Settings

EXAMPLES = """examples:
  procwatch explain ~/pictures/inbox/a.jpg         why is it still there?
  procwatch explain ~/pictures/failed/b.jpg        why did it fail?
  procwatch explain ~/pictures/outbox/c-web.jpg    what is it made of, and when?
  procwatch explain ~/pictures 2024/d.jpg          by its name in the inbox, wherever it is now

Asks the daemon where one runs, else the ledger and the file itself.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s [-h] [-c FILE | -d DIR] [DIR] PATH"
    parser.add_argument(
        "words",
        metavar="[DIR] PATH",
        nargs="+",
        help="a file in an inbox, or one that was there; before it a folder, as -d, if it is not around the path",
    )
    add_nearby_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Print `path: sentence`."""
    *folders, path = args.words
    if len(folders) > 1:
        raise UsageError("too many arguments", hint="give one path, and before it at most one folder")
    args.dir = folders[0] if folders else None
    if folders or args.config or args.directory:
        settings = settings_for(args)
    else:
        try:
            settings = settings_near(args, [path])
        except UsageError:
            around = "there is no procwatch.toml and no .procwatch/ around it"
            print(
                f"{safe_text(path)}: not in any inbox ({around}; name the folder: procwatch explain DIR PATH)"
            )
            return EXIT_OK
    print(f"{safe_text(path)}: {_sentence(settings, path)}")
    return EXIT_OK


def _sentence(settings: "Settings", path: str) -> str:
    from procwatch.control.places import find
    from procwatch.control.protocol import is_running
    from procwatch.dispatch.ledger_queries import LedgerQueries

    live = is_running(settings.state_dir)
    try:
        ledger = LedgerQueries.open_site(settings.state_dir, settings.inboxes, live=live)
    except sqlite3.Error as error:
        raise ProcwatchError(f"the ledger cannot be read: {error}") from error
    with contextlib.ExitStack() as stack:
        if ledger is not None:
            stack.callback(ledger.close)
        meant = find(path, settings.inboxes, ledger)
        if meant is None:
            names = ", ".join(safe_text(spec.path) for spec in settings.inboxes)
            return f"not in any inbox, and procwatch has never seen it (there is {names})"
        return _explain(settings, meant, ledger, live=live)


def _explain(settings: "Settings", meant: "Meant", ledger: "LedgerQueries | None", *, live: bool) -> str:
    from procwatch.control.explain import Seen, explain
    from procwatch.control.protocol import ask
    from procwatch.intake.filters import NameFilter
    from procwatch.intake.look import take_look

    standing: dict[str, Any] | None = None
    request = {"command": "explain", "inbox": meant.spec.name, "path": meant.path}
    answer = ask(settings.state_dir, request) if live and meant.record is None else None
    if answer is not None:
        standing = answer["standing"]
    # The ledger is asked after the daemon: a job that ends in between is then in the ledger.
    record = meant.record
    if record is None and ledger is not None:
        record = ledger.newest_record(meant.spec.name, meant.path)
    renditions = ledger.renditions(record.known.job) if record is not None and ledger is not None else []
    places = {rendition.name: os.path.join(rendition.outbox, rendition.name) for rendition in renditions}
    if record is not None and record.moved_to:
        places[record.moved_to] = record.moved_to
    look = take_look(meant.spec.path, meant.path, peek=False)
    seen = Seen(
        look=look if meant.record is None else look.__class__(kind="missing"),
        rule=NameFilter(meant.spec.include, meant.spec.ignore).ignored_by(meant.path),
        recursive=meant.spec.recursive,
        in_subfolder="/" in meant.path,
        record=record,
        outputs=tuple(rendition.name for rendition in renditions),
        gone=frozenset(name for name, place in places.items() if not os.path.lexists(place)),
    )
    return explain(standing, seen)
