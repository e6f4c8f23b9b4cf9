"""Arrivals: what a scan may start, and what it has to leave to its timer."""

import dataclasses
import sqlite3
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from procwatch.dispatch.arrivals import Arrivals
from procwatch.dispatch.lane import Lane
from procwatch.dispatch.loop import Loop
from procwatch.intake.filters import NameFilter
from procwatch.intake.settle import Cause
from procwatch.intake.walk import Found
from procwatch.model import Fingerprint, InboxSpec
from tests.support import images

pytestmark = pytest.mark.unit


class Sink:
    def __init__(self) -> None:
        self.readied: list[str] = []

    def in_work(self, inbox: str, path: str) -> bool:
        return False

    def ready(self, spec: InboxSpec, settling: Any, ready: Any, known: Any) -> None:
        self.readied.append(settling.path)

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class Reader:
    def known(self, inbox: str, path: str) -> None:
        return None


def arrivals(root: Path) -> tuple[Arrivals, Sink, Loop]:
    sink, loop = Sink(), Loop()
    spec = InboxSpec(name="in", path=str(root), outbox="/o", archive="/a", failed="/f", recipe="web")
    parts: dict[str, Any] = {"reader": Reader(), "sink": sink, "request_scan": lambda cause: None}
    lane = Lane("look-test", lambda error: None)
    return Arrivals(spec=spec, names=NameFilter(), loop=loop, lane=lane, **parts), sink, loop


def old_file(path: str) -> Found:
    return Found(
        path=path, kind="file", fingerprint=Fingerprint(device=1, inode=1, size=1, mtime_ns=1), ctime_ns=1
    )


def test_a_scan_starts_an_old_file_at_once(tmp_path: Path) -> None:
    here, sink, _ = arrivals(tmp_path)
    here.scanned([(old_file("a.jpg"), None)], count_missed=False)
    assert sink.readied == ["a.jpg"]


def test_a_scan_leaves_a_file_alone_that_waits_for_its_time(tmp_path: Path) -> None:
    here, sink, _ = arrivals(tmp_path)
    here.look("cut-off.jpg", Cause.SCAN, after_s=60.0)
    here.scanned([(old_file("cut-off.jpg"), None)], count_missed=False)
    assert sink.readied == []


def test_after_close_nothing_starts(tmp_path: Path) -> None:
    here, sink, _ = arrivals(tmp_path)
    here.close()
    here.scanned([(old_file("a.jpg"), None)], count_missed=False)
    here.look("b.jpg", Cause.CLOSED)
    assert sink.readied == []


def test_a_hint_is_not_lost_where_the_ledger_cannot_be_read(tmp_path: Path) -> None:
    """It went with an exception of SQLite, and nothing after it counted as alone any more."""
    here, _, loop = arrivals(tmp_path)
    images.write(tmp_path / "a.jpg", images.jpeg(1))

    def refuse(inbox: str, path: str) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    here._reader.known = refuse  # type: ignore[method-assign]
    posted: list[Any] = []
    loop.post = lambda *call: posted.append(call)  # type: ignore[method-assign]
    here.hint("a.jpg", Cause.RENAMED)
    assert posted == [(here._arrived, "a.jpg", Cause.RENAMED, None)]


def test_a_flood_of_hints_becomes_one_request_for_a_scan(tmp_path: Path) -> None:
    here, _, _ = arrivals(tmp_path)
    asked: list[str] = []
    here._request_scan = asked.append
    for number in range(10_050):
        here.hint(f"{number}.jpg", Cause.CLOSED)
    assert set(asked) == {"overflow"}
    assert len(asked) == 50


def test_what_a_scan_saw_of_a_file_before_it_was_brought_out_starts_nothing(tmp_path: Path) -> None:
    """A slow scan tells of it when it is done and archived already; the file is not there any more."""
    here, sink, _ = arrivals(tmp_path)
    seen = old_file("a.jpg")
    assert seen.fingerprint is not None
    here.removed("a.jpg", seen.fingerprint, seen.ctime_ns)
    here.scanned([(seen, None)], count_missed=False)
    assert sink.readied == []
    here.scanned([(seen, None)], count_missed=False)
    assert sink.readied == ["a.jpg"], "somebody may put the very file back where a move leaves no trace"


def _turn(loop: Loop) -> None:
    loop._stopped = False
    loop.post(loop.stop)
    loop.run(lambda now_s: None)


def test_an_event_that_comes_alone_is_looked_at_where_it_came(tmp_path: Path) -> None:
    here, sink, loop = arrivals(tmp_path)
    here._lane = cast("Any", None)  # is not asked
    images.write(tmp_path / "a.jpg", images.jpeg(1))
    here.hint("a.jpg", Cause.RENAMED)
    _turn(loop)
    assert sink.readied == ["a.jpg"]


