"""Inboxes that leave and come back, by one reload after the other."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from procwatch.dispatch.backlog import Backlog
from procwatch.dispatch.inboxes import Inboxes
from procwatch.dispatch.registry import Registry
from procwatch.model import InboxSpec

pytestmark = pytest.mark.unit

SPEC = InboxSpec(name="in", path="/in", outbox="/out", archive="/archive", failed="/failed", recipe="web")


class Leaving:
    """An inbox whose disk has not taken yet what is finished."""

    def __init__(self) -> None:
        self.closed: list[str] = []
        self.finishing = SimpleNamespace(is_busy=True)
        room = cast("Any", None)
        self.inboxes = Inboxes(backlog=Backlog(), registry=Registry(), room=room, check=lambda spec: "")
        runtime = SimpleNamespace(
            stop_intake=lambda: None,
            finishing=self.finishing,
            close=lambda timeout_s: self.closed.append("in"),
        )
        part = SimpleNamespace(close=lambda: None)
        inside = cast("Any", self.inboxes)
        inside._runtimes["in"], inside._measuring["in"], inside._keepers["in"] = runtime, part, part

    def end(self) -> None:
        self.finishing.is_busy = False
        self.inboxes.finish_leaving()


def test_asked_to_leave_again_the_newest_word_counts() -> None:
    """A second reload while the first is not through ended the daemon with a KeyError."""
    here, told = Leaving(), list[str]()
    here.inboxes.retire("in", lambda: told.append("first"))
    here.inboxes.retire("in", lambda: told.append("second"))
    here.inboxes.finish_leaving()
    assert not told
    here.end()
    assert (told, here.closed) == (["second"], ["in"])


def test_one_that_is_added_while_it_leaves_comes_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The new one was closed in place of the old one, which kept the folder locked."""
    here, added = Leaving(), list[tuple[str, bool]]()
    here.inboxes.retire("in")
    plan, shared = cast("Any", None), cast("Any", None)
    here.inboxes.add(SPEC, plan, shared, ledger_keep_s=None)
    assert not here.closed

    def add(spec: InboxSpec, *_: Any, **__: Any) -> None:
        added.append((spec.name, bool(here.closed)))

    pending = cast("Any", here.inboxes)._leaving["in"]
    monkeypatch.setitem(
        cast("Any", here.inboxes)._leaving, "in", lambda: add(*pending.args, **pending.keywords)
    )
    here.end()
    assert added == [("in", True)]
