"""Whoever may write a folder puts a link in the place of one: what measures, tidies and audits never looks behind it."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from procwatch.control.audit import audit
from procwatch.control.retrying import failed_file, failed_files, put_back
from procwatch.delivery.real_fs import RealFs
from procwatch.dispatch.housekeeping import EMPTY_FOLDER_AGE_S
from procwatch.dispatch.sizes import Measuring, Sizes, Total, own_folders
from procwatch.intake.door import Door
from procwatch.intake.filters import NameFilter
from procwatch.intake.walk import scan
from procwatch.model import STAGING, InboxSpec
from tests.support.canaries import CanaryTree
from tests.unit.test_dispatch_housekeeping import keeper
from tests.unit.test_dispatch_sizes import Clockwork, spec_below

pytestmark = pytest.mark.integration


@pytest.fixture
def canaries(tmp_path: Path) -> CanaryTree:
    """Armed: any look into it shows."""
    tree = CanaryTree(root=tmp_path / "elsewhere")
    tree.begin()
    if os.statvfs(tmp_path).f_flag & os.ST_NOATIME:
        pytest.skip("this file system keeps no access times")
    return tree


def swap(folder: Path, target: Path) -> None:
    folder.rename(folder.with_name(f"{folder.name}-aside"))
    folder.symlink_to(target)


def measure(spec: InboxSpec, before_step: Callable[[int], None]) -> Sizes:
    """Measure behind an open door, a folder a step."""
    works, told = Clockwork(), list[Sizes]()
    door = Door(spec, lambda spec: None)
    assert door.open() is None
    stands: dict[str, Any] = {"loop": works, "lane": works, "wall_s": lambda: 1000.0}
    made = Measuring(
        spec=spec, apart=lambda: own_folders([spec]), is_inbox=door.is_inbox, tell=told.append, **stands
    )
    made.start()
    while not told:
        before_step(works.steps)
        works.next()
    door.close()
    return told[0]


@pytest.mark.parametrize("moment", [0, 1, 2])
def test_an_inbox_that_became_a_link_is_not_measured(
    moment: int, tmp_path: Path, canaries: CanaryTree
) -> None:
    """Also in the middle of its measurement: each folder of it is found through its name."""
    spec = spec_below(tmp_path)
    for number in range(20):
        (tmp_path / f"inbox/{number}/below").mkdir(parents=True)
    before = canaries.arm()

    def swap_once(step: int) -> None:
        if step == moment:
            swap(tmp_path / "inbox", canaries.root)

    assert measure(spec, swap_once).folders["inbox"] is None
    assert not canaries.changes(before)


def test_a_subfolder_that_became_a_link_is_passed_over(tmp_path: Path, canaries: CanaryTree) -> None:
    """It was a folder when it was found, and its turn comes in a later step."""
    spec = spec_below(tmp_path)
    for number in range(20):
        (tmp_path / f"inbox/{number}").mkdir(parents=True)
    before = canaries.arm()

    def swap_once(step: int) -> None:
        for number in range(20) if step == 1 else ():
            swap(tmp_path / f"inbox/{number}", canaries.root)

    assert measure(spec, swap_once).folders["inbox"] == Total(files=0, bytes=0)
    assert not canaries.changes(before)


def test_an_inbox_that_is_a_link_from_the_start_is_measured(tmp_path: Path) -> None:
    """People link inboxes to other disks."""
    spec = spec_below(tmp_path)
    (tmp_path / "inbox").rename(tmp_path / "disk")
    (tmp_path / "inbox").symlink_to(tmp_path / "disk")
    (tmp_path / "disk/a.jpg").write_bytes(b"123")
    assert measure(spec, lambda step: None).folders["inbox"] == Total(files=1, bytes=3)


def test_empty_folders_of_a_swapped_inbox_are_not_looked_for(tmp_path: Path, canaries: CanaryTree) -> None:
    """They would be removed from where the link leads."""
    spec = spec_below(tmp_path / "site")
    (canaries.root / "empty").mkdir()
    door = Door(spec, lambda spec: None)
    assert door.open() is None
    house, *_ = keeper(tmp_path / "house", is_inbox=door.is_inbox)
    swap(tmp_path / "site/inbox", canaries.root)
    before = canaries.arm()
    assert house.remove_empty_folders(spec.path, time.time() + EMPTY_FOLDER_AGE_S + 3600) == 0
    assert (canaries.root / "empty").is_dir()
    assert not canaries.changes(before)
    door.close()


def test_old_files_behind_a_link_in_the_archive_stay(tmp_path: Path, canaries: CanaryTree) -> None:
    """archive_keep removes files: those of the archive. The link takes the folder's place once it was found."""
    house, *_ = keeper(tmp_path / "house", archive_s=1.0)
    archive = tmp_path / "house/archive"
    for folder in ("album", "link"):
        (archive / folder).mkdir()
        (archive / folder / "a.jpg").write_bytes(b"old")
    swap(archive / "link", canaries.root)
    before = canaries.arm()

    class SwappingFs(RealFs):
        def lstat(self, path: str) -> os.stat_result | None:
            if not (archive / "album").is_symlink():
                swap(archive / "album", canaries.root)
            return super().lstat(path)

    house._fs = SwappingFs()
    house.remove_old_files(str(archive), time.time() + 10)
    assert (archive / "album").is_symlink()
    assert not canaries.changes(before)


def test_an_audit_does_not_look_behind_links(tmp_path: Path, canaries: CanaryTree) -> None:
    spec = spec_below(tmp_path)
    (tmp_path / f"out/{STAGING}").rmdir()
    for name in ("out/link", "failed/link", "inbox/link", f"out/{STAGING}"):
        (tmp_path / name).symlink_to(canaries.root)
    before = canaries.arm()
    report = audit((spec,), str(tmp_path / "no-ledger"), live=False)
    assert not canaries.changes(before)
    sizes = {folder.folder: folder.files for folder in report.folders}
    assert sizes == {"inbox": 1, "outbox": 2, "staging": 0, "failed": 1, "archive": 0}


def test_a_retry_does_not_take_files_from_behind_a_link(tmp_path: Path, canaries: CanaryTree) -> None:
    spec = spec_below(tmp_path)
    (tmp_path / "failed/link").symlink_to(canaries.root)
    before = canaries.arm()
    assert [file.name for file in failed_files(spec)] == ["link"]
    assert list(failed_files(spec, "link/below")) == []
    with pytest.raises(OSError, match="symbolic link"):
        put_back(RealFs(), failed_file(spec, "link/a.jpg"))
    assert not canaries.changes(before)


@pytest.mark.parametrize("swapped", ["inbox", "."])
def test_a_pass_does_not_follow_an_inbox_that_becomes_a_link_meanwhile(
    swapped: str, tmp_path: Path, canaries: CanaryTree
) -> None:
    """Nor a folder above it. A pass may wait for long between two folders."""
    site = tmp_path / "site"
    for name in ("a", "below"):
        (site / "inbox" / name).mkdir(parents=True)
        (site / "inbox" / name / "x.jpg").write_bytes(b"x")
        (canaries.root / "inbox" / name).mkdir(parents=True)
    names = NameFilter(("*",), ())
    entries = scan(str(site / "inbox"), recursive=True, filter=names, real_root=str(site / "inbox"))
    assert next(entries).path.endswith("/x.jpg")
    swap(site / swapped if swapped != "." else site, canaries.root)
    before = canaries.arm()
    assert list(entries) == []
    assert not canaries.changes(before)
