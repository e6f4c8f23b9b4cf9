"""The arguments that say which configuration a command works on, the same for every command."""

import argparse
from typing import TYPE_CHECKING

from procwatch.errors import UsageError

if TYPE_CHECKING:
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


def settings_for(args: argparse.Namespace) -> "Settings":
    """Return the settings that the parsed arguments mean. Raises UsageError or ConfigError."""
    from procwatch.settings.load import resolve

    positional: str | None = getattr(args, "dir", None)
    if positional is not None and args.directory is not None:
        raise UsageError("a folder was given twice", hint="give either DIR or -d DIR")
    return resolve(args.config, positional if positional is not None else args.directory)
