"""procwatch pause: start no new jobs until `procwatch resume`, or until the daemon is restarted."""

import argparse

from procwatch.cli.asking import add_inbox_arguments, ask_about_inbox
from procwatch.errors import EXIT_OK

EXAMPLES = """examples:
  procwatch pause ~/pictures           every inbox; files stay there and wait
  procwatch pause ~/pictures scans     the inbox named scans
  procwatch pause -c my.toml scans     the same, from a configuration file

Running jobs end. A restart of the daemon resumes.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_inbox_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Ask the daemon to pause; 4 when none runs."""
    names = ask_about_inbox(args, "pause")
    print(f"paused: {', '.join(names)}; a restart of procwatch resumes" if names else "already paused")
    return EXIT_OK
