"""Calls that were handed to a worker and that it has not begun: whoever takes a call's token has the call.

A worker is handed its next call while it works at the one before, so that it need not wait for the daemon between two.
Such a call must not be stuck behind a long one while another worker is idle; so the daemon can take it back. The tokens
of a worker lie in a pipe that both can read: the kernel gives each of them to one reader only. The worker cannot write
to it, nor make the daemon wait: the daemon's reading end is an open file of its own, with flags of its own.
"""

import contextlib
import fcntl
import os
import select
import threading
from multiprocessing.reduction import DupFd
from typing import Any, Final

_TOKEN_BYTES: Final = 8


class Turns:
    """The daemon's side; pickles as the worker's, while a process is being started, and only then."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # a thread closes what the loop may be about to use
        self._is_closed = False
        # O_DIRECT: each write is a packet, and no reader gets a part of one (pipe(2)).
        self._theirs, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK | os.O_DIRECT)
        try:
            self._reader = os.open(
                f"/proc/self/fd/{self._theirs}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
            )
        except BaseException:
            os.close(self._theirs)
            os.close(self._writer)
            raise
        #: How many tokens can lie there: a packet takes a page. The kernel makes pipes short for who has many (pipe(7)).
        self.most = int(fcntl.fcntl(self._writer, fcntl.F_GETPIPE_SZ)) // os.sysconf("SC_PAGE_SIZE")

    def offer(self, number: int) -> None:
        """Lay down the token of a call, one of `most`. Numbers go up.

        Never blocks: without a token the call is not done. After close() nothing happens, as nobody is there to do it.
        """
        with self._lock, contextlib.suppress(BlockingIOError):
            if not self._is_closed:
                os.write(self._writer, number.to_bytes(_TOKEN_BYTES, "big"))

    def take_back(self) -> int | None:
        """Return the oldest call that was not begun and will not be; None when there is none, and after close()."""
        with self._lock:
            return None if self._is_closed else _take(self._reader)

    def close_theirs(self) -> None:
        """The worker has its end."""
        descriptor, self._theirs = self._theirs, -1
        if descriptor >= 0:
            os.close(descriptor)

    def close(self) -> None:
        self.close_theirs()
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                os.close(self._reader)
                os.close(self._writer)

    def __reduce__(self) -> Any:
        return _receive, (DupFd(self._theirs),)


class WorkerTurns:
    """The worker's side."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._newest = 0

    def take(self, number: int) -> bool:
        """Whether the call may begin. Calls come in the order of their tokens; those before may be gone."""
        while self._newest < number:
            token = _take(self._descriptor)
            if token is None:
                return False
            self._newest = token
        return self._newest == number

    def wait(self, timeout_s: float) -> bool:
        """Wait until another call is handed over, and say whether one is."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))


def _take(descriptor: int) -> int | None:
    try:
        data = os.read(descriptor, _TOKEN_BYTES)
    except BlockingIOError:
        return None
    return int.from_bytes(data, "big") if len(data) == _TOKEN_BYTES else None


def _receive(duplicate: Any) -> WorkerTurns:
    return WorkerTurns(duplicate.detach())
