"""What a worker answers, read as if an enemy had written it: data of a known shape, and no pickle that acts.

A ProcessPoolExecutor unpickles every answer in the daemon, and unpickling calls whatever the bytes name: a decoder that
was taken over would own the daemon by its first answer. The executor asks its context for the queue of results, so
this room gives it one whose reader makes nothing but inert stand-ins, checks them, and builds the values itself.
What does not fit breaks the executor, exactly as a dead worker does.
"""

import io
import os
import pickle
import re
from collections.abc import Mapping
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.queues import SimpleQueue
from types import SimpleNamespace
from typing import Any, Final

from procwatch.errors import ERROR_CODES
from procwatch.model import Rendered, RenderFailed, RenderResult, Staged

#: An answer has some hundred bytes, with a long reason some thousand.
MAX_ANSWER_BYTES: Final = 1024**2
_MAX_TEXT: Final = 2000
_MAX_NUMBER: Final = 2**63 - 1  # of SQLite
#: What a worker may say of a job without costing it anything: see model.RenderFailed.
_UNCHARGED: Final = frozenset({"changed", "vanished", "environment", "deferred", "sandbox-stale"})
_STAGED_FILE: Final = re.compile(r"[0-9]{1,4}\.[a-z0-9]{1,8}")
_EXT: Final = re.compile(r"[a-z0-9]{1,8}")
_BYTES: Final = re.compile(r"[0-9]{1,18}")  # the reason of "deferred" is a number of bytes
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_RESULT_ITEM: Final = ("concurrent.futures.process", "_ResultItem")
_MODEL: Final = {("procwatch.model", name) for name in ("Rendered", "RenderFailed", "Staged")}


class BadAnswerError(pickle.UnpicklingError):
    """A worker's answer is not of the shape that a worker of ours sends."""


class CheckedQueue(SimpleQueue[Any]):
    """The queue of results of one executor; in the worker it is an ordinary SimpleQueue."""

    def __init__(self, *, ctx: BaseContext) -> None:
        super().__init__(ctx=ctx)
        plain: Connection = self._reader  # type: ignore[has-type]
        self._reader = CheckedConnection(os.dup(plain.fileno()), writable=False)
        self._poll = self._reader.poll
        plain.close()

    def __reduce__(self) -> Any:
        """Give the worker the end that it writes to, and nothing to read from."""
        state: Any = self.__getstate__()
        _, writer, reading, writing = state
        return object.__new__, (SimpleQueue,), (writer, writer, reading, writing)


class CheckedConnection(Connection):
    """The daemon's end of that queue: recv() is what the executor's manager thread calls."""

    def recv(self) -> Any:
        return read_answer(self.recv_bytes(MAX_ANSWER_BYTES))


def read_answer(data: bytes) -> Any:
    """Return the executor's result item in `data`. Raises BadAnswerError.

    The two messages by which a worker takes leave are refused too: ours never do, and a false one ends the
    executor's manager thread, so that no death would ever be noticed again.
    """
    reader = _Reader(data)
    try:
        item = reader.load()
    except BadAnswerError:
        raise
    except Exception as error:  # noqa: BLE001 (a pickle can raise anything)
        raise BadAnswerError(f"not an answer: {type(error).__name__}") from None
    state = reader.state_of(item, _RESULT_ITEM)
    if type(state) is not dict or state.get("exception") is not None or state.get("exit_pid") is not None:
        raise BadAnswerError(
            "the worker's function raised, or the worker leaves; those of procwatch never do"
        )
    return SimpleNamespace(
        work_id=_number(state.get("work_id")),
        exception=None,
        result=_answer(reader, state.get("result")),
        exit_pid=None,
    )


class _StandIn:
    """Holds what a pickle says of an object, and does nothing with it."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        object.__setattr__(self, "state", state)


class _Reader(pickle.Unpickler):
    """Knows four classes by name, and makes of each a stand-in of its own, of which nothing outlives the answer."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self._classes: dict[tuple[str, str], type[_StandIn]] = {}

    def find_class(self, module: str, name: str, /) -> Any:
        key = (module, name)
        if key != _RESULT_ITEM and key not in _MODEL:
            raise BadAnswerError(f"an answer names {module[:100]!a}.{name[:100]!a}")
        return self._classes.setdefault(key, type(name, (_StandIn,), {}))

    def state_of(self, value: Any, key: tuple[str, str]) -> Any:
        """Return what the pickle said of an object of this class."""
        if key not in self._classes or type(value) is not self._classes[key]:
            raise BadAnswerError(f"expected a {key[1]}, not {type(value).__name__[:100]!a}")
        return value.state


def _answer(reader: _Reader, value: Any) -> Any:
    """Check what one of the worker's functions returned: a text, (pid, notes), or (result, bytes in use)."""
    if isinstance(value, str):
        return _text(value)
    if type(value) is not tuple or len(value) != 2:  # noqa: PLR2004
        raise BadAnswerError("an answer of another shape")
    first, second = value
    if type(first) is int:
        return _number(first), _texts(second)
    return _render_result(reader, first), _number(second)


def _render_result(reader: _Reader, value: Any) -> RenderResult:
    if type(value).__name__ == "RenderFailed":
        code, reason = _fields(reader, value, RenderFailed)
        if code not in ERROR_CODES and code not in _UNCHARGED:
            raise BadAnswerError("a failure with a code that does not exist")
        if code == "deferred":
            _matching(_BYTES, reason)
        return RenderFailed(code=code, reason=_text(reason))
    renditions, width, height, format_name, frames, sha256, notes = _fields(reader, value, Rendered)
    if type(renditions) is not tuple:
        raise BadAnswerError("renditions are a tuple")
    return Rendered(
        renditions=tuple(_staged(reader, staged) for staged in renditions),
        width=_number(width),
        height=_number(height),
        format=_text(format_name),
        frames=_number(frames),
        sha256=None if sha256 is None else _matching(_DIGEST, sha256),
        notes=_texts(notes),
    )


def _staged(reader: _Reader, value: Any) -> Staged:
    output, file, ext, width, height, size, inode = _fields(reader, value, Staged)
    return Staged(
        output=_text(output),
        file=_matching(_STAGED_FILE, file),  # a bare name: the daemon moves what it names
        ext=_matching(_EXT, ext),
        width=_number(width),
        height=_number(height),
        size=_number(size),
        inode=_number(inode),
    )


def _fields(reader: _Reader, value: Any, wanted: type[Any]) -> list[Any]:
    """Return the fields of a dataclass with slots, in their order, as dataclasses pickle them."""
    state = reader.state_of(value, ("procwatch.model", wanted.__name__))
    if type(state) is not list or len(state) != len(wanted.__dataclass_fields__):
        raise BadAnswerError(f"a {wanted.__name__} with other fields")
    return state


def _number(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _MAX_NUMBER:
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
