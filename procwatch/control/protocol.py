"""The control channel: where its socket is, what goes over it, and the asking side.

One request a connection: a JSON object on one line, answered by one line. An answer has `ok`; without it, `error` is
a sentence for people. Only the daemon's own user and root may connect (the socket's mode is 0600).
"""

import contextlib
import errno
import json
import os
import pwd
import socket
from collections.abc import Iterator, Mapping
from typing import Any, Final

from procwatch.errors import ProcwatchError

SOCKET_NAME: Final = "control.sock"
#: A path has at most 4096 bytes, six times as many in JSON that escapes each.
MAX_LINE_BYTES: Final = 64 * 1024
_ASK_TIMEOUT_S: Final = 15.0


class ControlError(ProcwatchError):
    """The daemon runs, but it did not do what was asked."""


@contextlib.contextmanager
def short_path(state_dir: str) -> Iterator[str]:
    """Give a path of the socket that is short however deep the state folder lies (unix(7): 108 bytes)."""
    folder = os.open(state_dir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{SOCKET_NAME}"
    finally:
        os.close(folder)


def ask(
    state_dir: str, request: Mapping[str, Any], *, timeout_s: float = _ASK_TIMEOUT_S
) -> dict[str, Any] | None:
    """Return the daemon's answer, None when none runs. Raises ControlError."""
    connection = _connect(state_dir, timeout_s)
    if connection is None:
        return None
    with connection:
        try:
            connection.sendall(json.dumps(dict(request)).encode("ascii") + b"\n")
            line = read_line(connection)
        except TimeoutError:
            raise ControlError(
                f"procwatch runs, but did not answer within {timeout_s:g} s",
                hint='"procwatch status" says what it does',
            ) from None
        except OSError as error:
            raise ControlError(f"procwatch ended while it was asked: {error.strerror}") from error
    answer = parse(line)
    if answer is None:
        raise ControlError("procwatch ended while it was asked, or another program answers in its place")
    if not answer.get("ok"):
        raise ControlError(str(answer.get("error", "procwatch refused")))
    return answer


def is_running(state_dir: str) -> bool:
    """Whether a daemon serves this state folder. Raises ControlError where we may not ask."""
    connection = _connect(state_dir, _ASK_TIMEOUT_S)
    if connection is None:
        return False
    connection.close()
    return True


def _connect(state_dir: str, timeout_s: float) -> socket.socket | None:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        with short_path(state_dir) as path:
            connection.connect(path)
    except OSError as error:
        connection.close()
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED):
            return None
        if error.errno in (errno.EACCES, errno.EPERM):
            raise ControlError(
                f"not allowed to ask the procwatch that uses {state_dir}",
                hint=f"run this as its user, or as root: sudo -u {_owner(state_dir)} procwatch …",
            ) from error
        raise ControlError(
            f"cannot ask the procwatch that uses {state_dir}: {error.strerror or error}"
        ) from error
    return connection


def _owner(folder: str) -> str:
    """Return whose folder it is, as far as we may see."""
    try:
        return pwd.getpwuid(os.stat(folder).st_uid).pw_name
    except (OSError, KeyError):
        return "procwatch"


def read_line(connection: socket.socket) -> bytes:
    """Return what comes up to the end of the line, at most MAX_LINE_BYTES. Raises OSError, TimeoutError."""
    received = b""
    while b"\n" not in received and len(received) < MAX_LINE_BYTES:
        more = connection.recv(MAX_LINE_BYTES)
        if not more:
            break
        received += more
    return received


def parse(line: bytes) -> dict[str, Any] | None:
    """Return the object on the line, None when it is none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
