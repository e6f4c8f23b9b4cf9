"""Sizes of an inbox's folders: the figures, and that measuring them never holds up anything for long."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procwatch.dispatch import sizes
from procwatch.dispatch.sizes import AGAIN_S, FIRST_S, Measuring, Sizes, Total, own_folders
from procwatch.dispatch.tree import folders_below, totals_below
from procwatch.fdopen import open_root
from procwatch.model import STAGING, InboxSpec

pytestmark = pytest.mark.unit


class Clockwork:
    """A loop and a lane that do everything at once and remember what was asked for later."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.later: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []
        self.steps = 0

    def clock(self) -> float:
        self.now_s += 0.02  # whatever is done takes its time
        return self.now_s

    def post(self, function: Callable[..., None], *arguments: Any) -> None:
        function(*arguments)

    def submit(self, function: Callable[..., None], *arguments: Any) -> None:
        self.steps += 1
        function(*arguments)

    def call_later(self, delay_s: float, function: Callable[..., None], *arguments: Any) -> None:
        self.later.append((delay_s, function, arguments))

    def next(self) -> float:
        """Run what was asked for; return after how long."""
        (delay_s, function, arguments), *self.later = self.later
        function(*arguments)
        return delay_s


def spec_below(root: Path) -> InboxSpec:
    for name in ("inbox", "out", "out/archive", "failed", f"out/{STAGING}"):
        (root / name).mkdir(parents=True)
    return InboxSpec(
        name="a",
        path=str(root / "inbox"),
        outbox=str(root / "out"),
        archive=str(root / "out/archive"),
        failed=str(root / "failed"),
        recipe="web",
    )


def measuring(spec: InboxSpec) -> tuple[Measuring, Clockwork, list[Sizes]]:
    works, told = Clockwork(), list[Sizes]()
    stands: dict[str, Any] = {"loop": works, "lane": works}
    made = Measuring(
        spec=spec,
        **stands,
        is_inbox=lambda descriptor: not os.path.islink(spec.path),
        apart=lambda: own_folders([spec]),
        tell=told.append,
        wall_s=lambda: 1000.0,
    )
    made.start()
    return made, works, told


def fill(folder: Path, count: int, size: int) -> None:
    folder.mkdir(exist_ok=True)
    for number in range(count):
        (folder / f"{number}.jpg").write_bytes(bytes(size))


def test_each_folder_has_its_files_and_bytes_and_none_counts_in_another(tmp_path: Path) -> None:
    spec = spec_below(tmp_path)
    fill(tmp_path / "inbox/deep", 3, 10)
    fill(tmp_path / "out", 2, 100)
    fill(tmp_path / "out/archive", 4, 1000)
    fill(tmp_path / f"out/{STAGING}/slot-1", 5, 1)
    (tmp_path / "failed/link").symlink_to("x" * 7)
    _, works, told = measuring(spec)
    assert works.next() == FIRST_S
    while not told:
        works.next()
    assert told[0].to_json() == {
        "measured_at_s": 1000.0,
        "inbox": {"files": 3, "bytes": 30},
        "outbox": {"files": 2, "bytes": 200},
        "archive": {"files": 4, "bytes": 4000},
        "failed": {"files": 1, "bytes": 7},
    }


def test_failures_are_counted_without_their_error_files(tmp_path: Path) -> None:
    spec = spec_below(tmp_path)
    for name in ("a.jpg", "a.jpg.error.json", "b.jpg", "b.jpg.error.json"):
        (tmp_path / "failed" / name).write_bytes(bytes(10))
    _, works, told = measuring(spec)
    while not told:
        works.next()
    assert told[0].folders["failed"] == Total(files=2, bytes=40)


def test_totals_are_the_sums_of_what_an_audit_sees(tmp_path: Path) -> None:
    for number in range(5):
        fill(tmp_path / f"{number}", number, 2**number)
    skip = frozenset([str(tmp_path / "3")])
    seen = list(folders_below(str(tmp_path), skip=skip))
    totals = list(totals_below(str(tmp_path), skip=skip))
    assert totals == [(len(found.sizes), sum(found.sizes.values())) for found in seen]
    assert sum(files for files, _ in totals) == 7


def test_many_folders_are_measured_in_short_steps_with_rests_between_them(tmp_path: Path) -> None:
    """Between two steps the lane looks for room; while it is measured, a tenth of a processor is used."""
    spec = spec_below(tmp_path)
    for number in range(40):
        fill(tmp_path / f"archive-{number}", 1, 1)
        (tmp_path / f"archive-{number}").rename(tmp_path / f"out/archive/{number:02}")
    _, works, told = measuring(spec)
    works.next()
    rests = []
    while not told:
        began_s = works.now_s
        rests.append(works.next())
        assert works.now_s - began_s < 3 * sizes._STEP_S
    assert works.steps > 10
    assert min(rests) >= 9 * sizes._STEP_S
    assert told[0].folders["archive"] == Total(files=40, bytes=40)


def test_the_next_measurement_is_five_minutes_later_or_twenty_times_the_work(tmp_path: Path) -> None:
    spec = spec_below(tmp_path)
    _, works, told = measuring(spec)
    while not told:
        works.next()
    assert works.later[0][0] == AGAIN_S
    slow, works, told = measuring(spec)
    slow._begin()
    slow._worked_s = 60.0
    del works.later[0]
    while not told:
        works.next()
    assert works.later[0][0] >= 20 * 60.0


def test_a_folder_that_may_not_be_read_has_no_figure_and_the_others_have_theirs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_below(tmp_path)
    fill(tmp_path / "failed", 1, 1)

    def refusing(root: str, is_root: Any) -> int:
        if root == spec.archive:
            raise PermissionError(13, "Permission denied", root)
        return open_root(root, is_root)

    monkeypatch.setattr("procwatch.dispatch.tree.open_root", refusing)
    _, works, told = measuring(spec)
    while not told:
        works.next()
    assert told[0].folders["archive"] is None
    assert told[0].folders["failed"] == Total(files=1, bytes=1)


def test_nothing_is_measured_after_the_end(tmp_path: Path) -> None:
    made, works, told = measuring(spec_below(tmp_path))
    made.close()
    works.next()
    assert (works.later, works.steps, told) == ([], 0, [])


def test_an_inbox_that_became_a_link_is_not_measured(tmp_path: Path) -> None:
    """It may lead to any tree of the machine."""
    spec = spec_below(tmp_path)
    fill(tmp_path / "failed", 1, 1)
    fill(tmp_path / "elsewhere", 3, 1)
    (tmp_path / "inbox").rmdir()
    (tmp_path / "inbox").symlink_to(tmp_path / "elsewhere")
    _, works, told = measuring(spec)
    while not told:
        works.next()
    assert told[0].folders["inbox"] is None
    assert told[0].folders["failed"] == Total(files=1, bytes=1)
