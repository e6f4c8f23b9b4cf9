"""procwatch run: watch the inboxes until stopped."""

import argparse
import sys
from typing import TYPE_CHECKING

from procwatch.cli.leaving import leave
from procwatch.cli.target import add_target_arguments, prepare_and_tell, settings_for

if TYPE_CHECKING:
    from procwatch.service import Service
    from procwatch.settings.values import Settings

EXAMPLES = """examples:
  procwatch run ~/pictures                    drop files into ~/pictures/inbox
  procwatch run -c /etc/procwatch/scans.toml  everything from a configuration file
  procwatch run ~/pictures | jq .event        JSON lines, since stdout is not a terminal
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target_arguments(parser)
    parser.add_argument("--level", choices=("debug", "info", "warning", "error"), help="log level")


def run(args: argparse.Namespace) -> int:
    """Run the daemon in the foreground; return its exit code."""
    settings = settings_for(args)
    from procwatch.observe.log import open_log
    from procwatch.service import Service

    prepared = prepare_and_tell(settings)  # before the log opens its file there
    log = open_log(format=settings.log.format, file=settings.log.file, level=args.level or settings.log.level)
    hello = _Hello(settings) if sys.stdout.isatty() else None
    try:
        code = Service(settings, log, prepared=prepared, on_turn=hello).run()
    finally:
        log.close()
    return leave(code)


class _Hello:
    """Tells a person at a terminal, once, where to drop files."""

    def __init__(self, settings: "Settings") -> None:
        self._settings = settings
        self._said = False

    def __call__(self, service: "Service") -> float | None:
        if self._said or not service.ready:
            return None
        self._said = True
        for inbox in self._settings.inboxes:
            print(f"Ready. Drop images into   {inbox.path}")
            print(f"       results appear in  {inbox.outbox}")
        print("       Ctrl-C stops.", flush=True)
        return None
