"""When something refuses, the inbox waits ever longer, and goes on when what refused has succeeded."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog

from procwatch.dispatch.inbox_runtime import InboxRuntime
from procwatch.dispatch.loop import Loop
from procwatch.dispatch.orders import Disposal, Stage
from procwatch.dispatch.registry import Registry
from procwatch.dispatch.retry import pause_s
from procwatch.dispatch.trouble import Trouble
from procwatch.model import InboxSpec

pytestmark = pytest.mark.unit

FULL = OSError(28, "No space left on device")
SPEC = InboxSpec(
    name="inbox",
    path="/p/inbox",
    outbox="/p/outbox",
    archive="/p/inbox/archive",
    failed="/q/failed",
    recipe="web",
)


class Scene:
    """One inbox, a clock that only the test moves, and everything that was said and done."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.calls: list[tuple[float, Any, tuple[Any, ...]]] = []
        self.done: list[str] = []
        self.registry = Registry()
        self.runtime = cast(
            "InboxRuntime",
            SimpleNamespace(
                spec=SPEC,
                failures=0,
                parked=[],
                paused_since_s=None,
                resumed_s=float("-inf"),
                refusing=set(),
                trouble="",
                retry_due=False,
            ),
        )
        loop = SimpleNamespace(clock=lambda: self.now_s, call_later=self._call_later)
        self.trouble = Trouble(
            loop=cast("Loop", loop),
            registry=self.registry,
            log=structlog.get_logger(),
            pause=lambda runtime: self.done.append("pause"),
            resume=lambda runtime: self.done.append("resume"),
            again=lambda runtime, order: self.done.append(f"again {order}"),
        )

    def _call_later(self, delay_s: float, call: Any, *arguments: Any) -> None:
        self.calls.append((delay_s, call, arguments))

    def retry(self) -> float:
        """Let the next try be due; return how long it was waited for."""
        delay_s, call, arguments = self.calls.pop(0)
        self.now_s += delay_s
        call(*arguments)
        return delay_s


@pytest.fixture
def scene() -> Scene:
    structlog.configure(processors=[structlog.testing.LogCapture()])
    found = Scene()
    found.registry.add(cast("Any", SimpleNamespace(id="1", inbox="inbox", path="a.jpg")))
    return found


def said() -> list[str]:
    (capture,) = structlog.get_config()["processors"]
    return [entry["event"] for entry in capture.entries]


def test_many_refusals_in_one_round_count_once_and_every_round_waits_longer(scene: Scene) -> None:
    waits_s = []
    for _ in range(5):
        for _ in range(3):
            scene.trouble.met(scene.runtime, "render", FULL)
        assert len(scene.calls) == 1
        waits_s.append(scene.retry())
    for number, wait_s in enumerate(waits_s):
        assert 0.8 * 2**number <= wait_s <= 1.2 * 2**number
    assert said() == ["intake.paused"]


@pytest.mark.parametrize(
    ("stage", "error", "folder"),
    [
        ("render", FULL, "/p/outbox"),
        ("publish", OSError(30, "Read-only file system"), "/p/outbox"),
        ("render", OSError(5, "Input/output error"), None),  # of the source, or of the output
        ("dispose", FULL, None),
        ("ledger", FULL, None),
        (
            "dispose",
            OSError(28, "No space left on device", "/p/inbox/archive/2027/a.jpg"),
            "/p/inbox/archive",
        ),
        ("dispose", OSError(13, "Permission denied", b"/p/inbox/a.jpg"), "/p/inbox"),
        ("dispose", OSError(13, "Permission denied", "/q/failed"), "/q/failed"),
        ("dispose", OSError(13, "Permission denied", "/q/failed-2/a.jpg"), None),
        ("dispose", OSError(13, "Permission denied", 7), None),
    ],
)
def test_the_folder_that_refuses_is_named(
    scene: Scene, stage: Stage, error: OSError, folder: str | None
) -> None:
    """At night somebody has to know which of four disks it is."""
    scene.trouble.met(scene.runtime, stage, error)
    (capture,) = structlog.get_config()["processors"]
    assert capture.entries[0].get("path") == folder
    assert scene.runtime.trouble.endswith(f"({folder})" if folder else str(error.strerror))


@pytest.mark.parametrize(("disposal", "folder"), [("archive", "/p/inbox/archive"), ("failed", "/q/failed")])
def test_where_an_original_was_to_go_is_named(scene: Scene, disposal: Disposal, folder: str) -> None:
    scene.trouble.met(scene.runtime, "dispose", FULL, disposal=disposal)
    assert scene.runtime.trouble == f"ENOSPC: No space left on device ({folder})"


def test_the_wait_is_bounded_and_jitters() -> None:
    assert pause_s(1, jitter=1.0) == 1.0
    assert pause_s(4, jitter=1.0) == 8.0
    assert pause_s(400, jitter=1.0) == 60.0
    drawn = {pause_s(400) for _ in range(50)}
    assert len(drawn) > 1
    assert all(48.0 <= wait_s <= 72.0 for wait_s in drawn)


def test_it_is_over_only_when_everything_that_refused_has_succeeded(scene: Scene) -> None:
    """Originals that can still be archived say nothing of an outbox that is full."""
    scene.trouble.met(scene.runtime, "render", FULL)
    scene.trouble.met(scene.runtime, "dispose", FULL)
    scene.retry()
    scene.trouble.over_if(scene.runtime, "dispose", "ledger")
    assert said() == ["intake.paused"]
    scene.trouble.over_if(scene.runtime, "render", "publish", "ledger")
    assert said() == ["intake.paused", "intake.resumed"]
    assert scene.runtime.trouble == ""
    assert scene.done[-1] == "resume"


def test_a_success_of_before_the_next_try_says_nothing(scene: Scene) -> None:
    scene.trouble.met(scene.runtime, "publish", FULL)
    scene.trouble.over_if(scene.runtime, "render", "publish", "ledger")
    assert said() == ["intake.paused"]


def test_trouble_that_is_back_soon_goes_on_with_its_long_waits(scene: Scene) -> None:
    """Small files fit on a nearly full disk: each of their successes must not bring the large ones back at once."""
    for _ in range(4):
        scene.trouble.met(scene.runtime, "render", FULL)
        scene.retry()
    scene.trouble.over_if(scene.runtime, "render")
    scene.now_s += 5
    scene.trouble.met(scene.runtime, "render", FULL)
    assert scene.retry() > 10
    scene.trouble.over_if(scene.runtime, "render")
    scene.now_s += 3600
    scene.trouble.met(scene.runtime, "render", FULL)
    assert scene.retry() <= 1.2


def test_parked_orders_are_carried_out_again(scene: Scene) -> None:
    scene.runtime.parked.append(cast("Any", "order"))
    scene.trouble.met(scene.runtime, "publish", FULL)
    scene.retry()
    assert scene.done == ["pause", "again order", "resume"]
    assert scene.runtime.parked == []


def test_it_is_over_when_nothing_waits_any_more(scene: Scene) -> None:
    """The file that had no room was taken away by its owner: nobody is left to show that there is room."""
    scene.trouble.met(scene.runtime, "render", FULL)
    scene.registry.remove(scene.registry.jobs()[0])
    scene.retry()
    assert said() == ["intake.paused", "intake.resumed"]
