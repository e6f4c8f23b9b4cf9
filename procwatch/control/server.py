"""The answering side of the control channel: a socket in the state folder, served by threads of its own.

One thread accepts; each request is read, handled and answered on a short thread, a few at most, so that neither a
client that says nothing nor a hung file system keeps others from being answered. The loop only ever gets small calls.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, Final, TypeVar

from procwatch.control.protocol import parse, read_line, short_path
from procwatch.errors import ProcwatchError

T = TypeVar("T")
Handler = Callable[[Mapping[str, Any]], Mapping[str, Any]]

_MODE: Final = 0o600
_BACKLOG: Final = 8
#: Requests under way at once; the next ones are told to come back.
_MAX_REQUESTS: Final = 4
_AFTER_ERROR_S: Final = 0.1
#: A client sends its one line at once; a slower one is no client of ours.
_READ_TIMEOUT_S: Final = 2.0
#: The loop turns in milliseconds. If it does not for this long, the answer is that it hangs.
LOOP_TIMEOUT_S: Final = 10.0


def call_on_loop(
    post: Callable[..., None], function: Callable[[], T], timeout_s: float = LOOP_TIMEOUT_S
) -> T:
    """Run the function on the loop's thread and return its result. Raises TimeoutError and what it raises."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except Exception as error:  # noqa: BLE001 (a request must not end the daemon; who asked is told)
            future.set_exception(error)

    post(run)
    return future.result(timeout_s)


class ControlServer:
    """Listens from start() to close()."""

    def __init__(self, state_dir: str, handle: Handler) -> None:
        self._state_dir = state_dir
        self._handle = handle
        self._slots = threading.BoundedSemaphore(_MAX_REQUESTS)
        self._socket: socket.socket | None = None

    def start(self) -> None:
        """Replace the socket that a crash may have left and listen. Raises OSError.

        Nobody else can be listening there: the caller holds the lock of the state folder.
        """
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            os.fchmod(
                listener.fileno(), _MODE
            )  # what bind(2) gives the file, less the umask: no moment at 0777
            with short_path(self._state_dir) as path:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)
                listener.bind(path)
            listener.listen(_BACKLOG)
        except OSError:
            listener.close()
            raise
        self._socket = listener
        threading.Thread(target=self._accept, args=(listener,), name="procwatch-control", daemon=True).start()

    def close(self) -> None:
        """Stop answering. Requests under way may still get their answer while the process lives."""
        listener, self._socket = self._socket, None
        if listener is None:
            return
        with contextlib.suppress(OSError), short_path(self._state_dir) as path:
            os.unlink(path)
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes accept(2), which close(2) does not
        listener.close()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                if self._socket is not listener:
                    return
                time.sleep(_AFTER_ERROR_S)  # out of descriptors for a moment, or the client left again
                continue
            if self._slots.acquire(blocking=False):
                threading.Thread(
                    target=self._serve, args=(connection,), name="procwatch-request", daemon=True
                ).start()
            else:
                with contextlib.suppress(OSError), connection:
                    connection.settimeout(_READ_TIMEOUT_S)
                    _answer(connection, {"ok": False, "error": "too many requests at once; ask again"})

    def _serve(self, connection: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError), connection:
                connection.settimeout(_READ_TIMEOUT_S)
                line = read_line(connection)
                if line:  # is_running() connects and leaves
                    _answer(connection, self._reply(line))
        finally:
            self._slots.release()

    def _reply(self, line: bytes) -> Mapping[str, Any]:
        request = parse(line)
        if request is None:
            return {"ok": False, "error": "the request is not one line of JSON with an object"}
        try:
            return {"ok": True, **self._handle(request)}
        except ProcwatchError as error:
            return {"ok": False, "error": str(error)}
        except TimeoutError:
            return {"ok": False, "error": f"the dispatcher has not answered for {LOOP_TIMEOUT_S:g} s"}
        except Exception as error:  # noqa: BLE001 (a defect in a question must not end the daemon)
            return {"ok": False, "error": f"{type(error).__name__}: {error}"}


def _answer(connection: socket.socket, answer: Mapping[str, Any]) -> None:
    connection.sendall(json.dumps(dict(answer)).encode("ascii") + b"\n")
