"""The status snapshot as tables for a terminal. Names are shown as text, whatever is in them."""

import sys
from collections.abc import Mapping
from typing import Any, Final

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from procwatch.observe.console import safe_text
from procwatch.units import format_duration, format_size

#: Where nobody looks a table must not be cut to 80 columns.
_PIPE_WIDTH: Final = 200


def console() -> Console:
    """Return a console for stdout."""
    terminal = sys.stdout.isatty()
    return Console(file=sys.stdout, width=None if terminal else _PIPE_WIDTH, highlight=False, emoji=False)


def picture(status: Mapping[str, Any], wall_s: float) -> RenderableType:
    """Return everything that a look shows."""
    parts: list[RenderableType] = [_headline(status, wall_s)]
    if status["running"] == "no":
        return Group(*parts)
    parts += [Text(f"  {safe_text(str(why))}", style="yellow") for why in status["degraded"]]
    parts += [_inboxes(status, wall_s), _slots(status, wall_s)]
    if any(inbox.get("sizes") for inbox in status.get("inboxes") or []):
        parts.append(_sizes(status, wall_s))
    parts += [_disk(disk) for disk in status.get("disks") or []]
    if status.get("failures"):
        parts.append(_failures(status))
    return Group(*parts)


def _headline(status: Mapping[str, Any], wall_s: float) -> Text:
    if status["running"] == "no":
        return Text(
            f"procwatch is not running (state folder {safe_text(str(status['state_dir']))})", style="red"
        )
    up = format_duration(max(wall_s - float(status.get("started_at_s") or wall_s), 0.0))
    pool = status.get("pool") or {}
    state = "stalled" if status["running"] == "stalled" else str(status.get("state"))
    degraded = ", degraded" if status["degraded"] else ""
    workers = f"{pool.get('up', 0)} of {pool.get('size', 0)} workers up, {pool.get('busy', 0)} busy"
    text = (
        f"procwatch {status.get('version')} is {state}{degraded}: pid {status.get('pid')}, up {up}, {workers}"
    )
    return Text(text, style="yellow" if status["degraded"] else "green")


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        name = column.lstrip(">")
        table.add_column(name, justify="right" if column.startswith(">") else "left", overflow="fold")
    return table


def _inboxes(status: Mapping[str, Any], wall_s: float) -> Table:
    table = _table(
        "inbox",
        "mode",
        ">waiting",
        ">oldest",
        ">running",
        ">done today",
        ">failed today",
        ">per minute",
        "missed",
    )
    for inbox in status.get("inboxes") or []:
        table.add_row(
            _text(inbox["name"]),
            _mode(inbox),
            _waiting(inbox),
            _since(inbox["oldest_at_s"], wall_s),
            str(inbox["running"]),
            str(inbox["done_today"]),
            Text(str(inbox["failed_today"]), style="red" if inbox["failed_today"] else ""),
            str(inbox["per_minute"]),
            _missed(inbox, wall_s),
        )
    return table


def _waiting(inbox: Mapping[str, Any]) -> str:
    """Say how many of those that wait have failed before and are tried again."""
    retrying = inbox.get("retrying")
    return f"{inbox['waiting']}, {retrying} to retry" if retrying else str(inbox["waiting"])


def _mode(inbox: Mapping[str, Any]) -> Text:
    if inbox["paused"]:
        return Text("paused", style="yellow")
    if not inbox["watched"]:
        return Text("starting" if inbox["starting"] else "not watched", style="yellow")
    return _text(inbox["mode"])


def _missed(inbox: Mapping[str, Any], wall_s: float) -> str:
    if not inbox["missed"]:
        return "none"
    return f"{inbox['missed']}, last {_since(inbox['missed_at_s'], wall_s)} ago"


def _slots(status: Mapping[str, Any], wall_s: float) -> Table:
    table = _table(">slot", ">pid", ">seconds", ">RSS", ">jobs", "file")
    for slot in status.get("slots") or []:
        file = "" if slot["path"] is None else f"{slot['inbox']}: {slot['path']}"
        table.add_row(
            str(slot["slot"]),
            Text("down", style="yellow") if slot["worker_pid"] is None else str(slot["worker_pid"]),
            "" if slot["started_at_s"] is None else f"{max(wall_s - slot['started_at_s'], 0.0):.1f}",
            format_size(slot["rss_bytes"]) if slot["rss_bytes"] else "",
            str(slot["jobs"]),
            _text(file) if file else Text("idle", style="dim"),
        )
    return table


def _sizes(status: Mapping[str, Any], wall_s: float) -> Table:
    folders = ("inbox", "outbox", "archive", "failed")
    table = _table("files, size", *folders, "measured")
    for inbox in status.get("inboxes") or []:
        sizes = inbox.get("sizes")
        if not sizes:
            table.add_row(_text(inbox["name"]), *("" for _ in folders), "not yet")
            continue
        cells = [_size(sizes[folder]) for folder in folders]
        table.add_row(_text(inbox["name"]), *cells, f"{_since(sizes['measured_at_s'], wall_s)} ago")
    return table


def _size(total: Mapping[str, int] | None) -> str:
    if total is None:
        return "unreadable"
    return f"{total['files']:,}, {format_size(total['bytes'])}" if total["files"] else "0"


def _disk(disk: Mapping[str, Any]) -> Text:
    free, total = disk["free_bytes"], disk["total_bytes"]
    return Text(f"disk of {safe_text(str(disk['path']))}: {format_size(free)} free of {format_size(total)}")


def _failures(status: Mapping[str, Any]) -> Table:
    from procwatch.control.explain import clock

    table = _table("failed at", "file", "error", "reason")
    for failure in reversed(status["failures"]):
        table.add_row(
            clock(failure["failed_at_s"]),
            _text(f"{failure['inbox']}: {failure['path']}"),
            Text(safe_text(str(failure["error"])), style="red"),
            _text(failure["reason"]),
        )
    return table


def _since(at_s: float | None, wall_s: float) -> str:
    return "" if at_s is None else format_duration(max(wall_s - at_s, 0.0))


def _text(value: object) -> Text:
    return Text(safe_text(str(value)))
