"""Where the kernel says that somebody has a file open for writing, it is not settled, whatever else we saw of it."""

import pytest

from procwatch.intake.look import Look
from procwatch.intake.settle import Cause, Ready, Settling, Wait, decide
from procwatch.model import Fingerprint

pytestmark = pytest.mark.unit

SETTLE_S, INCOMPLETE_S, NOW_S = 2.0, 60.0, 1000.0
NOW_NS = 1_700_000_000_000_000_000


def decided(cause: Cause, *, rest_s: float, open_writer: bool | None) -> Ready | Wait:
    """Decide on a whole JPEG that was noticed by `cause` and has not changed for `rest_s`."""
    changed_ns = NOW_NS - round(rest_s * 1e9)
    look = Look(
        kind="file",
        fingerprint=Fingerprint(device=1, inode=2, size=3, mtime_ns=changed_ns),
        ctime_ns=changed_ns,
        nlink=1,
        complete=True,
        open_writer=open_writer,
    )
    settling = Settling(
        path="a.jpg",
        cause=cause,
        first_seen_s=NOW_S - rest_s,
        look=look,
        unchanged_since_s=NOW_S - rest_s,
    )
    return decide(settling, settle_s=SETTLE_S, incomplete_after_s=INCOMPLETE_S, now_s=NOW_S, now_ns=NOW_NS)


@pytest.mark.parametrize("rest_s", [0.0, 3.0, 59.0])
@pytest.mark.parametrize("cause", Cause)
def test_an_open_file_waits_and_is_asked_for_again_within_settle(cause: Cause, rest_s: float) -> None:
    verdict = decided(cause, rest_s=rest_s, open_writer=True)
    assert isinstance(verdict, Wait)
    assert NOW_S < verdict.again_at_s <= NOW_S + SETTLE_S
    assert verdict.why.startswith("open for writing")


@pytest.mark.parametrize("cause", Cause)
def test_a_writer_that_never_closes_is_not_waited_for_for_ever(cause: Cause) -> None:
    assert isinstance(decided(cause, rest_s=INCOMPLETE_S, open_writer=True), Ready)


@pytest.mark.parametrize("cause", [Cause.CLOSED, Cause.RENAMED])
@pytest.mark.parametrize("open_writer", [False, None])
def test_without_a_writer_or_without_an_answer_nothing_waits(cause: Cause, open_writer: bool | None) -> None:
    assert isinstance(decided(cause, rest_s=0.0, open_writer=open_writer), Ready)
