"""Somebody swaps a folder of the inbox for a link between the look at an original and its removal; a real disk."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from procwatch.control.retrying import failed_file, put_back
from procwatch.delivery.fsops import RealFs
from procwatch.dispatch.disposing import Disposer
from procwatch.dispatch.housekeeping import EMPTY_FOLDER_AGE_S, Housekeeping
from procwatch.dispatch.journal import Journal
from procwatch.dispatch.orders import Disposal, DisposeOrder
from procwatch.model import Fingerprint, InboxSpec, Original
from tests.support import images
from tests.support.canaries import CanaryTree
from tests.unit.test_dispatch_power_cut import Ears

pytestmark = pytest.mark.integration


class SwappingFs(RealFs):
    """After the first look at an entry called `name`, its folder is a link to elsewhere."""

    def __init__(self, name: str, folder: Path, elsewhere: Path) -> None:
        self._name, self._folder, self._elsewhere = name, folder, elsewhere
        self.swapped = False

    def swap(self) -> None:
        self.swapped = True
        self._folder.rename(self._folder.with_name("aside"))
        self._folder.symlink_to(self._elsewhere)

    def lstat(self, path: str) -> os.stat_result | None:
        status = super().lstat(path)
        if os.path.basename(path) == self._name and not self.swapped:
            self.swap()
        return status


class NoJournal:
    """Commits nowhere."""

    def call(self, operation: Callable[..., Any], **how: object) -> None:
        return None


@pytest.fixture
def spec(tmp_path: Path) -> InboxSpec:
    for folder in ("in/album", "out", "archive", "failed"):
        (tmp_path / folder).mkdir(parents=True)
    return InboxSpec(
        name="inbox",
        path=str(tmp_path / "in"),
        outbox=str(tmp_path / "out"),
        archive=str(tmp_path / "archive"),
        failed=str(tmp_path / "failed"),
        recipe="web",
    )


@pytest.mark.parametrize("disposal", ["archive", "delete", "failed"])
def test_the_file_elsewhere_stays(disposal: Disposal, spec: InboxSpec, tmp_path: Path) -> None:
    """`delete` is the worst: what lies under the same name elsewhere would be gone."""
    tree = CanaryTree(root=tmp_path / "elsewhere")
    before = tree.begin()
    original = images.write(tmp_path / "in/album/a.jpg", images.jpeg(1))
    fs = SwappingFs("a.jpg", tmp_path / "in/album", tree.root)
    status = original.stat()
    ears = Ears()
    disposer = Disposer(
        spec=spec,
        fs=fs,
        journal=cast("Journal", NoJournal()),
        post=lambda function, *arguments: function(*arguments),
        results=ears,
    )
    disposer.dispose(
        [
            DisposeOrder(
                job="00000000000000abcd",
                path="album/a.jpg",
                fingerprint=Fingerprint.of(status),
                ctime_ns=status.st_ctime_ns,
                sha256=None,
                disposal=disposal,
                report={"job": "00000000000000abcd"},
            )
        ]
    )
    assert fs.swapped
    assert not tree.changes(before)
    assert not (tmp_path / "in/aside/a.jpg").exists(), "it was the job's file, wherever its folder is by now"
    wanted = {"archive": Original.ARCHIVED, "delete": Original.DELETED, "failed": Original.FAILED}
    assert [(what.result, what.original) for what in ears.ended] == [("disposed", wanted[disposal])]


def test_an_original_whose_folder_is_a_link_by_now_is_not_the_jobs(spec: InboxSpec, tmp_path: Path) -> None:
    tree = CanaryTree(root=tmp_path / "elsewhere")
    before = tree.begin()
    status = (tree.root / "a.jpg").stat()
    (tmp_path / "in/album").rmdir()
    (tmp_path / "in/album").symlink_to(tree.root)
    ears = Ears()
    disposer = Disposer(
        spec=spec,
        fs=RealFs(),
        journal=cast("Journal", NoJournal()),
        post=lambda function, *arguments: function(*arguments),
        results=ears,
    )
    order = DisposeOrder(
        job="00000000000000abcd",
        path="album/a.jpg",
        fingerprint=Fingerprint.of(status),
        ctime_ns=status.st_ctime_ns,
        sha256=None,
        disposal="delete",
        report={},
    )
    disposer.dispose([order])
    assert [what.result for what in ears.ended] == ["changed"]
    assert not tree.changes(before)


def test_an_empty_folder_elsewhere_stays(spec: InboxSpec, tmp_path: Path) -> None:
    """Empty folders of the inbox are tidied away after a while."""
    for folder in (tmp_path / "in/album/empty", tmp_path / "elsewhere/empty"):
        folder.mkdir(parents=True)
    fs = SwappingFs("empty", tmp_path / "in/album", tmp_path / "elsewhere")
    housekeeping = Housekeeping.__new__(Housekeeping)  # its lane and its timers are of no use here
    housekeeping._fs = fs
    housekeeping._is_inbox = lambda descriptor: True
    removed = housekeeping.remove_empty_folders(spec.path, time.time() + EMPTY_FOLDER_AGE_S + 60)
    assert fs.swapped
    assert removed
    assert (tmp_path / "elsewhere/empty").is_dir()


def test_retry_writes_nothing_elsewhere(spec: InboxSpec, tmp_path: Path) -> None:
    """An administrator's `retry` runs with more rights than whoever swaps the folder has."""
    tree = CanaryTree(root=tmp_path / "elsewhere")
    before = tree.begin()
    images.write(tmp_path / "failed/album/new.jpg", images.jpeg(1))

    class SwappedOnMove(RealFs):
        def move_noreplace(self, src: str, dst: str) -> bool:
            (tmp_path / "in/album").rename(tmp_path / "in/aside")
            (tmp_path / "in/album").symlink_to(tree.root)
            return super().move_noreplace(src, dst)

    put_back(SwappedOnMove(), failed_file(spec, "album/new.jpg"))
    assert not tree.changes(before)
    assert (tmp_path / "in/aside/new.jpg").exists()
