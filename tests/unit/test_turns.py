"""Who takes a call's token has the call: the worker that begins it, or the daemon that wants it back."""

import contextlib
import os
from collections.abc import Iterator

import pytest

from procwatch import turns as room
from procwatch.turns import Turns, WorkerTurns

pytestmark = pytest.mark.unit


class _Duplicate:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)

    def detach(self) -> int:
        return self._descriptor


@pytest.fixture
def both(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Turns, WorkerTurns]]:
    monkeypatch.setattr(room, "DupFd", _Duplicate)
    ours = Turns()
    function, arguments = ours.__reduce__()
    theirs = function(*arguments)
    yield ours, theirs
    ours.close()
    theirs._socket.close()


def test_a_worker_has_its_turns_one_by_one(both: tuple[Turns, WorkerTurns]) -> None:
    ours, theirs = both
    for number in (1, 2, 3):
        ours.offer(number)
    assert [theirs.take(number) for number in (1, 2, 3)] == [True] * 3
    assert ours.take_back() is None


def test_what_is_taken_back_is_not_done(both: tuple[Turns, WorkerTurns]) -> None:
    ours, theirs = both
    for number in (1, 2, 3, 4):
        ours.offer(number)
    assert theirs.take(1)
    assert [ours.take_back(), ours.take_back()] == [2, 3]
    assert [theirs.take(number) for number in (2, 3, 4)] == [False, False, True]


def test_a_token_is_taken_once(both: tuple[Turns, WorkerTurns]) -> None:
    ours, theirs = both
    ours.offer(1)
    assert ours.take_back() == 1
    assert ours.take_back() is None
    assert not theirs.take(1)
    ours.offer(2)
    assert theirs.take(2)


@pytest.mark.parametrize("mischief", ["close", "shutdown", "write"])
def test_a_worker_cannot_make_the_daemon_wait_or_fail(both: tuple[Turns, WorkerTurns], mischief: str) -> None:
    ours, theirs = both
    ours.offer(1)
    if mischief == "close":
        theirs._socket.close()
    elif mischief == "shutdown":
        theirs._socket.shutdown(2)
    else:
        theirs._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while theirs._socket.send(b"x" * 100):
                pass
    for number in range(2, 2000):  # more than fit
        ours.offer(number)
    while ours.take_back() is not None:
        pass
