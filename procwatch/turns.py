"""Calls that were handed to a worker and that it has not begun: whoever takes a call's token has the call.

A worker is handed its next call while it works at the one before, so that it need not wait for the daemon between two.
Such a call must not be stuck behind a long one while another worker is idle; so the daemon can take it back. The tokens
of a worker lie in a socket that both can read: the kernel gives each of them to one reader only.
"""

import contextlib
import socket
from multiprocessing.reduction import DupFd
from typing import Any, Final

_TOKEN_BYTES: Final = 8


class Turns:
    """The daemon's side; pickles as the worker's, while a process is being started, and only then."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def offer(self, number: int) -> None:
        """Lay down the token of a call. Numbers go up. Never blocks: a worker that is gone cannot be told."""
        with contextlib.suppress(OSError):
            self._ours.send(number.to_bytes(_TOKEN_BYTES, "big"), socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)

    def take_back(self) -> int | None:
        """Return the oldest call that was not begun and will not be; None when there is none."""
        return _take(self._theirs)

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()

    def __reduce__(self) -> Any:
        return _receive, (DupFd(self._theirs.fileno()),)


class WorkerTurns:
    """The worker's side."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._newest = 0

    def take(self, number: int) -> bool:
        """Whether the call may begin. Calls come in the order of their tokens; those before may be gone."""
        while self._newest < number:
            token = _take(self._socket)
            if token is None:
                return False
            self._newest = token
        return self._newest == number


def _take(reader: socket.socket) -> int | None:
    try:
        data = reader.recv(_TOKEN_BYTES, socket.MSG_DONTWAIT)
    except OSError:  # EAGAIN: none is there
        return None
    return int.from_bytes(data, "big") if len(data) == _TOKEN_BYTES else None


def _receive(duplicate: Any) -> WorkerTurns:
    return WorkerTurns(duplicate.detach())
