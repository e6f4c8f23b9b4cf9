"""Asks the file systems of one inbox for a sign of life, on a lane of its own, and tells when they give none.

A hung mount (a file server that is away) blocks every call that touches it, for minutes or for ever. Only somebody who
does not wait for the answer can tell.
"""

import contextlib
import os
from collections.abc import Callable, Iterable
from typing import Final

from procwatch.dispatch.lane import Lane
from procwatch.dispatch.loop import Loop

ASK_EVERY_S: Final = 2.0
#: A disk that spins up, or a server that fails over, may take this long; nobody else is kept waiting longer.
SILENT_AFTER_S: Final = 8.0


class Pulse:
    """Loop thread only, but for the question itself."""

    def __init__(
        self,
        *,
        folders: Iterable[str],
        loop: Loop,
        lane: Lane,
        on_silent: Callable[[], None],
        on_answer: Callable[[float], None],
    ) -> None:
        """Take the folders to ask, and who hears of silence and, with its length in seconds, of its end."""
        self._folders = tuple(dict.fromkeys(folders))
        self._loop = loop
        self._lane = lane
        self._on_silent = on_silent
        self._on_answer = on_answer
        self._asked_s: float | None = None
        self._closed = False
        self.is_silent = False

    def start(self) -> None:
        self._ask()

    def close(self) -> None:
        self._closed = True
        self._lane.close(timeout_s=0.0)

    @property
    def is_late(self) -> bool:
        """Whether an answer has been outstanding for longer than a healthy file system takes."""
        return self._asked_s is not None and self._loop.clock() - self._asked_s > ASK_EVERY_S

    def _ask(self) -> None:
        if self._closed:
            return
        self._asked_s = self._loop.clock()
        self._lane.submit(self._question)
        self._loop.call_later(SILENT_AFTER_S, self._check, self._asked_s)

    def _question(self) -> None:
        """Lane: statvfs goes to the server each time; other calls may be answered from a cache."""
        for folder in self._folders:
            with contextlib.suppress(OSError):  # a refusal is an answer
                os.statvfs(folder)
        self._loop.post(self._answered)

    def _check(self, asked_s: float) -> None:
        if self._asked_s == asked_s and not self.is_silent and not self._closed:
            self.is_silent = True
            self._on_silent()

    def _answered(self) -> None:
        assert self._asked_s is not None
        waited_s, self._asked_s = self._loop.clock() - self._asked_s, None
        if self.is_silent:
            self.is_silent = False
            self._on_answer(waited_s)
        if not self._closed:
            self._loop.call_later(ASK_EVERY_S, self._ask)
