"""How a worker answers: the number of the question and a JSON document, through a pipe of its own; nothing is pickled.

The executor's worker puts its result items into what it takes for a queue. pool.results reads what arrives.
"""

import contextlib
import json
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Final

from procwatch.model import Rendered, RenderFailed, Staged

#: Before the document: which question of the executor it answers, big-endian.
NUMBER_BYTES: Final = 8
_FIELDS: Final = {kind: tuple(kind.__dataclass_fields__) for kind in (Rendered, RenderFailed, Staged)}


#: What a worker still has to do when its answer is on its way and nobody waits for it any more.
_afterwards: Final[list[Callable[[], None]]] = []


def after_answer(call: Callable[[], None]) -> None:
    """In the worker: call it once, when the next answer has been sent. What it raises is dropped."""
    _afterwards.append(call)


class Sender:
    """The end of the queue of results that a worker has; stands in for a SimpleQueue there."""

    def __init__(self, writer: Connection) -> None:
        self._writer = writer

    def put(self, item: Any) -> None:
        """Send what a function of the worker returned. What it raised, or that it leaves, is an empty document."""
        number = getattr(item, "work_id", 0)
        has_result = number is not item and getattr(item, "exception", item) is None
        document = encode(item.result) if has_result else b""
        self._writer.send_bytes(number.to_bytes(NUMBER_BYTES, "big") + document)
        while _afterwards:
            with contextlib.suppress(Exception):  # the executor would take it for one of the answer
                _afterwards.pop()()


def encode(answer: Any) -> bytes:
    """Return the document of a text, of (pid, notes), or of (result, bytes in use); nothing for anything else."""
    try:
        return _ENCODER.encode(answer).encode("ascii")
    except (TypeError, ValueError, KeyError):
        return b""


def _plain(value: Any) -> dict[str, Any]:
    fields = {name: getattr(value, name) for name in _FIELDS[type(value)]}
    return {type(value).__name__: fields}


_ENCODER: Final = json.JSONEncoder(default=_plain, separators=(",", ":"))
