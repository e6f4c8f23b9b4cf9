"""A configuration file as it was written: its text, its data, and the report of everything that is wrong in it."""

import os
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from procwatch.errors import ConfigError
from procwatch.settings.locate import Path, key_lines, line_of
from procwatch.settings.paths import one_line

_POSITION = re.compile(r"\s*\(at (?:line (\d+), column (\d+)|end of document)\)$")
_OCTAL_WITH_LEADING_ZERO = re.compile(r"\s*\w*mode\s*=\s*0([0-7]+)\b")


@dataclass(frozen=True, kw_only=True, slots=True)
class Mistake:
    """One thing that is wrong. `path` leads to it; the message completes "KEY ..."."""

    path: Path
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A TOML file that could be read."""

    path: str
    text: str
    data: dict[str, Any]

    @property
    def folder(self) -> str:
        """The folder that relative paths in the file start from."""
        return os.path.dirname(self.path)


def read_document(path: str) -> Document:
    """Read a TOML file. Raises ConfigError with file, line and column where it is no TOML."""
    try:
        with open(path, "rb") as file:
            text = file.read().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{one_line(path)}: is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        hint = '"procwatch init DIR" writes one' if isinstance(error, FileNotFoundError) else ""
        raise ConfigError(f"{one_line(path)}: cannot be read: {error.strerror}", hint=hint) from error
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(_syntax_message(path, text, str(error))) from error
    return Document(path=path, text=text, data=data)


def refuse(document: Document, mistakes: Iterable[Mistake]) -> ConfigError:
    """Return the error that lists every mistake, one a line, in the order of the file."""
    lines = key_lines(document.text)
    file = one_line(document.path)
    placed = sorted(
        ((line_of(lines, mistake.path) or 0, mistake) for mistake in mistakes), key=lambda p: p[0]
    )
    report = [
        f"{file}:{line}: {_sentence(mistake)}" if line else f"{file}: {_sentence(mistake)}"
        for line, mistake in placed
    ]
    if len(report) > 1:
        report.insert(0, f"{len(report)} mistakes in the configuration")
    return ConfigError("\n".join(report))


def key_path(path: Path) -> str:
    """Return "inbox#2.settle": array elements are counted from 1, as people do."""
    return "".join(f"#{part + 1}" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _sentence(mistake: Mistake) -> str:
    return one_line(f"{key_path(mistake.path)}: {mistake.message}" if mistake.path else mistake.message)


def _syntax_message(path: str, text: str, error: str) -> str:
    found = _POSITION.search(error)
    what = _POSITION.sub("", error)
    if found is None or found[1] is None:
        line, column = text.count("\n") + 1, len(text) - text.rfind("\n")
    else:
        line, column = int(found[1]), int(found[2])
    written = text.split("\n")[line - 1]
    octal = _OCTAL_WITH_LEADING_ZERO.match(written)
    if octal is not None:
        what = f"TOML writes octal numbers as 0o{octal[1]}, not 0{octal[1]}"
    return f"{one_line(path)}:{line}:{column}: {what}"
