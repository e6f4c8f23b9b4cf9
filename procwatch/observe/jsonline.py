"""Render one event as one line of ASCII JSON that every parser reads, whatever somebody put into a field."""

import functools
import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

_DEPTH_MAX: Final = 6


def render_json(now_s: float, level: str, event: str, fields: Mapping[str, Any]) -> str:
    """Return one line of ASCII JSON: timestamp, level and event first, then the fields in the order of the call."""
    line = {"timestamp": _iso(now_s), "level": level, "event": event, **fields}
    if len(line) != len(fields) + 3:  # a field tried to be one of the first three
        line = {"timestamp": _iso(now_s), "level": level, "event": event} | {
            key: value for key, value in fields.items() if key not in ("timestamp", "level", "event")
        }
    try:
        return _encode(line)
    except (TypeError, ValueError, RecursionError):  # NaN, keys that are no strings, loops, numbers too long
        return _encode(_cleaned(line))


def _iso(now_s: float) -> str:
    milliseconds = int(now_s * 1000)
    return f"{_iso_second(milliseconds // 1000)}.{milliseconds % 1000:03}Z"


@functools.lru_cache(maxsize=2)  # lines come in bursts, and the rest is a third of a line's time
def _iso_second(epoch_s: int) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).isoformat()[:-6]


def _plain(value: object) -> object:
    """Return what JSON can hold for a value that it cannot."""
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    if isinstance(value, bytes | os.PathLike):
        return os.fsdecode(value)
    return _text(value)


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 (anything may be logged, also what cannot be printed)
        return f"<{type(value).__name__}>"


_encode = json.JSONEncoder(default=_plain, allow_nan=False).encode


def _cleaned(value: object, depth: int = 0) -> object:
    if isinstance(value, Mapping) and depth < _DEPTH_MAX:
        return {_text(key): _cleaned(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple) and depth < _DEPTH_MAX:
        return [_cleaned(item, depth + 1) for item in value]
    if value is None or isinstance(value, str | bool):
        return value
    try:
        json.dumps(value, allow_nan=False)
    except Exception:  # noqa: BLE001
        return _text(value)
    return value
