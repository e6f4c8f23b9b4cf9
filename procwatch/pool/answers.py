"""How a worker's answers come in: a number and some bytes, which stay closed until whoever asked reads them.

A ProcessPoolExecutor unpickles every answer in the daemon, and unpickling calls whatever the bytes name; even without
that, C code recurses and allocates as they say. The executor asks its context for the queue of results, so this room
gives it one of its own making. pool.results reads what is in the bytes.

    worker ── pipe ──► Listener ──► future of a call that was handed over
                           └─ relay ─► the executor's manager thread, for every other call
"""

import contextlib
import os
import threading
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection, Pipe
from types import SimpleNamespace
from typing import Any, Final

from procwatch.answering import NUMBER_BYTES, Sender
from procwatch.threadname import set_thread_name

#: An answer has some hundred bytes, about 130 for each output.
MAX_ANSWER_BYTES: Final = 256 * 1024


class BadAnswerError(Exception):
    """A worker's answer is not of the shape that a worker of ours sends."""


class CheckedQueue:
    """The queue of results of one executor; the worker gets an answering.Sender in its place."""

    def __init__(self) -> None:
        reader, self._writer = Pipe(duplex=False)
        self._answers = CheckedConnection(os.dup(reader.fileno()), writable=False)
        reader.close()
        self._listener: Listener | None = None
        # The name that the executor's manager thread knows; see systemd/SECURITY.md.
        self._reader: Connection = self._answers

    def listen(self) -> "Listener":
        """Return who reads the answers instead of the executor, once it is started. Before the executor starts anything."""
        receiver, sender = Pipe(duplex=False)
        self._reader = RelayedConnection(os.dup(receiver.fileno()), writable=False)
        receiver.close()
        self._listener = Listener(self._answers, sender)
        return self._listener

    @property
    def is_over(self) -> bool:
        """Whether it is known that no answer will come any more."""
        return self._listener is not None and self._listener.is_over

    def expect(self) -> None:
        """One more answer may come. Called before its question is asked."""
        self._answers.expected += 1

    def close_writer(self) -> None:
        """The worker has its end: with ours closed, its death ends a message that it left half written."""
        self._writer.close()

    def close(self) -> None:
        self._reader.close()
        self._writer.close()
        if self._listener is not None:
            self._listener.close()

    def __reduce__(self) -> Any:
        return Sender, (self._writer,)


class CheckedConnection(Connection):
    """The daemon's end of a worker's pipe."""

    expected = 0  # answers
    _received = 0

    def receive(self) -> tuple[int, bytes]:
        """Return the next answer: the number of its question, and the whole message. Raises BadAnswerError, OSError.

        A message that nobody asked for is refused, as are the two by which a worker takes leave: ours never do, and
        a false one ends the executor's manager thread, so that no death would ever be noticed again.
        """
        data = self.recv_bytes(MAX_ANSWER_BYTES)
        number = int.from_bytes(data[:NUMBER_BYTES], "big")
        if len(data) < NUMBER_BYTES or number != self._received or number >= self.expected:
            raise BadAnswerError("a message that nobody asked for")
        self._received += 1
        return number, data

    def recv(self) -> Any:
        """Return the executor's result item: what its manager thread calls where nobody else listens."""
        return _result_item(*self.receive())


class RelayedConnection(Connection):
    """The executor's end of the relay: what comes here was checked."""

    def recv(self) -> Any:
        """Return the executor's result item. Raises EOFError when the worker is as good as dead."""
        data = self.recv_bytes()
        return _result_item(int.from_bytes(data[:NUMBER_BYTES], "big"), data)


def _result_item(number: int, data: bytes) -> Any:
    return SimpleNamespace(work_id=number, exception=None, result=data[NUMBER_BYTES:], exit_pid=None)


class Listener:
    """A thread that reads a worker's answers as long as it lives, and ends the calls that were handed over to it.

    The executor's manager thread does the same in four times the time: for each answer it collects whom to wait for,
    the process too, and looks through its own queues. And what it does not do: the answers that a worker gave before
    it died count, because the end of its pipe comes behind them.
    """

    def __init__(self, answers: CheckedConnection, relay: Connection) -> None:
        self._answers = answers
        self._relay = relay
        self._lock = threading.Lock()
        self._calls: dict[int, Future[bytes]] = {}
        self.is_over = False  # no answer will come any more
        self._thread = threading.Thread(target=self._listen, name="procwatch-answers", daemon=True)

    def start(self) -> None:
        """Begin to read; only the first time."""
        if self._thread.ident is None:
            self._thread.start()

    def add(self, number: int, future: "Future[bytes]") -> None:
        """End this future by the answer of that number. Raises BrokenProcessPool when none will come any more."""
        with self._lock:
            self.check()
            self._calls[number] = future

    def check(self) -> None:
        """Raise BrokenProcessPool when no answer will come any more."""
        if self.is_over:
            raise BrokenProcessPool("the worker is gone")

    def waits_for(self, number: int) -> bool:
        return number in self._calls

    def close(self) -> None:
        """The worker is dead, or never was: leave nothing behind."""
        if self._thread.ident is None:
            self._end()
        else:
            self._thread.join()

    def _listen(self) -> None:
        set_thread_name("answers")
        with contextlib.suppress(EOFError, OSError, BadAnswerError):
            while True:
                number, data = self._answers.receive()
                future = self._calls.pop(number, None)
                if future is None:
                    self._relay.send_bytes(data)
                else:
                    future.set_result(data[NUMBER_BYTES:])
        self._end()

    def _end(self) -> None:
        with self._lock:
            self.is_over = True
        self._relay.close()  # the executor's manager thread takes this for the worker's death
        self._answers.close()
        for future in self._calls.values():
            future.set_exception(BrokenProcessPool("the worker is gone"))
        self._calls.clear()
