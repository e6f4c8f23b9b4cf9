"""What a worker may say, and what becomes of the job: no worker's word goes round for ever, or holds up an inbox."""

import errno
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import structlog

from procwatch.dispatch import probing
from procwatch.dispatch.job import Job, RecipePlan
from procwatch.dispatch.outcomes import Outcomes, in_bounds, misfit, parse_environment
from procwatch.dispatch.registry import Registry
from procwatch.dispatch.retry import MAX_FREE_ROUNDS
from procwatch.imaging.codecs import extensions_of
from procwatch.model import Fingerprint, Limits, Rendered, RenderFailed, Staged
from procwatch.pool.ports import Death, Report

pytestmark = pytest.mark.unit

STAGED = Staged(output="web", file="0.jpg", ext="jpg", width=1, height=1, size=1, inode=1)
RENDERED = Rendered(renditions=(STAGED,), width=1, height=1, format="JPEG", frames=1)
RECIPE = RecipePlan(
    name="web", hash="0", templates={"web": "{stem}.{ext}"}, payload=None,
    extensions={"web": extensions_of("auto")},
)  # fmt: skip
UNSTARTED = Death(kind="crashed", exit="SIGKILL", started=False)


class Scene:
    """One job of one inbox, and all that is done with it, by name."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.done: list[tuple[str, Any]] = []
        (root / "inbox").mkdir()
        (root / "inbox/a.jpg").write_bytes(b"x")
        (root / "outbox/.procwatch-staging/slot-1").mkdir(parents=True)
        spec = SimpleNamespace(
            path=str(root / "inbox"), outbox=str(root / "outbox"), incomplete_after_s=60.0, settle_s=0.0
        )
        runtime = SimpleNamespace(
            spec=spec,
            recipe=RECIPE,
            finishing=SimpleNamespace(clean=lambda staging: None),
            pulse=SimpleNamespace(is_late=False),
            arrivals=SimpleNamespace(look=self._take("look")),
        )
        endings = SimpleNamespace(
            fail=self._take("fail"),
            publish=self._take("publish"),
            pause_for=self._take("pause"),
            render_again=self._take("render again"),
        )
        self.registry = Registry()
        self.job = Job(
            id="1", inbox="in", path="a.jpg",
            fingerprint=Fingerprint(device=1, inode=1, size=1, mtime_ns=time.time_ns()),
            ctime_ns=0, changed_ns=0, queued_s=0, queued_at=0, removable_after_s=0, want_digest=False,
        )  # fmt: skip
        loop = SimpleNamespace(clock=time.monotonic, post=lambda function, *told: function(*told))
        self.outcomes = Outcomes(
            loop=cast("Any", loop),
            journal=cast("Any", SimpleNamespace(submit=lambda *_, **__: None)),
            registry=self.registry,
            endings=cast("Any", endings),
            inboxes=cast("Any", {"in": runtime}),
            backlog=cast("Any", SimpleNamespace(add=self._take("again"))),
            large=cast("Any", SimpleNamespace(refusal=lambda needed: "", add=self._take("again"))),
            limits=Limits(),
            log=structlog.get_logger(),
        )

    def _take(self, name: str) -> Any:
        return lambda *told, **more: self.done.append((name, told))

    def report(self, result: Any = None, death: Death | None = None) -> tuple[str, Any]:
        """Let a worker answer; return what was done last."""
        self.registry.add(self.job)
        before = len(self.done)
        self.outcomes.reported(self.job, Report(slot=1, worker_pid=1, run_s=0.0, result=result, death=death))
        assert len(self.done) > before
        return self.done[-1]


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    structlog.configure(processors=[structlog.testing.LogCapture()])

    def at_once(self: Outcomes, look: Any, then: Any) -> None:
        then(look())

    monkeypatch.setattr(Outcomes, "_in_thread", at_once)
    return Scene(tmp_path)


def failed(code: str, reason: str = "EIO: x") -> RenderFailed:
    return RenderFailed(code=code, reason=reason)


@pytest.mark.parametrize(
    "answer",
    [*map(failed, ("changed", "vanished", "environment", "sandbox-stale", "truncated")), failed("deferred", "7"), UNSTARTED],
    ids=lambda answer: getattr(answer, "code", "a false claim"),
)  # fmt: skip
def test_what_costs_nothing_ends_when_the_file_stays_the_same(answer: Any, scene: Scene) -> None:
    told = {"death": answer} if isinstance(answer, Death) else {"result": answer}
    pauses = 0
    for _ in range(3 * MAX_FREE_ROUNDS):
        what, arguments = scene.report(**told)
        pauses += what == "pause"
        if what == "fail":
            break
    assert what == "fail"
    assert arguments[1] == ("worker-crashed" if answer is UNSTARTED else "internal-error")
    assert pauses <= 1, "an inbox does not wait for what the daemon does not see"
    assert scene.job.free_rounds > MAX_FREE_ROUNDS


def test_a_file_that_really_changes_may_do_so_for_ever(scene: Scene) -> None:
    for number in range(3 * MAX_FREE_ROUNDS):
        scene.job.fingerprint = Fingerprint(device=1, inode=1, size=number, mtime_ns=number)
        assert scene.report(failed("changed"))[0] == "look"


def test_workers_that_die_of_everything_cost_a_file_nothing(scene: Scene) -> None:
    for _ in range(3 * MAX_FREE_ROUNDS):
        assert scene.report(death=Death(kind="degraded", exit="SIGSEGV", started=False))[0] == "again"


def test_trouble_that_the_daemon_sees_too_pauses_the_inbox_and_is_never_charged(scene: Scene) -> None:
    (scene.root / "outbox").rename(scene.root / "away")
    for _ in range(3 * MAX_FREE_ROUNDS):
        what, arguments = scene.report(failed("environment", "ENOSPC: full"))
        assert (what, arguments[1].errno) == ("pause", errno.ENOENT)
    assert not scene.job.free_rounds


def test_little_space_is_trouble_when_the_worker_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = Scene(tmp_path)
    staging = f"{scene.root}/outbox/.procwatch-staging"
    arguments = f"{scene.root}/inbox", "a.jpg", staging
    monkeypatch.setattr(probing, "_SCARCE_BYTES", 2**62)
    told = probing.trouble(*arguments, errno.ENOSPC)
    assert told is not None
    assert told.errno == errno.ENOSPC
    assert probing.trouble(*arguments, errno.EIO) is None
    assert probing.trouble(arguments[0], "gone.jpg", staging, None) is None, (
        "that is not the machine's trouble"
    )
    assert os.listdir(staging) == ["slot-1"], "nothing is left there"


def test_folders_that_are_replaced_again_and_again_are_waited_for(scene: Scene) -> None:
    for number in range(3 * MAX_FREE_ROUNDS):
        slot = scene.root / "outbox/.procwatch-staging/slot-1"
        slot.rename(slot.with_name(f"old-{number}"))
        slot.mkdir()
        assert scene.report(failed("sandbox-stale"))[0] in ("again", "pause")


@pytest.mark.parametrize("ahead_s", [10 * 365 * 86400, 61])
def test_a_time_in_the_future_does_not_keep_a_file_young(ahead_s: int, scene: Scene) -> None:
    scene.job.fingerprint = Fingerprint(device=1, inode=1, size=1, mtime_ns=time.time_ns() + ahead_s * 10**9)
    scene.job.ctime_ns = time.time_ns() - 120 * 10**9
    assert scene.report(failed("truncated"))[0] == "fail"
    scene.job.ctime_ns = time.time_ns()
    assert scene.report(failed("truncated"))[0] == "look", "it came a moment ago, whatever its mtime says"


@pytest.mark.parametrize("reason", ["errorcode: x", "__name__: x", "__dict__: x", "EBOGUS: x", "", ": x"])
def test_no_error_number_but_that_of_an_error(reason: str) -> None:
    assert parse_environment(reason).errno is None
    assert parse_environment("ENOSPC: No space left").errno == errno.ENOSPC


def test_what_a_recipe_cannot_make_is_not_published(scene: Scene) -> None:
    for ext in ("jpg", "webp", "png"):
        staged = Staged(output="web", file=f"0.{ext}", ext=ext, width=1, height=1, size=1, inode=1)
        assert not misfit(RECIPE, Rendered(renditions=(staged,), width=1, height=1, format="", frames=1))
    for output, ext in (("web", "php"), ("web", "gif"), ("x" * 1000, "jpg")):
        staged = Staged(output=output, file="0.jpg", ext=ext, width=1, height=1, size=1, inode=1)
        lie = Rendered(renditions=(staged,) * 1000, width=1, height=1, format="", frames=1)
        assert 0 < len(misfit(RECIPE, lie)) < 200
        assert scene.report(lie)[0] == "render again"
    assert scene.report(RENDERED)[0] == "publish"


def test_what_goes_into_a_log_line_is_bounded() -> None:
    notes = {str(number) * 1000: "\U0001f600" * 10_000 for number in range(1000)}
    rendered = Rendered(renditions=(), width=1, height=1, format="x" * 10_000, frames=1, notes=notes)
    assert len(ascii(in_bounds(rendered))) < 16_000
    assert in_bounds(RENDERED) == RENDERED


def test_what_never_had_its_turn_costs_nothing_however_often(scene: Scene) -> None:
    for _ in range(3 * MAX_FREE_ROUNDS):
        scene.job.attempt += 1
        told = scene.report(death=Death(kind="revoked", exit="", started=False))
        assert told == ("again", (scene.job,))
    assert (scene.job.attempt, scene.job.deaths, scene.job.free_rounds) == (0, 0, 0)
