"""The settings that a path belongs to: found by walking up from the path, as `explain` and `retry` do."""

import argparse
import os
from typing import TYPE_CHECKING

from procwatch.cli.target import add_target_arguments

if TYPE_CHECKING:
    from procwatch.settings.values import Settings


def add_nearby_arguments(parser: argparse.ArgumentParser) -> None:
    """Add -c FILE and -d DIR, which go before what the path tells."""
    add_target_arguments(parser, positional=False)


def settings_near(args: argparse.Namespace, paths: "list[str]") -> "Settings":
    """Return the settings given by -c or -d, else those of the site around the paths, else the usual ones."""
    from procwatch.settings.load import resolve

    if args.config is None and args.directory is None:
        for path in [*paths, "."]:
            home = home_of(path)
            if home is not None:
                return resolve(None, home)
    return resolve(args.config, args.directory)


def home_of(path: str) -> str | None:
    """Return the nearest folder at or above the path that has a `.procwatch/` or a procwatch.toml."""
    from procwatch.settings.load import CONFIG_NAME, STATE_NAME

    folder = os.path.abspath(path)
    while True:
        if os.path.isdir(os.path.join(folder, STATE_NAME)) or os.path.isfile(
            os.path.join(folder, CONFIG_NAME)
        ):
            return folder
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent
