"""When a file counts as settled."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procwatch.intake.look import Look
from procwatch.intake.settle import Cause, Ready, Settling, Wait, decide, merge_causes, observe
from procwatch.model import Fingerprint

pytestmark = pytest.mark.unit

SETTLE_S, INCOMPLETE_S = 2.0, 60.0
EPOCH_NS = 1_700_000_000 * 10**9  # wall clock at monotonic 0


def wall_ns(now_s: float) -> int:
    return EPOCH_NS + round(now_s * 1e9)


def a_look(
    size: int = 10,
    mtime_s: float = 0.0,
    ctime_s: float | None = None,
    *,
    inode: int = 1,
    complete: bool = False,
    writer: bool | None = None,
) -> Look:
    fingerprint = Fingerprint(device=1, inode=inode, size=size, mtime_ns=wall_ns(mtime_s))
    ctime_ns = wall_ns(mtime_s if ctime_s is None else ctime_s)
    return Look(
        kind="file",
        fingerprint=fingerprint,
        ctime_ns=ctime_ns,
        nlink=1,
        complete=complete,
        open_writer=writer,
    )


def judged(settling: Settling, now_s: float) -> Ready | Wait:
    return decide(
        settling, settle_s=SETTLE_S, incomplete_after_s=INCOMPLETE_S, now_s=now_s, now_ns=wall_ns(now_s)
    )


def seen(cause: Cause | None, look: Look, now_s: float, previous: Settling | None = None) -> Settling:
    return observe(previous, "a.jpg", cause, look, now_s)


def test_a_file_renamed_into_place_is_ready_and_removable_at_once() -> None:
    assert judged(seen(Cause.RENAMED, a_look(), 0.0), 0.0) == Ready(how="renamed", removable_after_s=0.0)


def test_a_closed_and_complete_file_is_ready_at_once_but_removable_only_after_settle() -> None:
    assert judged(seen(Cause.CLOSED, a_look(complete=True), 0.0), 0.0) == Ready(
        how="complete", removable_after_s=2.0
    )


def test_a_closed_file_without_a_trailer_waits_for_settle() -> None:
    settling = seen(Cause.CLOSED, a_look(), 0.0)
    assert judged(settling, 0.5) == Wait(again_at_s=2.0, why="settling 0.5 s of 2.0 s")
    assert judged(settling, 2.0) == Ready(how="closed", removable_after_s=2.0)


def test_a_closed_file_that_was_noticed_late_does_not_wait_again() -> None:
    assert judged(seen(Cause.CLOSED, a_look(mtime_s=0.0), 5.0), 5.0) == Ready(
        how="closed", removable_after_s=5.0
    )


def test_a_closed_empty_file_gets_settle_to_be_filled() -> None:
    assert isinstance(judged(seen(Cause.CLOSED, a_look(size=0), 0.0), 0.0), Wait)


def test_an_old_file_found_by_a_scan_is_ready_and_removable_at_once() -> None:
    assert judged(seen(Cause.SCAN, a_look(mtime_s=-10), 0.0), 0.0) == Ready(
        how="found", removable_after_s=0.0
    )


def test_a_file_with_old_mtime_and_young_ctime_waits() -> None:
    assert isinstance(judged(seen(Cause.SCAN, a_look(mtime_s=-1e6, ctime_s=0.0), 0.5), 0.5), Wait)


@pytest.mark.parametrize("ctime_s", [0.0, 1e6])
def test_times_in_the_future_do_not_make_a_file_wait_for_ever(ctime_s: float) -> None:
    settling = seen(Cause.SCAN, a_look(mtime_s=1e6, ctime_s=ctime_s), 0.0)
    assert isinstance(judged(settling, 1.0), Wait)
    assert isinstance(judged(settling, 2.0), Ready)


def test_a_created_file_waits_for_incomplete_after_also_when_a_scan_sees_it_later() -> None:
    created = seen(Cause.CREATED, a_look(), 0.0)
    again = seen(Cause.SCAN, a_look(), 30.0, created)
    verdict = judged(again, 30.0)
    assert isinstance(verdict, Wait)
    assert verdict.why == "never closed by its writer; unchanged for 30 s of 1 min"
    assert judged(again, 60.0) == Ready(how="still", removable_after_s=60.0)


def test_a_created_file_that_no_process_has_open_needs_only_settle() -> None:
    created = seen(Cause.CREATED, a_look(), 0.0)
    first = judged(created, 0.0)
    assert isinstance(first, Wait)
    assert first.again_at_s == SETTLE_S
    assert isinstance(judged(seen(None, a_look(writer=False), 2.0, created), 2.0), Ready)
    still_open = judged(seen(None, a_look(writer=True), 2.0, created), 2.0)
    assert isinstance(still_open, Wait)
    assert still_open.why.startswith("open for writing")


def test_the_created_event_counts_when_a_scan_was_faster() -> None:
    found = seen(Cause.SCAN, a_look(), 0.0)
    assert seen(Cause.CREATED, a_look(), 0.1, found).cause is Cause.CREATED


def test_a_late_created_event_does_not_undo_a_close() -> None:
    closed = seen(Cause.CLOSED, a_look(), 0.0)
    again = seen(Cause.CREATED, a_look(), 0.1, closed)
    assert again.cause is Cause.CLOSED
    assert isinstance(judged(again, 2.0), Ready)


@pytest.mark.parametrize("first", [Cause.CLOSED, Cause.RENAMED])
def test_writing_after_a_close_or_a_rename_needs_another_close(first: Cause) -> None:
    settled = seen(first, a_look(size=10), 0.0)
    grown = seen(None, a_look(size=20, mtime_s=1.0, complete=True), 1.0, settled)
    assert grown.cause is not Cause.CLOSED
    assert isinstance(judged(grown, 10.0), Wait)
    closed = seen(Cause.CLOSED, a_look(size=20, mtime_s=1.0), 11.0, grown)
    assert isinstance(judged(closed, 11.0), Ready)


def test_rewriting_in_place_with_equal_size_needs_another_close() -> None:
    closed = seen(Cause.CLOSED, a_look(mtime_s=0.0), 0.0)
    assert seen(None, a_look(mtime_s=1.0), 1.0, closed).cause is not Cause.CLOSED


def test_times_set_by_name_after_the_close_only_restart_settle() -> None:
    """`shutil.copy2` closes, then sets the source's times by name."""
    closed = seen(Cause.CLOSED, a_look(mtime_s=0.0), 0.0)
    dated = seen(None, a_look(mtime_s=-1e6, ctime_s=0.5), 1.0, closed)
    assert dated.cause is Cause.CLOSED
    assert isinstance(judged(dated, 1.5), Wait)
    assert isinstance(judged(dated, 3.0), Ready)


def test_a_mode_set_after_the_close_restarts_settle() -> None:
    closed = seen(Cause.CLOSED, a_look(), 0.0)
    chmodded = seen(None, a_look(mtime_s=0.0, ctime_s=1.5), 1.5, closed)
    assert chmodded.cause is Cause.CLOSED
    assert judged(chmodded, 2.5) == Wait(again_at_s=3.5, why="settling 1.0 s of 2.0 s")


def test_another_file_at_the_same_path_starts_anew() -> None:
    closed = seen(Cause.CLOSED, a_look(), 0.0)
    replaced = seen(Cause.CREATED, a_look(inode=2, mtime_s=5.0), 5.0, closed)
    assert replaced.cause is Cause.CREATED
    assert replaced.unchanged_since_s == 5.0
    assert replaced.first_seen_s == 0.0


def test_an_unreadable_file_is_asked_again_and_given_up_after_incomplete_after() -> None:
    refused = Look(kind="unreadable", fingerprint=a_look().fingerprint, ctime_ns=EPOCH_NS, errno=13)
    settling = seen(Cause.CLOSED, refused, 0.0)
    verdict = judged(settling, 0.0)
    assert isinstance(verdict, Wait)
    assert verdict.again_at_s == SETTLE_S
    assert judged(settling, 60.0) == Ready(how="unreadable", removable_after_s=60.0)
    readable = seen(None, a_look(ctime_s=1.0), 1.0, settling)
    assert readable.cause is Cause.CLOSED
    assert isinstance(judged(readable, 3.0), Ready)


