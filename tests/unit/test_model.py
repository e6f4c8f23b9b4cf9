"""Job ids sort in the order in which they were given out, whatever the clock does."""

import time
from collections.abc import Iterator

import pytest

from procwatch import model
from procwatch.model import ids_start_after, new_id

pytestmark = pytest.mark.unit


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    before = list(model._newest_id_ms)
    yield
    model._newest_id_ms[:] = before


def test_ids_of_one_moment_sort_in_their_order() -> None:
    ids = [new_id() for _ in range(5000)]
    assert ids == sorted(set(ids))
    assert {len(job) for job in ids} == {18}


def test_ids_go_up_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    first = new_id()
    monkeypatch.setattr(time, "time_ns", lambda: 1_000_000_000)
    assert new_id() > first


def test_ids_go_up_from_those_of_a_run_whose_clock_was_ahead() -> None:
    ahead = "ffff" + new_id()[4:]
    ids_start_after(ahead)
    assert new_id() > ahead
    ids_start_after(None)
    ids_start_after("0" * 18)
    assert new_id() > ahead
