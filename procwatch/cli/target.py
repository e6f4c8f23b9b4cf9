"""The arguments that say which configuration a command works on, the same for every command."""

import argparse
import os
import sys
from typing import TYPE_CHECKING

from procwatch.errors import UsageError

if TYPE_CHECKING:
    from procwatch.model import InboxSpec
    from procwatch.settings.folders import UnusableInbox
    from procwatch.settings.values import Settings


def add_target_arguments(parser: argparse.ArgumentParser, *, positional: bool = True) -> None:
    """Add -c FILE, -d DIR and, unless the command has another positional argument, DIR."""
    target = parser.add_argument_group("what to work on")
    target.add_argument("-c", "--config", metavar="FILE", help="a configuration file")
    target.add_argument(
        "-d",
        "--directory",
        metavar="DIR",
        help="a folder: its procwatch.toml if it has one, else DIR/inbox, DIR/outbox and so on",
    )
    if positional:
        target.add_argument("dir", metavar="DIR", nargs="?", help="the same as -d DIR")


def prepare_and_tell(settings: "Settings") -> "tuple[list[InboxSpec], list[UnusableInbox]]":
    """Make the folders ready; say so when the whole site was made, since its name may be a slip of the pen."""
    from procwatch.settings.folders import prepare
    from procwatch.settings.paths import one_line

    home = os.path.dirname(settings.state_dir)
    is_new = settings.source is None and not os.path.lexists(home)
    prepared = prepare(settings)
    if is_new:
        print(f"made {one_line(home)}, with inbox, outbox, archive and failed in it", file=sys.stderr)
    return prepared


def settings_for(args: argparse.Namespace) -> "Settings":
    """Return the settings that the parsed arguments mean. Raises UsageError or ConfigError."""
    from procwatch.settings.load import resolve

    positional: str | None = getattr(args, "dir", None)
    if positional is not None and args.directory is not None:
        raise UsageError("a folder was given twice", hint="give either DIR or -d DIR")
    directory = positional if positional is not None else args.directory
    return resolve(args.config, directory, command=getattr(args, "command", ""))
