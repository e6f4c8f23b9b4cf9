"""Render one event as one readable line for a terminal, with nothing in it that a terminal would obey."""

import time
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, Final

_RESET: Final = "\x1b[0m"
_COLOURS: Final = {
    "done": "\x1b[32m",
    "ready": "\x1b[32m",
    "watch": "\x1b[36m",
    "retry": "\x1b[33m",
    "warn": "\x1b[33m",
    "failed": "\x1b[31m",
    "error": "\x1b[31m",
    "crit": "\x1b[1;31m",
    "debug": "\x1b[2m",
}
_LABELS: Final = {"warning": "warn", "critical": "crit"}
_LABEL_WIDTH: Final = 6
_FIRST_SURROGATE_BYTE: Final = 0xDC80  # os.fsdecode maps byte 0x80 here
_LAST_SURROGATE_BYTE: Final = 0xDCFF


def safe_text(text: str) -> str:
    """Escape what a terminal would act on or hide: controls, line ends, bidi and format characters, surrogates.

    Emoji that are joined by U+200D come apart: a joiner is a format character like those that hide an extension.
    """
    if text.isprintable():
        return text
    return "".join(map(_safe_character, text))


def _safe_character(character: str) -> str:
    if character.isprintable() or unicodedata.category(character) == "Zs":
        return character
    code = ord(character)
    if _FIRST_SURROGATE_BYTE <= code <= _LAST_SURROGATE_BYTE:
        return f"\\x{code - 0xDC00:02x}"  # the byte that is really in the name
    return character.encode("unicode_escape").decode("ascii")


class ConsoleRenderer:
    """Makes lines such as `12:01:02 done   a.jpg → a-web.jpg  0.21 s  pid 4102`, in local time.

    `arrow` is replaced where the terminal's encoding lacks it. Inboxes are named once there is more than one.
    """

    def __init__(self, *, colour: bool, arrow: str = "→") -> None:
        self._colour = colour
        self._arrow = arrow
        self._inboxes: set[str] = set()

    def __call__(self, timestamp_s: float, level: str, event: str, fields: Mapping[str, Any]) -> str:
        self._meet(event, fields)
        special = _SPECIAL.get(event)
        if special is not None:
            label, text = special(self, fields)
        else:
            label, text = _LABELS.get(level, level), self._generic(event, fields)
        clock = time.strftime("%H:%M:%S", time.localtime(timestamp_s))
        padded = f"{safe_text(label):<{_LABEL_WIDTH}}"
        colour = _COLOURS.get(label, "") if self._colour else ""
        return f"{clock} {colour}{padded}{_RESET if colour else ''} {text}"

    def _meet(self, event: str, fields: Mapping[str, Any]) -> None:
        if event == "watch.started":
            self._inboxes.add(str(fields.get("inbox")))

    def _generic(self, event: str, fields: Mapping[str, Any]) -> str:
        path = fields.get("path")
        parts = [safe_text(event)]
        if path is not None:
            parts.append(_value(path))
        parts += _pairs(fields, skip=("path",))
        return "  ".join(parts)

    def _path(self, fields: Mapping[str, Any]) -> str:
        path = _plain(fields.get("path"))
        return f"[{_plain(fields.get('inbox'))}] {path}" if len(self._inboxes) > 1 else path

    def _done(self, fields: Mapping[str, Any]) -> tuple[str, str]:
        text = f"{self._path(fields)} {self._arrow} {_plain(fields.get('outputs'))}{_seconds_and_pid(fields)}"
        if fields.get("original") == "stuck":
            text += "  original could not be removed from the inbox"
        return "done", text + _hint(fields)

    def _failed(self, fields: Mapping[str, Any]) -> tuple[str, str]:
        why = f"{_plain(fields.get('error'))}: {_plain(fields.get('reason'))}"
        return "failed", f"{self._path(fields)}  {why}{_seconds_and_pid(fields)}{_hint(fields)}"

    def _retrying(self, fields: Mapping[str, Any]) -> tuple[str, str]:
        why = f"{_plain(fields.get('error'))}: {_plain(fields.get('reason'))}"
        return "retry", f"{self._path(fields)}  {why}  again in {_plain(fields.get('delay_s'))} s"

    def _watching(self, fields: Mapping[str, Any]) -> tuple[str, str]:
        return "watch", f"drop files into {_plain(fields.get('path'))}  ({_plain(fields.get('mode'))})"

    def _ready(self, fields: Mapping[str, Any]) -> tuple[str, str]:
        return "ready", f"procwatch is ready after {_plain(fields.get('seconds'))} s"


_Special = Callable[[ConsoleRenderer, Mapping[str, Any]], tuple[str, str]]
_SPECIAL: Final[dict[str, _Special]] = {
    "job.done": ConsoleRenderer._done,  # noqa: SLF001 (the table belongs to the class)
    "job.failed": ConsoleRenderer._failed,  # noqa: SLF001
    "job.retrying": ConsoleRenderer._retrying,  # noqa: SLF001
    "watch.started": ConsoleRenderer._watching,  # noqa: SLF001
    "service.ready": ConsoleRenderer._ready,  # noqa: SLF001
}


def _seconds_and_pid(fields: Mapping[str, Any]) -> str:
    run_s, pid = fields.get("run_s"), fields.get("worker_pid")
    seconds = f"  {run_s:.2f} s" if isinstance(run_s, int | float) else ""
    return seconds + (f"  pid {_plain(pid)}" if pid is not None else "")


def _hint(fields: Mapping[str, Any]) -> str:
    hint = fields.get("hint")
    return f"  ({_plain(hint)})" if hint else ""


def _pairs(fields: Mapping[str, Any], *, skip: tuple[str, ...]) -> list[str]:
    return [
        f"{safe_text(str(key))}={_value(value)}"
        for key, value in fields.items()
        if key not in skip and value is not None
    ]


def _plain(value: object) -> str:
    """Return a value as a person would write it."""
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value))
    if isinstance(value, Mapping):
        return ", ".join(f"{_plain(key)}: {_plain(item)}" for key, item in value.items())
    return safe_text(str(value))


def _value(value: object) -> str:
    """Return a value so that the end of it can be seen: quoted where it is empty or has spaces or quotes in it."""
    text = _plain(value)
    if text and not any(mark in text for mark in ' ="'):
        return text
    return '"' + text.replace('"', '\\"') + '"'