@pytest.mark.parametrize("taken", [True, False], ids=["one by one", "both at once"])
def test_a_file_that_is_closed_as_soon_as_it_is_created_is_looked_at_once(
    taken: bool, tmp_path: Path
) -> None:
    here, sink, loop = arrivals(tmp_path)
    here._lane = cast("Any", None)  # is not asked
    images.write(tmp_path / "a.jpg", images.jpeg(1))
    here.hint("a.jpg", Cause.CREATED)
    if taken:
        _turn(loop)
        assert (sink.readied, here.settling) == ([], {})
    here.hint("a.jpg", Cause.CLOSED)
    _turn(loop)
    assert sink.readied == ["a.jpg"]
    assert not here._lingering


def test_a_file_that_is_created_and_stays_open_is_looked_at_a_little_later(tmp_path: Path) -> None:
    here, sink, loop = arrivals(tmp_path)
    asked: list[Any] = []
    here._lane = cast("Any", SimpleNamespace(submit=lambda function, batch: asked.append(batch)))
    here.hint("a.jpg", Cause.CREATED)
    here.hint("b.jpg", Cause.CREATED)
    loop.call_later(0.2, loop.stop)
    loop.run(lambda now_s: None)
    assert [one for batch in asked for one in batch] == [("a.jpg", Cause.CREATED)]
    assert here._pending == {"b.jpg": Cause.CREATED}, "the lane is at work"
    assert sink.readied == []


def test_a_scan_does_not_pass_over_a_file_that_was_just_created(tmp_path: Path) -> None:
    here, sink, loop = arrivals(tmp_path)
    here._lane = cast("Any", SimpleNamespace(submit=lambda function, batch: None))
    here.hint("a.jpg", Cause.CREATED)
    _turn(loop)
    here.scanned([(old_file("a.jpg"), None)], count_missed=False)
    assert sink.readied == ["a.jpg"]
    assert not here._lingering


def test_a_scan_of_a_file_that_was_just_created_does_not_forget_its_creation(tmp_path: Path) -> None:
    """A rescan within those 50 ms: the file was taken for found, and an open writer on a network disk was not waited for."""
    here, sink, loop = arrivals(tmp_path)
    asked: list[Any] = []
    here._lane = cast("Any", SimpleNamespace(submit=lambda function, batch: asked.extend(batch)))
    here.hint("a.jpg", Cause.CREATED)
    _turn(loop)
    young = dataclasses.replace(old_file("a.jpg"), ctime_ns=time.time_ns())
    here.scanned([(young, None)], count_missed=False)
    assert asked == [("a.jpg", Cause.CREATED)]
    assert sink.readied == []


@pytest.mark.parametrize("what", ["gone", "known", "ignored"])
def test_what_is_not_simply_a_new_file_takes_the_usual_way(what: str, tmp_path: Path) -> None:
    here, sink, loop = arrivals(tmp_path)
    asked: list[Any] = []
    here._lane = cast("Any", SimpleNamespace(submit=lambda function, batch: asked.append(batch)))
    name = "x.part" if what == "ignored" else "a.jpg"
    if what != "gone":
        images.write(tmp_path / name, images.jpeg(1))
    if what == "known":
        here._reader = cast("Any", SimpleNamespace(known=lambda inbox, path: object()))
    here.hint(name, Cause.RENAMED)
    _turn(loop)
    assert sink.readied == []
    assert asked == ([] if what == "ignored" else [[(name, Cause.RENAMED)]])


class OneAtATime(Reader):
    """As SQLite's connections: whoever asks while another thread is being answered gets an error, or another's row."""

    def __init__(self) -> None:
        self._asked = threading.Lock()
        self.was_asked, self.was_shared = threading.Event(), threading.Event()

    def known(self, inbox: str, path: str) -> None:
        if not self._asked.acquire(blocking=False):
            self.was_shared.set()
            return
        self.was_asked.set()
        self.was_shared.wait(0.3)  # long enough for the other thread to come
        self._asked.release()


def test_the_lane_and_the_thread_of_events_do_not_ask_the_ledger_at_once(tmp_path: Path) -> None:
    reader = OneAtATime()
    here, _, _ = arrivals(tmp_path)
    here._reader = cast("Any", reader)
    images.write(tmp_path / "a.jpg", images.jpeg(1))
    here.look("b.jpg", Cause.SCAN)
    assert reader.was_asked.wait(10)
    here.hint("a.jpg", Cause.RENAMED)
    assert not reader.was_shared.is_set()
