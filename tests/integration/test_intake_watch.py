"""The watch of an inbox is lost and installed anew when one of its threads ends, or its folder goes away."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from procwatch.intake.door import Door
from procwatch.intake.filters import NameFilter
from procwatch.intake.inbox import CHECK_EVERY_S, InboxWatch
from procwatch.intake.settle import Cause
from procwatch.model import InboxSpec
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration


class Heard:
    """A watch on a real folder, and everything that it told."""

    def __init__(self, root: Path) -> None:
        self.said: list[str] = []
        self.arrived: list[str] = []
        self.problem: str | None = None
        spec = InboxSpec(
            name="inbox",
            path=str(root),
            outbox=str(root.parent / "outbox"),
            archive=str(root.parent / "archive"),
            failed=str(root.parent / "failed"),
            recipe="web",
        )
        self.door = Door(spec, lambda _: self.problem)
        self.watch = InboxWatch(
            spec,
            names=NameFilter(spec.include, spec.ignore),
            door=self.door,
            on_arrival=self.on_arrival,
            on_directory=lambda folder: None,
            on_overflow=lambda: None,
            events=self,
        )

    def on_arrival(self, path: str, cause: Cause) -> None:
        self.arrived.append(path)

    def watch_started(self, spec: InboxSpec, mode: str, reason: str) -> None:
        self.said.append(f"started {mode}")

    def watch_lost(self, spec: InboxSpec, reason: str) -> None:
        self.said.append(f"lost: {reason}")

    def watch_restored(self, spec: InboxSpec, mode: str, lost_s: float) -> None:
        self.said.append(f"restored {mode}")

    def watch_reduced(self, spec: InboxSpec, reason: str) -> None:
        self.said.append(f"reduced: {reason}")


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[Heard]:
    root = tmp_path / "inbox"
    root.mkdir()
    found = Heard(root)
    yield found
    found.watch.close()
    found.door.close()


def end_dispatching(heard: Heard) -> threading.Thread:
    """Let watchdog's observer thread die of an exception, as one in a handler does."""
    observer = heard.watch._observer
    assert observer is not None
    inner = observer._observer
    assert inner is not None
    inner.event_queue.put(("not", "an event", "at all"))
    return inner


def end_emitting(heard: Heard) -> threading.Thread:
    """Let watchdog's emitter thread end, as it does when its folder is deleted."""
    observer = heard.watch._observer
    assert observer is not None
    inner = observer._observer
    assert inner is not None
    (emitter,) = inner.emitters
    emitter.stop()
    return emitter


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("end", [end_dispatching, end_emitting])
def test_a_thread_that_ends_is_noticed_and_replaced(
    end: Callable[[Heard], threading.Thread], heard: Heard, tmp_path: Path
) -> None:
    assert heard.watch.keep() == CHECK_EVERY_S
    (tmp_path / "inbox/before.jpg").write_bytes(b"1")
    eventually(lambda: "before.jpg" in heard.arrived)
    thread = end(heard)
    eventually(lambda: not thread.is_alive())
    installs = heard.watch.installs
    began_s = time.monotonic()
    assert heard.watch.keep() == CHECK_EVERY_S
    assert heard.watch.installs == installs + 1  # which asks for a scan
    (tmp_path / "inbox/after.jpg").write_bytes(b"2")
    eventually(lambda: "after.jpg" in heard.arrived)
    assert time.monotonic() - began_s < 5
    assert [said.partition(":")[0] for said in heard.said] == ["started native", "lost", "restored native"]


def test_it_is_told_once_and_tried_ever_less_often(heard: Heard) -> None:
    heard.problem = "no such disk"
    waits_s = [heard.watch.keep() for _ in range(7)]
    assert waits_s == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0, 10.0]
    assert heard.said == ["lost: no such disk"]
    assert heard.watch.is_lost
    assert heard.watch.lost_because == "no such disk"
    heard.problem = None
    assert heard.watch.keep() == CHECK_EVERY_S
    assert heard.said == ["lost: no such disk", "restored native"]
    assert not heard.watch.is_lost
    assert heard.watch.lost_because == ""


def test_the_lock_moves_to_the_folder_that_is_there_now(heard: Heard, tmp_path: Path) -> None:
    """Else a second daemon could serve the new folder, and the old file system could never be unmounted."""
    heard.watch.keep()
    assert heard.door.is_same()
    (tmp_path / "inbox").rename(tmp_path / "old")
    (tmp_path / "inbox").mkdir()
    assert not heard.door.is_same()
    heard.watch.keep()
    assert heard.door.is_same()
    other = Door(heard.watch._spec, lambda _: None)
    assert "in use" in (other.open() or "")
    (tmp_path / "old").rename(tmp_path / "elsewhere")
    free = Heard(tmp_path / "elsewhere")
    assert free.door.open() is None
    free.door.close()
    other.close()


def test_a_door_that_is_closed_for_good_keeps_no_lock(heard: Heard) -> None:
    """The loop may close it while the lane is just opening it."""
    heard.door.close()
    heard.door.lock()
    assert not heard.door.is_same()
    other = Door(heard.watch._spec, lambda _: None)
    assert other.open() is None
    other.close()