def test_a_file_that_cannot_be_looked_at_waits_and_says_why() -> None:
    verdict = judged(seen(Cause.SCAN, Look(kind="error", errno=5), 0.0), 0.0)
    assert verdict == Wait(again_at_s=2.0, why="cannot be looked at: Input/output error")


def test_what_is_no_file_does_not_settle() -> None:
    with pytest.raises(ValueError, match="a fifo does not settle"):
        judged(seen(Cause.CREATED, Look(kind="fifo"), 0.0), 0.0)


@pytest.mark.parametrize(
    ("earlier", "later", "merged"),
    [
        (None, None, None),
        (None, Cause.SCAN, Cause.SCAN),
        (Cause.CREATED, Cause.CLOSED, Cause.CLOSED),
        (Cause.CLOSED, Cause.CREATED, Cause.CREATED),
        (Cause.CLOSED, Cause.SCAN, Cause.CLOSED),
        (Cause.CREATED, None, Cause.CREATED),
        (Cause.SCAN, Cause.CREATED, Cause.CREATED),
    ],
)
def test_of_two_hints_the_later_event_counts_and_a_scan_is_no_event(
    earlier: Cause | None, later: Cause | None, merged: Cause | None
) -> None:
    assert merge_causes(earlier, later) is merged


def test_a_whole_file_that_nobody_was_seen_to_close_is_read_after_settle_and_removed_late() -> None:
    whole = seen(Cause.CREATED, a_look(complete=True), 0.0)
    assert isinstance(judged(whole, 1.0), Wait)
    verdict = judged(whole, 2.0)
    assert isinstance(verdict, Ready)
    assert (verdict.how, verdict.removable_after_s) == ("complete", 60.0)


def test_a_whole_file_that_a_writer_has_open_waits() -> None:
    opened = seen(Cause.CREATED, dataclasses.replace(a_look(complete=True), open_writer=True), 0.0)
    assert isinstance(judged(opened, 10.0), Wait)


causes = st.sampled_from([None, Cause.CLOSED, Cause.CREATED, Cause.SCAN])
#: Each step: seconds since the step before, what we heard, and whether the file grew right before we looked.
steps = st.lists(st.tuples(st.floats(0.001, 100.0), causes, st.booleans()), min_size=1, max_size=30)


def replay(history: list[tuple[float, Cause | None, bool]]) -> tuple[Settling, float]:
    now_s, size, changed_s = 0.0, 1, 0.0
    settling: Settling | None = None
    for pause_s, cause, grows in history:
        now_s += pause_s
        if grows or settling is None:
            size, changed_s = size + 1, now_s
        settling = seen(cause, a_look(size=size, mtime_s=changed_s), now_s, settling)
    assert settling is not None
    return settling, now_s


@given(steps, st.floats(0.0, SETTLE_S - 0.001))
def test_a_file_that_changed_within_settle_is_never_ready_unless_renamed_or_complete(
    history: list[tuple[float, Cause | None, bool]], after_s: float
) -> None:
    settling, now_s = replay([*history, (1.0, None, True)])
    assert isinstance(judged(settling, now_s + after_s), Wait)


@given(steps)
def test_a_file_at_rest_becomes_ready_by_following_the_advice(
    history: list[tuple[float, Cause | None, bool]],
) -> None:
    settling, now_s = replay(history)
    rested_s = now_s
    for _ in range(4):
        verdict = judged(settling, rested_s)
        if isinstance(verdict, Ready):
            break
        assert verdict.again_at_s > rested_s
        rested_s = verdict.again_at_s
        settling = seen(None, settling.look, rested_s, settling)
    assert isinstance(judged(settling, rested_s), Ready)
    assert rested_s <= now_s + INCOMPLETE_S + 0.01
