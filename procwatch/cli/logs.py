"""procwatch logs: read the log file or the journal, for people on a terminal and as JSON through a pipe."""

import argparse
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from procwatch.cli.target import add_target_arguments, settings_for
from procwatch.errors import EXIT_OK, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from procwatch.control.log_lines import Wanted

EXAMPLES = """examples:
  procwatch logs -f ~/pictures             follow, over rotations
  procwatch logs --failed --since 1h       what failed within the last hour
  procwatch logs --slow 5s --inbox scans   files that took longer than 5 s to render
  procwatch logs --stats --since 24h       how many, how fast, what failed, which worker
  procwatch logs --unit procwatch -f       from the journal instead of the log file
  procwatch logs --file old.log | jq .     any log file; through a pipe it is JSON
"""

_DEFAULT_UNIT: Final = "procwatch"
#: Lines of the past that are shown before following.
_BEFORE_FOLLOWING: Final = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target_arguments(parser)
    parser.add_argument("-f", "--follow", action="store_true", help="go on with lines as they are written")
    parser.add_argument(
        "-n", "--lines", type=_count, metavar="N", help="only the last N lines before filtering"
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--file", nargs="?", const="", metavar="FILE", help="a log file; default: the configured one"
    )
    source.add_argument("--unit", metavar="NAME", help="the journal of a systemd unit")
    parser.add_argument("--failed", action="store_true", help="only files that failed")
    parser.add_argument("--inbox", metavar="NAME", help="only what is about one inbox")
    parser.add_argument("--since", metavar="TIME", help="only the last 90s, 2h, 1d …")
    parser.add_argument("--slow", metavar="TIME", help="only files that rendered for at least so long")
    parser.add_argument("--stats", action="store_true", help="figures instead of lines")


def run(args: argparse.Namespace) -> int:
    """Print lines or figures; return 0."""
    if args.stats and args.follow:
        raise UsageError("--stats and -f exclude each other", hint="figures need an end")
    from procwatch.control.log_lines import Wanted, parsed, since

    wanted = Wanted(
        failed=args.failed,
        inbox=args.inbox,
        slow_s=_duration(args.slow, "--slow"),
        since=None if args.since is None else since(_duration(args.since, "--since") or 0.0, time.time()),
    )
    source, where = _source(args, wanted)
    counts = _Counts()
    lines = counts.choose(parsed(source), wanted)
    try:
        if args.stats:
            _print_stats(lines)
        else:
            _print_lines(lines)
    except KeyboardInterrupt:
        if not args.follow:
            raise
    if not counts.shown:
        none = f"none of {counts.seen} lines matches" if counts.seen else "no line of procwatch's log"
        print(f"procwatch: {none}: {where}", file=sys.stderr)
    return EXIT_OK


class _Counts:
    """How many lines there were, and how many were shown: nothing at all has a reason that is worth telling."""

    def __init__(self) -> None:
        self.seen = self.shown = 0

    def choose(self, lines: "Iterator[dict[str, Any]]", wanted: "Wanted") -> "Iterator[dict[str, Any]]":
        for line in lines:
            self.seen += 1
            if wanted.takes(line):
                self.shown += 1
                yield line


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return value


def _duration(text: str | None, option: str) -> float | None:
    from procwatch.units import parse_duration

    if text is None:
        return None
    try:
        return parse_duration(text)
    except ValueError as error:
        raise UsageError(f"{option}: {error}") from None


def _source(args: argparse.Namespace, wanted: "Wanted") -> "tuple[Iterator[bytes], str]":
    """Return the lines, and where they come from in words."""
    from procwatch.control.log_lines import read_file, read_journal

    last = args.lines
    if last is None and args.follow and wanted.since is None:
        last = _BEFORE_FOLLOWING
    file, unit = _where(args)
    if file is not None:
        if args.follow and not os.path.lexists(file):
            print(f"procwatch: {file!a} is not there yet; waiting for it", file=sys.stderr)
        return read_file(file, start=wanted.since, follow=args.follow, last=last), repr(file)
    where = f"the journal of the unit {unit}"
    if args.unit is None:
        where += ", since the configuration has no log file ([log] file)"
    if args.follow:
        print(f"procwatch: following {where}", file=sys.stderr)
    return read_journal(unit, start=wanted.since, follow=args.follow, last=last), where


def _where(args: argparse.Namespace) -> tuple[str | None, str]:
    """Return the log file, or None and the unit. A configuration without a log file logs to the journal."""
    if args.unit is not None:
        return None, args.unit
    if args.file:
        return args.file, ""
    settings = settings_for(args)
    if settings.log.file is not None:
        return settings.log.file, ""
    if args.file is not None:
        raise UsageError(
            "the configuration has no log file", hint="give one: --file FILE, or use --unit NAME"
        )
    return None, _unit_of(settings.source)


def _unit_of(config: str | None) -> str:
    """Return the unit that `procwatch unit --install` made for a configuration: /etc/procwatch/NAME.toml has its own."""
    from procwatch.settings.load import SYSTEM_CONFIG

    folder, file = os.path.split(config or SYSTEM_CONFIG)
    name = file.removesuffix(".toml")
    special = folder == os.path.dirname(SYSTEM_CONFIG) and name not in (_DEFAULT_UNIT, file)
    return f"{_DEFAULT_UNIT}@{name}" if special else _DEFAULT_UNIT


def _print_lines(lines: "Iterator[dict[str, Any]]") -> None:
    if not sys.stdout.isatty():
        for line in lines:
            print(json.dumps(line), flush=True)
        return
    from datetime import datetime

    from procwatch.observe.console import ConsoleRenderer

    colour = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    encoding = sys.stdout.encoding or "utf-8"
    arrow = "→" if "→".encode(encoding, "replace") != b"?" else "->"
    render = ConsoleRenderer(colour=colour, arrow=arrow)
    for line in lines:
        timestamp, level, event = (str(line.pop(key, "")) for key in ("timestamp", "level", "event"))
        try:
            moment_s = datetime.fromisoformat(timestamp).timestamp()
        except ValueError:
            moment_s = 0.0
        text = render(moment_s, level, event, line)
        print(text.encode(encoding, "backslashreplace").decode(encoding), flush=True)


def _print_stats(lines: "Iterator[dict[str, Any]]") -> None:
    from procwatch.control.log_stats import LogStats

    stats = LogStats()
    stats.add_all(lines)
    print(stats.text() if sys.stdout.isatty() else json.dumps(stats.to_json(), indent=2))
