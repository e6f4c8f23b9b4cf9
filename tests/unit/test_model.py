"""Job ids sort in the order in which they were given out, whatever the clock does; a task arrives whole."""

import dataclasses
import os
import pickle
import time
from collections.abc import Iterator

import pytest

from procwatch import model
from procwatch.model import Fingerprint, Limits, RenderTask, ids_start_after, new_id

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


def test_a_task_arrives_at_a_worker_as_it_was_sent() -> None:
    task = RenderTask(
        job="job",
        attempt=2,
        root="/in",
        path="a\udcff.jpg",
        fingerprint=Fingerprint(device=1, inode=2, size=3, mtime_ns=4),
        recipe=("any", "value"),
        staging_root="/out/staging",
        limits=Limits(max_pixels=5, max_bytes=6, max_frames=7, timeout_s=8.5),
        output_mode=0o640,
        want_digest=True,
        digest_later=True,
        grant_bytes=9,
    )
    defaults = [
        field
        for field in dataclasses.fields(RenderTask)
        if field.default is not dataclasses.MISSING and getattr(task, field.name) == field.default
    ]
    assert defaults == []  # else one that is forgotten on the way would not be missed
    assert pickle.loads(pickle.dumps(task)) == task


def test_numbers_that_the_ledger_cannot_hold_are_made_to_fit() -> None:
    """Days after 2262, and inodes of 64 bits (mergerfs, CIFS): the same file must look the same each time."""
    status = os.stat_result(
        (0o100644, 2**64 - 5, 3, 1, 0, 0, 7, 0, 0, 0), {"st_mtime_ns": 13_569_465_600 * 10**9}
    )
    one = Fingerprint.of(status)
    assert one == Fingerprint(device=3, inode=2**63 - 5, size=7, mtime_ns=2**63 - 1)
    assert model.inode_of(status) == one.inode
