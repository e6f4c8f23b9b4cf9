"""The settings that a path belongs to: found by walking up from the path, as `explain` and `retry` do."""

import argparse
import os
from typing import TYPE_CHECKING

from procwatch.cli.target import add_target_arguments, settings_for

if TYPE_CHECKING:
    from procwatch.settings.values import Settings


def add_nearby_arguments(parser: argparse.ArgumentParser) -> None:
    """Add -c FILE and -d DIR, which go before what the path tells."""
    add_target_arguments(parser, positional=False)


def settings_near(args: argparse.Namespace, paths: "list[str]") -> "Settings":
    """Return the settings given by -c or -d, else those of the site around the paths, else the usual ones.

    Raises ConfigError for a site that others may have put there: a path may lead through an inbox.
    """
    from procwatch.settings.trust import site_settings

    if getattr(args, "dir", None) is not None:
        return settings_for(args)
    if args.config is None and args.directory is None:
        for path in [*paths, "."]:
            home = home_of(path)
            if home is not None:
                return site_settings(home)
    return settings_for(args)


def home_of(path: str) -> str | None:
    """Return the nearest folder at or above the path that has a `.procwatch/` or a procwatch.toml, whoever made it."""
    from procwatch.settings.trust import is_site

    folder = os.path.abspath(path)
    while True:
        if is_site(folder):
            return folder
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent
