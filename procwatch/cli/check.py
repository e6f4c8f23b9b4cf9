"""`procwatch check`: validate a configuration and show what it comes to, as TOML that reads back equal."""

import sys
from typing import TYPE_CHECKING

from procwatch.cli.target import add_target_arguments, settings_for
from procwatch.errors import EXIT_OK
from procwatch.settings.paths import one_line

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from procwatch.settings.values import Settings

EXAMPLES = """examples:
  procwatch check                       ./procwatch.toml, or /etc/procwatch/procwatch.toml
  procwatch check -c my.toml            one file
  procwatch check ~/pictures            a folder, as `procwatch run` would use it
  procwatch check -c my.toml > new.toml the output is itself a configuration"""


def add_arguments(parser: "argparse.ArgumentParser") -> None:
    """Add the target."""
    add_target_arguments(parser)


def run(args: "argparse.Namespace") -> int:
    """Print the effective configuration; ConfigError lists every mistake instead."""
    settings = settings_for(args)
    # A folder's name may hold bytes that are no UTF-8; TOML cannot say them, and a crash would not help either.
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")
    from procwatch.settings.show import to_toml

    print("\n".join(_heading(settings)), end="\n\n")
    print(to_toml(settings), end="")
    print("\n".join(_formats()))
    return EXIT_OK


def _heading(settings: "Settings") -> "Iterator[str]":
    from procwatch.settings.folders import foresee

    source = "no configuration file: the built-in settings for a folder"
    yield f"# {one_line(settings.source) if settings.source else source}"
    yield "# valid; the effective configuration:"
    for note in foresee(settings):
        yield f"# note: {note}"


def _formats() -> "Iterator[str]":
    from procwatch.imaging.formats import support

    found = support()
    yield ""
    for verb, formats in (("reads", found.reads), ("writes", found.writes)):
        works = [name for name, problem in formats.items() if not problem]
        yield f"# this installation {verb}: {', '.join(works)}"
        yield from (f"#   not {name}: {one_line(problem)}" for name, problem in formats.items() if problem)
    note = f" ({one_line(found.resampler_note)})" if found.resampler_note else ""
    yield f"# resampling: {found.resampler}{note}"
