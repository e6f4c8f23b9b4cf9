"""procwatch once: process what is there, show how far it is, then end."""

import argparse
import sys
import time
from typing import TYPE_CHECKING

from procwatch.cli.leaving import leave
from procwatch.cli.target import add_target_arguments, settings_for
from procwatch.errors import EXIT_OK, EXIT_SOME_FAILED, UsageError
from procwatch.units import parse_duration

if TYPE_CHECKING:
    from procwatch.observe.progress import Progress
    from procwatch.service import Service

EXAMPLES = """examples:
  procwatch once ~/pictures               what is in ~/pictures/inbox, with a progress bar
  procwatch once ~/pictures --wait 5s     do not wait long for files that are still being written
  procwatch once ~/pictures > lines.json  the log lines, one JSON object a file

exit status: 0 every file is done, 1 some failed
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target_arguments(parser)
    parser.add_argument(
        "--wait",
        default="60s",
        metavar="TIME",
        help="how long to wait for files that are still changing or not complete (default: 60s)",
    )
    parser.add_argument("--level", choices=("debug", "info", "warning", "error"), help="log level")


def run(args: argparse.Namespace) -> int:
    """Drain the backlog; return 0, or 1 when a file failed."""
    try:
        wait_s = parse_duration(args.wait)
    except ValueError as error:
        raise UsageError(f"--wait: {error}") from None
    settings = settings_for(args)
    from procwatch.observe.log import open_log
    from procwatch.observe.progress import Progress, print_summary
    from procwatch.service import Service
    from procwatch.settings.folders import prepare

    prepared = prepare(settings)  # before the log opens its file there
    began_s = time.monotonic()
    with Progress() as progress:
        terminal = sys.stdout.isatty()
        log = open_log(
            format=settings.log.format,
            file=settings.log.file,
            level=args.level or settings.log.level,
            quiet=terminal,  # the bar has the terminal; failures are told at the end
        )
        drain = _Drain(progress, wait_s)
        service = Service(settings, log, prepared=prepared, on_turn=drain)
        try:
            code = service.run()
        finally:
            log.close()
    registry = service.registry
    print_summary(
        done=registry.done,
        failed=registry.failed,
        seconds=time.monotonic() - began_s,
        by_pid=dict(registry.by_pid),
    )
    drain.tell_rest(settings.log.file)
    return leave(code or (EXIT_SOME_FAILED if registry.failed else EXIT_OK))


class _Drain:
    """Watches the service at every turn of its loop and stops it when nothing is left to do."""

    def __init__(self, progress: "Progress", wait_s: float) -> None:
        self._progress = progress
        self._wait_s = wait_s
        self._idle_since_s: float | None = None
        self._left = 0
        self._failed = 0

    def __call__(self, service: "Service") -> None:
        registry = service.registry
        self._failed = registry.failed
        self._progress.update(
            done=registry.done,
            failed=registry.failed,
            waiting=service.left - service.running,
            running=service.running,
        )
        if not service.is_idle:
            self._idle_since_s = None
            return
        now_s = time.monotonic()
        if self._idle_since_s is None:
            self._idle_since_s = now_s
        self._left = service.settling
        if service.is_drained or now_s - self._idle_since_s >= self._wait_s:
            service.stop("drained")

    def tell_rest(self, log_file: str | None) -> None:
        """Say what is left and where to read why files failed."""
        if self._left:
            print(
                f"{self._left} files are still changing or not complete; they stay in the inbox",
                file=sys.stderr,
            )
        if self._failed and log_file:
            print(f"why files failed: failed/NAME.error.json, or job.failed in {log_file}", file=sys.stderr)
