"""Turn what pydantic says into sentences for the person who wrote the file."""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from procwatch.settings.document import Mistake
from procwatch.settings.locate import Path
from procwatch.settings.schema import ConfigTable
from procwatch.settings.show import toml_value

_SECTIONS = ("pool", "limits", "state", "log", "inbox")


def schema_mistakes(errors: Iterable[ErrorDetails]) -> list[Mistake]:
    """Return one mistake for each error of validating a ConfigTable."""
    return [_mistake(error) for error in errors]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return '; did you mean "..."?' or nothing."""
    near = difflib.get_close_matches(word.lower(), list(known), n=1)
    return f'; did you mean "{near[0]}"?' if near else ""


def _mistake(error: ErrorDetails) -> Mistake:
    path: Path = tuple(part for part in error["loc"] if part != "[key]")
    kind, value = error["type"], error["input"]
    if kind == "extra_forbidden":
        return Mistake(path=path, message=_unknown_key(path))
    allowed = _allowed(path)
    if kind == "missing" or (kind == "too_short" and not value):
        return Mistake(path=path, message=f"is missing; it must be {allowed}")
    message = f"must be {allowed}, not {_shown(value)}"
    if error["loc"][-1] == "[key]":
        message = "is no name that can be used; write letters, digits and . _ - only"
    elif kind == "literal_error":
        guess = did_you_mean(str(value), re.findall(r'"([^"]+)"', allowed)).removeprefix("; ")
        message = f"is {_shown(value)}; {guess} It must be {allowed}" if guess else message
    return Mistake(path=path, message=message)


def _unknown_key(path: Path) -> str:
    key, known = str(path[-1]), _fields(path[:-1])
    message = "is not a known key" + did_you_mean(key, known)
    homes = [
        section for section in _SECTIONS if key in _fields((section, 0) if section == "inbox" else (section,))
    ]
    if len(path) > 1 and key in ConfigTable.model_fields:
        message += "; it belongs at the top of the file, before the first [table]"
    elif homes and path[0] not in homes:
        message += f"; it belongs in {'[[inbox]]' if homes[0] == 'inbox' else f'[{homes[0]}]'}"
    return f"{message}; known here: {', '.join(known)}"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a table"
    text = toml_value(value)
    return text if len(text) <= 60 else text[:57] + "..."  # noqa: PLR2004 (one line of a terminal)


def _allowed(path: Path) -> str:
    """Return the description of the nearest field around `path`."""
    for length in range(len(path), 0, -1):
        field = _fields(path[: length - 1]).get(str(path[length - 1]))
        if field is not None and field.description:
            is_item = length < len(path) and field.description.startswith("a list")
            return ("an item of " if is_item else "") + str(field.description)
    return "something else"


def _fields(path: Path) -> Mapping[str, Any]:
    """Return the fields of the table at `path`: name → pydantic FieldInfo; nothing where there is no table."""
    kind: Any = ConfigTable
    for part in path:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            field = kind.model_fields.get(str(part))
            kind = field.annotation if field else None
        elif get_origin(kind) in (list, dict):
            kind = get_args(kind)[-1]
        else:
            kind = None
    return kind.model_fields if isinstance(kind, type) and issubclass(kind, BaseModel) else {}
