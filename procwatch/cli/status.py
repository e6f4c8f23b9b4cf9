"""procwatch status: what a daemon does right now, from the snapshot that it writes; only where that grows old it is asked."""

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from procwatch.cli.target import add_target_arguments, settings_for
from procwatch.errors import EXIT_NO_INBOX, EXIT_OK, EXIT_SOME_FAILED

if TYPE_CHECKING:
    from procwatch.settings.values import Settings

EXAMPLES = """examples:
  procwatch status ~/pictures           one look
  procwatch status --watch -c my.toml   look again every second, until Ctrl-C
  procwatch status --json | jq .inboxes
  procwatch status >/dev/null || alert  for monitoring

exit status: 0 all is well, 1 degraded (it says why), 4 not running
"""

_EVERY_S: Final = 1.0
#: How long a daemon that says nothing by itself may take to answer.
_PATIENCE_S: Final = 3.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_target_arguments(parser)
    parser.add_argument("--watch", action="store_true", help="look again every second, until Ctrl-C")
    parser.add_argument(
        "--json", action="store_true", help="the snapshot as JSON; one line a look with --watch"
    )


def run(args: argparse.Namespace) -> int:
    """Show the status; return 0, 1 or 4."""
    settings = settings_for(args)
    if not args.watch:
        status = look(settings)
        _show(status, as_json=args.json, one_line=False)
        return exit_code(status)
    try:
        return _watch(settings, as_json=args.json)
    except KeyboardInterrupt:
        return exit_code(look(settings))


def look(settings: "Settings") -> dict[str, Any]:
    """Return the snapshot with `running`, "yes", "no" or "stalled", and `degraded` with what is wrong."""
    from procwatch.observe.status import STALE_AFTER_S, pid_runs, read_status
    from procwatch.units import format_duration

    snapshot = read_status(settings.state_dir)
    if snapshot is None or snapshot.get("state") == "stopped":
        return {**(snapshot or {}), "state_dir": settings.state_dir, "running": "no"}
    degraded = list(snapshot.get("degraded") or [])
    running = "yes"
    if snapshot["stale"]:
        age_s = snapshot["age_s"]
        running = "stalled" if pid_runs(snapshot.get("pid")) else "no"
        shown = format_duration(age_s if age_s is not None else STALE_AFTER_S)
        if running == "stalled" and (live := _asked(settings)) is not None:
            snapshot, running = {**snapshot, **live}, "yes"
            degraded = [
                f"its status file is {shown} old: the state folder cannot be written, or its disk is full"
            ]
            degraded += live.get("degraded") or []
        elif running == "stalled":
            degraded.insert(0, f"no sign of life for {shown}, though its process is there")
    return {**snapshot, "degraded": degraded, "state_dir": settings.state_dir, "running": running}


def _asked(settings: "Settings") -> dict[str, Any] | None:
    """Return what a daemon that does not write its snapshot says when it is asked; None when it does not answer."""
    from procwatch.control.protocol import ControlError, ask

    try:
        answer = ask(settings.state_dir, {"command": "status"}, timeout_s=_PATIENCE_S)
    except ControlError:
        return None
    return None if answer is None else dict(answer["status"])


def exit_code(status: dict[str, Any]) -> int:
    """Return 0 ok, 1 degraded, 4 not running."""
    if status["running"] == "no":
        return EXIT_NO_INBOX
    return EXIT_SOME_FAILED if status["degraded"] else EXIT_OK


def _watch(settings: "Settings", *, as_json: bool) -> int:
    if as_json or not sys.stdout.isatty():
        while True:
            _show(look(settings), as_json=as_json, one_line=True)
            time.sleep(_EVERY_S)
    from rich.live import Live

    from procwatch.control.status_table import console, picture

    with Live(console=console(), screen=True, auto_refresh=False) as live:
        while True:
            live.update(picture(look(settings), time.time()), refresh=True)
            time.sleep(_EVERY_S)


def _show(status: dict[str, Any], *, as_json: bool, one_line: bool) -> None:
    if as_json:
        print(json.dumps(status, indent=None if one_line else 2), flush=True)
        return
    from procwatch.control.status_table import console, picture

    console().print(picture(status, time.time()))
    sys.stdout.flush()
