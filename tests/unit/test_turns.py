"""Who takes a call's token has the call: the worker that begins it, or the daemon that wants it back."""

import os
import tempfile
import threading
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
    os.close(theirs._descriptor)


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


def test_a_worker_waits_for_its_next_turn_and_leaves_it_there(both: tuple[Turns, WorkerTurns]) -> None:
    ours, theirs = both
    assert not theirs.wait(0.001)
    handed = threading.Timer(0.02, ours.offer, [1])
    handed.start()
    assert theirs.wait(60)
    handed.join()
    assert theirs.take(1)


def test_what_is_closed_is_not_touched(both: tuple[Turns, WorkerTurns]) -> None:
    """Its descriptors' numbers may be another file's by then."""
    ours, _ = both
    ours.offer(1)
    ours.close()
    with tempfile.TemporaryFile() as first, tempfile.TemporaryFile() as second:
        ours.offer(2)
        assert ours.take_back() is None
        ours.close()
        assert [file.tell() for file in (first, second)] == [0, 0]


@pytest.mark.parametrize("mischief", ["close", "block", "partial reads"])
def test_a_worker_cannot_make_the_daemon_wait_or_fail(both: tuple[Turns, WorkerTurns], mischief: str) -> None:
    ours, theirs = both
    ours.offer(1)
    ours.close_theirs()
    if mischief == "close":
        os.close(theirs._descriptor)
        theirs._descriptor = os.open(os.devnull, os.O_RDONLY)
    elif mischief == "block":
        os.set_blocking(theirs._descriptor, True)
    else:
        assert len(os.read(theirs._descriptor, 3)) == 3
    for number in range(2, 100_000):  # more than fit
        ours.offer(number)
    taken = []
    while (number_or_none := ours.take_back()) is not None:
        taken.append(number_or_none)
    assert taken == sorted(taken), "whole tokens only"
    assert set(taken) <= set(range(100_000))


def test_a_worker_can_only_read(both: tuple[Turns, WorkerTurns]) -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.write(both[1]._descriptor, b"x" * 8)
