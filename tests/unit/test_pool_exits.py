"""How a process ended is told in words, from the kernel where it can say."""

import os

import pytest

from procwatch.pool.exits import describe, exit_text, is_over, parent_of

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("code", "words"),
    [(0, "exit 0"), (3, "exit 3"), (255, "exit 255"), (-9, "SIGKILL"), (-11, "SIGSEGV"), (-63, "signal 63")],
)
def test_an_exit_code_is_a_number_or_a_signals_name(code: int, words: str) -> None:
    assert describe(code) == words


def test_a_living_process_has_no_exit() -> None:
    pidfd = os.pidfd_open(os.getpid())
    try:
        assert not is_over(pidfd)
        assert exit_text(pidfd, None) == "unknown"
        assert exit_text(pidfd, 255) == "unknown", "multiprocessing's word for: could not be read"
        assert exit_text(pidfd, -6) == "SIGABRT", "where the kernel does not say, multiprocessing is believed"
    finally:
        os.close(pidfd)


def test_the_parent_is_found_by_proc() -> None:
    assert parent_of(os.getpid()) == os.getppid()
