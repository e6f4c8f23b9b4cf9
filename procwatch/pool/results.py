"""What a worker answers, read as if an enemy had written it: JSON, by what was asked for, field by field.

What does not fit is a dead worker.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from procwatch.errors import ERROR_CODES
from procwatch.model import MAX_INTEGER, Rendered, RenderFailed, RenderResult, Staged
from procwatch.pool.answers import BadAnswerError

_MAX_TEXT: Final = 1000
#: What a worker may say of a job without costing it anything: see model.RenderFailed.
_UNCHARGED: Final = frozenset({"changed", "vanished", "environment", "deferred", "sandbox-stale"})
#: JOB.ATTEMPT.INDEX.ext; that it is the very job's is checked before anything is moved.
_STAGED_FILE: Final = re.compile(r"[0-9a-z]{1,32}\.[0-9]{1,9}\.[0-9]{1,4}\.[a-z0-9]{1,8}")
_EXT: Final = re.compile(r"[a-z0-9]{1,8}")
_BYTES: Final = re.compile(r"[0-9]{1,18}")  # the reason of "deferred" is a number of bytes
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def read_text(data: bytes) -> str:
    """Return what a canary said. Raises BadAnswerError, as all that follow."""
    return _text(_json(data))


def read_hello(data: bytes) -> tuple[int, Mapping[str, str]]:
    """Return the pid and the notes of a handshake."""
    pid, notes = _two(_json(data))
    return _number(pid), _texts(notes)


def read_result(data: bytes) -> tuple[RenderResult, int]:
    """Return what became of a task, and the resident memory in bytes."""
    result, rss_bytes = _two(_json(data))
    return _render_result(result), _number(rss_bytes)


def _json(data: bytes) -> Any:
    try:
        return json.loads(data.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise BadAnswerError(f"not an answer: {type(error).__name__}") from None


def _two(value: Any) -> list[Any]:
    if type(value) is not list or len(value) != 2:  # noqa: PLR2004
        raise BadAnswerError("an answer of another shape")
    return value


def _render_result(value: Any) -> RenderResult:
    if type(value) is dict and "RenderFailed" in value:
        code, reason = _fields(value, RenderFailed)
        if type(code) is not str or (code not in ERROR_CODES and code not in _UNCHARGED):
            raise BadAnswerError("a failure with a code that does not exist")
        if code == "deferred":
            _matching(_BYTES, reason)
        return RenderFailed(code=code, reason=_text(reason))
    renditions, width, height, format_name, frames, sha256, notes = _fields(value, Rendered)
    if type(renditions) is not list:
        raise BadAnswerError("renditions are a list")
    return Rendered(
        renditions=tuple(map(_staged, renditions)),
        width=_number(width),
        height=_number(height),
        format=_text(format_name),
        frames=_number(frames),
        sha256=None if sha256 is None else _matching(_DIGEST, sha256),
        notes=_texts(notes),
    )


def _staged(value: Any) -> Staged:
    output, file, ext, width, height, size, inode = _fields(value, Staged)
    return Staged(
        output=_text(output),
        file=_matching(_STAGED_FILE, file),  # a bare name: the daemon moves what it names
        ext=_matching(_EXT, ext),
        width=_number(width),
        height=_number(height),
        size=_number(size),
        inode=_number(inode),
    )


def _fields(value: Any, wanted: type[Any]) -> list[Any]:
    """Return the fields of a dataclass, in their order, as answering.encode writes them."""
    state = value.get(wanted.__name__) if type(value) is dict and len(value) == 1 else None
    names = wanted.__dataclass_fields__
    if type(state) is not dict or state.keys() != names.keys():
        raise BadAnswerError(f"not a {wanted.__name__}, or with other fields")
    return [state[name] for name in names]


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_INTEGER:
        raise BadAnswerError("not a number, or out of range")
    return value


def _text(value: Any) -> str:
    """Return a text that any log and SQLite can hold."""
    if type(value) is not str:
        raise BadAnswerError("not a text")
    return value[:_MAX_TEXT].encode("utf-8", "backslashreplace").decode("utf-8")


def _texts(value: Any) -> Mapping[str, str]:
    if type(value) is not dict:
        raise BadAnswerError("notes are a table of texts")
    return {_text(key): _text(text) for key, text in value.items()}


def _matching(pattern: re.Pattern[str], value: Any) -> str:
    if type(value) is not str or not pattern.fullmatch(value):
        raise BadAnswerError(f"not of the form {pattern.pattern}")
    return value
