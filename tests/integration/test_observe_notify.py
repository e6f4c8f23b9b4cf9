"""Notify against a real datagram socket, as systemd listens on it."""

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from procwatch.observe.notify import Notifier

pytestmark = pytest.mark.integration


@pytest.fixture(params=["path", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, Notifier]]:
    """A listening supervisor and a notifier that was told where."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(10)
        if request.param == "path":
            address = bound = str(tmp_path / "notify")
        else:
            address, bound = f"@procwatch-test-{tmp_path.name}", f"\0procwatch-test-{tmp_path.name}"
        listener.bind(bound)
        yield listener, Notifier({"NOTIFY_SOCKET": address})


def heard(listener: socket.socket) -> list[str]:
    return listener.recv(65536).decode("utf-8").splitlines()


def test_every_message_has_the_form_of_the_manual(systemd: tuple[socket.socket, Notifier]) -> None:
    listener, notifier = systemd
    said = [
        (notifier.ready("watching 2 inboxes"), ["READY=1", "STATUS=watching 2 inboxes"]),
        (notifier.status("größe 写真 🐈"), ["STATUS=größe 写真 🐈"]),
        (notifier.status("a\nREADY=1\udcff"), ["STATUS=a READY=1"]),
        (notifier.stopping("2 running"), ["STOPPING=1", "STATUS=2 running"]),
        (notifier.watchdog(), ["WATCHDOG=1"]),
        (notifier.extend_timeout(2.5), ["EXTEND_TIMEOUT_USEC=2500000"]),
    ]
    for sent, expected in said:
        assert sent
        assert heard(listener) == expected


def test_a_reload_carries_the_monotonic_time(systemd: tuple[socket.socket, Notifier]) -> None:
    listener, notifier = systemd
    before = time.monotonic_ns() // 1000
    assert notifier.reloading()
    first, second = heard(listener)
    name, _, value = second.partition("=")
    assert (first, name) == ("RELOADING=1", "MONOTONIC_USEC")
    assert before <= int(value) <= time.monotonic_ns() // 1000


def test_a_supervisor_that_went_away_is_counted_and_one_that_comes_back_is_heard(tmp_path: Path) -> None:
    path = tmp_path / "notify"
    notifier = Notifier({"NOTIFY_SOCKET": str(path)})
    assert not notifier.watchdog()
    assert notifier.failures == 1
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(10)
        listener.bind(str(path))
        assert notifier.watchdog()
        assert heard(listener) == ["WATCHDOG=1"]


def test_a_supervisor_that_does_not_read_does_not_stop_the_loop(
    systemd: tuple[socket.socket, Notifier],
) -> None:
    _, notifier = systemd
    started = time.monotonic()
    sent = [notifier.status("x" * 1000) for _ in range(5000)]
    assert not all(sent)
    assert time.monotonic() - started < 10


def test_being_ready_waits_for_a_busy_supervisor(systemd: tuple[socket.socket, Notifier]) -> None:
    listener, notifier = systemd
    while notifier.status("x" * 1000):
        pass  # until the supervisor's queue is full

    def read_all() -> None:
        while not any(line == "READY=1" for line in heard(listener)):
            pass

    reader = threading.Timer(0.2, read_all)
    reader.start()
    assert notifier.ready()
    reader.join()
