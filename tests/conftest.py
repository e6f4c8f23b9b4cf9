"""What holds for every test: long runs happen only when they are asked for."""

import signal
from collections.abc import Iterator

import pytest

from procwatch import faults


def pytest_configure() -> None:
    """A shell that starts us in the background has Ctrl-C ignored, and every program under test would inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "soak" in config.getoption("markexpr", ""):
        return
    skip = pytest.mark.skip(reason="a long run: ask for it with -m soak")
    for item in items:
        if item.get_closest_marker("soak"):
            item.add_marker(skip)


@pytest.fixture
def no_faults() -> Iterator[None]:
    """Pass fault points unharmed, but for what the test arms itself."""
    faults.arm("")
    yield
    faults.arm(None)
