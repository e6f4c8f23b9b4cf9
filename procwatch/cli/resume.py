"""procwatch resume: start jobs again after `procwatch pause`."""

import argparse

from procwatch.cli.asking import add_inbox_arguments, ask_about_inbox
from procwatch.errors import EXIT_OK

EXAMPLES = """examples:
  procwatch resume ~/pictures          every inbox
  procwatch resume ~/pictures scans    the inbox named scans

A pause that trouble caused (a full disk) ends by itself when the trouble is over, not by this.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_inbox_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Ask the daemon to resume; 4 when none runs."""
    names = ask_about_inbox(args, "resume")
    print(f"resumed: {', '.join(names)}" if names else "nothing was paused by request")
    return EXIT_OK
