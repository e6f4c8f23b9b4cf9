"""The control channel over a real socket, with clients that behave and clients that do not."""

import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from procwatch.control import server as server_module
from procwatch.control.protocol import MAX_LINE_BYTES, SOCKET_NAME, ControlError, ask, is_running
from procwatch.control.server import ControlServer, call_on_loop
from procwatch.errors import UsageError

pytestmark = pytest.mark.integration


def echo(request: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"said": request.get("say")}


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Start servers that are closed at the end; each call returns the state folder."""
    servers = []

    def start(handle: server_module.Handler = echo) -> str:
        made = ControlServer(str(tmp_path), handle)
        made.start()
        servers.append(made)
        return str(tmp_path)

    yield start
    for made in servers:
        made.close()


def raw(state_dir: str) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    connection.connect(f"{state_dir}/{SOCKET_NAME}")
    return connection


def test_a_question_gets_its_answer_whatever_bytes_a_name_has(serve: Callable[..., str]) -> None:
    state_dir = serve()
    for name in ("a.jpg", os.fsdecode(b"caf\xe9\n.jpg"), "写真.png", "x" * 4096):
        assert ask(state_dir, {"say": name}) == {"ok": True, "said": name}
    assert is_running(state_dir)


def test_nobody_there_is_no_error(tmp_path: Path) -> None:
    assert ask(str(tmp_path), {}) is None
    assert not is_running(str(tmp_path))
    assert not is_running(str(tmp_path / "missing"))
    (tmp_path / SOCKET_NAME).touch()
    assert not is_running(str(tmp_path)), "a file in its place"


def test_only_its_own_user_may_ask_whatever_the_umask(serve: Callable[..., str]) -> None:
    before = os.umask(0)
    try:
        state_dir = serve()
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(f"{state_dir}/{SOCKET_NAME}").st_mode) == 0o600


def test_a_socket_that_a_crash_left_is_replaced_and_the_own_one_is_removed(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / SOCKET_NAME))
    left.close()
    assert ask(str(tmp_path), {}) is None
    server = ControlServer(str(tmp_path), echo)
    server.start()
    assert is_running(str(tmp_path))
    server.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "line", [b"\n", b"[]\n", b"not json\n", b"\xff\xfe\n", b"[" * 5000 + b"\n", b"{" * MAX_LINE_BYTES]
)
def test_what_is_no_request_is_refused_and_the_next_one_served(
    line: bytes, serve: Callable[..., str]
) -> None:
    state_dir = serve()
    with raw(state_dir) as connection:
        connection.sendall(line)
        assert b'"ok": false' in connection.recv(4096)
    assert ask(state_dir, {"say": 1}) == {"ok": True, "said": 1}


def test_a_refusal_and_a_defect_are_told_and_harm_nobody(serve: Callable[..., str]) -> None:
    def handle(request: Mapping[str, Any]) -> Mapping[str, Any]:
        if request["say"] == "no":
            raise UsageError("there is no such inbox")
        raise ZeroDivisionError("oops")

    state_dir = serve(handle)
    with pytest.raises(ControlError, match="there is no such inbox"):
        ask(state_dir, {"say": "no"})
    with pytest.raises(ControlError, match="ZeroDivisionError: oops"):
        ask(state_dir, {"say": "yes"})


def test_clients_that_say_nothing_do_not_keep_others_waiting(serve: Callable[..., str]) -> None:
    state_dir = serve()
    silent = [raw(state_dir) for _ in range(server_module._MAX_REQUESTS - 1)]
    began_s = time.monotonic()
    assert ask(state_dir, {"say": 1}) is not None
    assert time.monotonic() - began_s < 1
    for connection in silent:
        connection.close()


def test_too_many_at_once_are_told_to_come_again_and_served_then(serve: Callable[..., str]) -> None:
    state_dir = serve()
    silent = [raw(state_dir) for _ in range(server_module._MAX_REQUESTS)]
    deadline_s = time.monotonic() + 10
    refused = False
    while not refused and time.monotonic() < deadline_s:
        try:
            ask(state_dir, {})
        except ControlError as error:
            refused = "too many requests" in str(error)
    assert refused
    for connection in silent:
        connection.close()
    while time.monotonic() < deadline_s:
        try:
            assert ask(state_dir, {"say": 2}) == {"ok": True, "said": 2}
            break
        except ControlError:
            continue
    else:
        pytest.fail("never served again")


def test_a_loop_that_hangs_is_told_as_such(serve: Callable[..., str]) -> None:
    def handle(request: Mapping[str, Any]) -> Mapping[str, Any]:
        call_on_loop(lambda function: None, lambda: 1, timeout_s=0.05)
        return {}

    with pytest.raises(ControlError, match="the dispatcher has not answered"):
        ask(serve(handle), {})


def test_a_daemon_that_does_not_answer_is_not_waited_for_for_ever(serve: Callable[..., str]) -> None:
    hold = threading.Event()

    def handle(request: Mapping[str, Any]) -> Mapping[str, Any]:
        hold.wait(10)
        return {}

    state_dir = serve(handle)
    try:
        with pytest.raises(ControlError, match="did not answer within"):
            ask(state_dir, {}, timeout_s=0.1)
    finally:
        hold.set()


def test_what_runs_on_the_loop_raises_where_it_was_asked() -> None:
    def post(function: Callable[[], None]) -> None:
        function()

    assert call_on_loop(post, lambda: 3) == 3
    with pytest.raises(UsageError):
        call_on_loop(post, lambda: (_ for _ in ()).throw(UsageError("no")))


def test_a_state_folder_with_a_long_path_can_be_served(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 200)
    deep.mkdir()
    server = ControlServer(str(deep), echo)
    server.start()
    try:
        assert ask(str(deep), {"say": "hi"}) == {"ok": True, "said": "hi"}
    finally:
        server.close()
