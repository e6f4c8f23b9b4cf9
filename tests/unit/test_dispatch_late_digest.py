"""The digest of what is published: with the worker's answer, behind it, or not at all."""

from collections.abc import Callable, Iterator

import pytest

from procwatch.dispatch import orders
from procwatch.dispatch.orders import PublishOrder
from procwatch.model import Fingerprint, Rendered

pytestmark = pytest.mark.unit


def order(sha256: str | None, late: Callable[[], str | None] | None) -> PublishOrder:
    return PublishOrder(
        job="j",
        path="a.jpg",
        fingerprint=Fingerprint(device=1, inode=1, size=1, mtime_ns=1),
        rendered=Rendered(renditions=(), width=1, height=1, format="JPEG", frames=1, sha256=sha256),
        staging="/s",
        recipe="web",
        templates={},
        line={},
        late_digest=late,
    )


def coming(*answers: str | None) -> Callable[[], str | None]:
    left: Iterator[str | None] = iter(answers)
    return lambda: next(left)


def test_what_came_with_the_answer_is_not_asked_for_again() -> None:
    assert order("ab", coming()).digest() == "ab"


def test_what_comes_later_is_waited_for() -> None:
    assert order(None, coming(None, None, "cd")).digest() == "cd"


@pytest.mark.parametrize("late", [None, coming(None, "")], ids=["not asked for", "lost"])
def test_what_will_not_come_is_not_waited_for(late: Callable[[], str | None] | None) -> None:
    assert order(None, late).digest() is None


def test_a_worker_that_never_tells_is_waited_for_a_while_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "_LATE_DIGEST_S", 0.01)
    assert order(None, lambda: None).digest() is None
