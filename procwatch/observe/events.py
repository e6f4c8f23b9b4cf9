"""The catalogue of events as others use it: look up, check one line, print as Markdown (`python -m` this module)."""

import json
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from procwatch.observe.catalogue import ALL
from procwatch.observe.schema import Event, Field

__all__ = ["EVENTS", "Event", "Field", "catalogue_markdown", "problems"]

EVENTS: Final[dict[str, Event]] = {event.name: event for event in ALL}

_HEAD: Final = ("timestamp", "level", "event")
_TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
#: More events than this have a field in common: naming them all would hide the table.
_FEW: Final = 3


def problems(line: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with one parsed line: unknown event or field, missing field, wrong level, type or value."""
    found: list[str] = []
    if tuple(line)[: len(_HEAD)] != _HEAD:
        found.append(f"begins with {', '.join(map(str, tuple(line)[:3]))}, not with {', '.join(_HEAD)}")
    stamp = line.get("timestamp")
    if not isinstance(stamp, str) or not _TIMESTAMP.fullmatch(stamp):
        found.append(f"timestamp is {stamp!r}, not UTC in ISO 8601 with milliseconds")
    event = EVENTS.get(str(line.get("event")))
    if event is None:
        return [*found, f"event {line.get('event')!r} is not in the catalogue"]
    return [f"{event.name}: {each}" for each in (*found, *_event_problems(event, line))]


def _event_problems(event: Event, line: Mapping[str, Any]) -> Iterator[str]:
    if line.get("level") not in (event.level, *event.also):
        yield f"level is {line.get('level')!r}, not {' or '.join((event.level, *event.also))}"
    known = {field.name: field for field in event.fields}
    for name, field in known.items():
        if field.required and name not in line:
            yield f"{name} is missing"
    for name, value in line.items():
        if name in _HEAD:
            continue
        wrong = known[name].problem(value) if name in known else f"{name} is not a field of this event"
        if wrong is not None:
            yield wrong


def catalogue_markdown() -> str:
    """Return the catalogue for the documentation: a table of events, one of fields, one example line an event."""
    return "\n".join((
        "| event | level | fields (? = may be absent) | meaning |",
        "|---|---|---|---|",
        *(_event_row(event) for event in ALL),
        "",
        "| field | type | unit | meaning | example |",
        "|---|---|---|---|---|",
        *_field_rows(),
        "",
        "```json",
        *(json.dumps(event.example) for event in ALL),
        "```",
        "",
    ))  # fmt: skip


def _event_row(event: Event) -> str:
    level = event.level + (f" ({', '.join(event.also)})" if event.also else "")
    fields = ", ".join(f"`{field.name}`{'' if field.required else '?'}" for field in event.fields)
    return f"| `{event.name}` | {level} | {fields} | {event.meaning} |"


def _field_rows() -> Iterator[str]:
    for (name, *_), (field, events) in sorted(_distinct_fields().items()):
        where = "" if _is_only_meaning(name) else f" (in {_list(events)})"
        kind = field.type + (" or null" if field.nullable else "")
        if field.choices:
            kind += ": " + ", ".join(field.choices)
        meaning = f"{field.meaning}{where}"
        yield f"| `{name}` | {kind} | {field.unit} | {meaning} | `{json.dumps(field.example)}` |"


def _distinct_fields() -> dict[tuple[str, str, str], tuple[Field, list[str]]]:
    distinct: dict[tuple[str, str, str], tuple[Field, list[str]]] = {}
    for event in ALL:
        for field in event.fields:
            distinct.setdefault((field.name, field.type, field.meaning), (field, []))[1].append(event.name)
    return distinct


def _is_only_meaning(name: str) -> bool:
    return sum(key[0] == name for key in _distinct_fields()) == 1


def _list(events: list[str]) -> str:
    shown = [f"`{name}`" for name in events[:_FEW]]
    return ", ".join(shown) + (", …" if len(events) > _FEW else "")


if __name__ == "__main__":
    sys.stdout.write(catalogue_markdown())
