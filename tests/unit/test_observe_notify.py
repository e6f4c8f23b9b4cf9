"""What notify says and does not say, without a socket."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procwatch.observe.notify import Notifier, _status_line

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    "address",
    [None, "", "@", "/", "relative", "vsock:2:1234", "/nowhere/at/all", "/" + "x" * 300, "@" + "x" * 300],
)
def test_without_a_usable_socket_nothing_is_sent_and_nothing_raised(address: str | None) -> None:
    notifier = Notifier({} if address is None else {"NOTIFY_SOCKET": address})
    assert not any(
        [
            notifier.ready("x"),
            notifier.status("x"),
            notifier.reloading(),
            notifier.stopping(),
            notifier.watchdog(),
            notifier.extend_timeout(5),
        ]
    )


def test_no_socket_means_nobody_listens() -> None:
    assert not Notifier({}).active
    assert Notifier({"NOTIFY_SOCKET": "@abstract"}).active


@given(st.text(st.characters(exclude_categories=()), max_size=2000))
def test_any_text_is_one_status_line_of_bounded_length(text: str) -> None:
    for line in _status_line(text):
        assert line.startswith("STATUS=")
        assert len(line.splitlines()) == 1
        assert len(line.encode("utf-8")) <= 1024 + len("STATUS=")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": ""}, None),
    ],
)
def test_the_watchdog_is_only_ours_when_it_names_us(environ: dict[str, str], expected: float | None) -> None:
    assert Notifier(environ).watchdog_interval_s() == expected
