"""procwatch once: process what is there, show how far it is, then end."""

import argparse
import sys
import time
from typing import TYPE_CHECKING, Final

from procwatch.cli.leaving import leave, terminal_may_be_gone
from procwatch.cli.target import add_target_arguments, prepare_and_tell, settings_for
from procwatch.errors import EXIT_OK, EXIT_SOME_FAILED, UsageError
from procwatch.units import counted, parse_duration

if TYPE_CHECKING:
    from procwatch.observe.progress import Progress
    from procwatch.service import Service

#: The reason of a stop when everything is done that can be.
DRAINED: Final = "drained"
#: While it only waits, how often the time that is left is shown.
_SHOW_EVERY_S: Final = 1.0

EXAMPLES = """examples:
  procwatch once ~/pictures               what is in ~/pictures/inbox, with a progress bar
  procwatch once ~/pictures --wait 5s     do not wait long for files that are still being written
  procwatch once ~/pictures > lines.json  the log lines, one JSON object a file

exit status: 0 every file that was complete is done, 1 some failed, or it was interrupted with files left
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
    """Drain the backlog; return 0, or 1 when a file failed or was not got to."""
    try:
        wait_s = parse_duration(args.wait)
    except ValueError as error:
        raise UsageError(f"--wait: {error}") from None
    settings = settings_for(args)
    from procwatch.observe.log import open_log
    from procwatch.observe.progress import Progress, print_summary
    from procwatch.service import Service

    prepared = prepare_and_tell(settings)  # before the log opens its file there
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
    with terminal_may_be_gone():
        print_summary(
            done=registry.done,
            failed=registry.failed,
            seconds=time.monotonic() - began_s,
            by_pid=dict(registry.by_pid),
            failures=tuple(registry.tally.failures)[-registry.failed :] if registry.failed else (),
            rest=_rest(service),
            log_file=settings.log.file,
        )
    not_got_to = service.stop_reason != DRAINED and service.left
    return leave(code or (EXIT_SOME_FAILED if registry.failed or not_got_to else EXIT_OK))


def _rest(service: "Service") -> str:
    """Say what is left in the inbox, and why; "" when nothing is."""
    if service.stop_reason != DRAINED:
        found = counted(service.left, "file")
        return f"interrupted ({service.stop_reason}): {found} found so far and not done; left in the inbox"
    awaited = service.settling + service.retrying
    return f"{counted(awaited, 'file')} still changing or not complete; left in the inbox" if awaited else ""


class _Drain:
    """Watches the service at every turn of its loop and stops it when nothing is left to do."""

    def __init__(self, progress: "Progress", wait_s: float) -> None:
        self._progress = progress
        self._wait_s = wait_s
        self._idle_since_s: float | None = None

    def __call__(self, service: "Service") -> float | None:
        now_s = time.monotonic()
        if not service.is_idle or service.is_stopping:
            self._idle_since_s = None
        elif self._idle_since_s is None:
            self._idle_since_s = now_s
        registry = service.registry
        self._progress.update(
            done=registry.done,
            failed=registry.failed,
            waiting=service.left - service.running,
            running=service.running,
            why=self._why(service),
            until_s=None if self._idle_since_s is None else self._idle_since_s + self._wait_s - now_s,
        )
        if self._idle_since_s is None:
            return None
        if service.is_drained or now_s - self._idle_since_s >= self._wait_s:
            service.stop(DRAINED)
        return _SHOW_EVERY_S

    def _why(self, service: "Service") -> str:
        """Say why nothing moves; "" while something does."""
        if self._idle_since_s is None:
            return ""
        settling, retrying = service.settling, service.retrying
        parts = [f"{counted(settling, 'file')} may still be growing"] if settling else []
        parts += [f"{counted(retrying, 'file')} to be tried again"] if retrying else []
        return ", ".join(parts)
