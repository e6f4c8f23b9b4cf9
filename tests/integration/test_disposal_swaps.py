"""Somebody swaps or removes folders between the look at an original and its removal; a real disk."""

import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from procwatch.control.retrying import failed_file, put_back
from procwatch.delivery.real_fs import RealFs
from procwatch.dispatch.disposing import Disposer
from procwatch.dispatch.housekeeping import EMPTY_FOLDER_AGE_S, Housekeeping
from procwatch.dispatch.journal import Journal
from procwatch.dispatch.orders import UNKNOWN_INODE, Disposal, Disposed, DisposeOrder
from procwatch.model import Fingerprint, InboxSpec, Original
from tests.support import images
from tests.support.canaries import CanaryTree
from tests.unit.test_dispatch_power_cut import Ears

pytestmark = pytest.mark.integration

JOB = "00000000000000abcd"


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


def disposed(
    spec: InboxSpec, fs: RealFs, fingerprint: Fingerprint, ctime_ns: int, disposal: Disposal
) -> list[Disposed]:
    """Dispose of album/a.jpg; return what became of it."""
    return disposed_in_one_batch(spec, fs, [order("album/a.jpg", fingerprint, ctime_ns, disposal)])


def disposed_in_one_batch(spec: InboxSpec, fs: RealFs, orders: list[DisposeOrder]) -> list[Disposed]:
    ears = Ears()
    disposer = Disposer(
        spec=spec,
        fs=fs,
        journal=cast("Journal", NoJournal()),
        post=lambda function, *arguments: function(*arguments),
        results=ears,
    )
    disposer.dispose(orders)
    return ears.ended


def order(
    path: str, fingerprint: Fingerprint, ctime_ns: int, disposal: Disposal, job: str = JOB
) -> DisposeOrder:
    return DisposeOrder(
        job=job,
        path=path,
        fingerprint=fingerprint,
        ctime_ns=ctime_ns,
        sha256=None,
        disposal=disposal,
        report={"job": job},
    )


def order_for(file: Path, inbox: Path, disposal: Disposal, number: int) -> DisposeOrder:
    status = file.stat()
    path = str(file.relative_to(inbox))
    return order(path, Fingerprint.of(status), status.st_ctime_ns, disposal, f"{number:018x}")


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
    ended = disposed(spec, fs, Fingerprint.of(status), status.st_ctime_ns, disposal)
    assert fs.swapped
    assert not tree.changes(before)
    assert not (tmp_path / "in/aside/a.jpg").exists(), "it was the job's file, wherever its folder is by now"
    wanted = {"archive": Original.ARCHIVED, "delete": Original.DELETED, "failed": Original.FAILED}
    assert [(what.result, what.original) for what in ended] == [("disposed", wanted[disposal])]


def test_an_original_whose_folder_is_a_link_by_now_is_not_the_jobs(spec: InboxSpec, tmp_path: Path) -> None:
    tree = CanaryTree(root=tmp_path / "elsewhere")
    before = tree.begin()
    status = (tree.root / "a.jpg").stat()
    (tmp_path / "in/album").rmdir()
    (tmp_path / "in/album").symlink_to(tree.root)
    ended = disposed(spec, RealFs(), Fingerprint.of(status), status.st_ctime_ns, "delete")
    assert [what.result for what in ended] == ["changed"]
    assert not tree.changes(before)


class CountingFs(RealFs):
    """Counts the looks at each path."""

    def __init__(self) -> None:
        self.looks: Counter[str] = Counter()

    def lstat(self, path: str) -> os.stat_result | None:
        self.looks[path] += 1
        return super().lstat(path)

    def make_dirs(self, path: str, mode: int) -> list[str]:
        self.looks[path] += 1
        return super().make_dirs(path, mode)


class TidyingFs(RealFs):
    """After the first original was placed, `change` happens to the archive."""

    def __init__(self, change: Callable[[], None]) -> None:
        self._change: Callable[[], None] | None = change

    def move_noreplace(self, src: str, dst: str) -> bool:
        renamed = super().move_noreplace(src, dst)
        if self._change is not None:
            self._change()
            self._change = None
        return renamed


def test_a_batch_looks_at_each_folder_of_the_archive_once(spec: InboxSpec, tmp_path: Path) -> None:
    inbox = tmp_path / "in"
    files = [images.write(inbox / f"album/sub/{number}.jpg", images.jpeg(number)) for number in range(5)]
    fs = CountingFs()
    orders = [order_for(file, inbox, "archive", number) for number, file in enumerate(files)]
    ended = disposed_in_one_batch(spec, fs, orders)
    assert [what.original for what in ended] == [Original.ARCHIVED] * 5
    looks = {path: count for path, count in fs.looks.items() if "/archive/album" in path}
    assert looks == {f"{spec.archive}/album": 1, f"{spec.archive}/album/sub": 2}, "one is to make it"
    before = fs.looks.total()
    images.write(inbox / "album/sub/6.jpg", images.jpeg(6))
    disposed_in_one_batch(spec, fs, [order_for(inbox / "album/sub/6.jpg", inbox, "archive", 6)])
    assert fs.looks.total() > before + 4, "the next batch looks again"


@pytest.mark.parametrize(
    "change", ["folder removed", "archive removed", "file in its place", "original removed"]
)
def test_what_happens_to_the_archive_in_the_middle_of_a_batch_troubles_nobody(
    change: str, spec: InboxSpec, tmp_path: Path
) -> None:
    inbox, archive = tmp_path / "in", tmp_path / "archive"
    files = [images.write(inbox / f"album/{number}.jpg", images.jpeg(number)) for number in range(3)]

    def happen() -> None:
        (archive / "album").rename(tmp_path / "aside")
        if change == "archive removed":
            archive.rmdir()
        elif change == "file in its place":
            (archive / "album").touch()

    fs = TidyingFs(files[2].unlink if change == "original removed" else happen)
    orders = [order_for(file, inbox, "archive", number) for number, file in enumerate(files)]
    ended = disposed_in_one_batch(spec, fs, orders)
    if change == "file in its place":  # it was on its way already; bringing it back touched it
        assert ended[1].result == "touched"
        again = replace(orders[1], ctime_ns=ended[1].ctime_ns)
        ended[1:2] = disposed_in_one_batch(spec, fs, [again])
    folder = archive / ("album-2" if change == "file in its place" else "album")
    third = Original.GONE if change == "original removed" else Original.ARCHIVED
    assert [what.original for what in ended] == [Original.ARCHIVED, Original.ARCHIVED, third]
    assert ended[1].moved_to == str(folder / "1.jpg")
    assert (folder / "1.jpg").read_bytes() == images.jpeg(1)
    assert not list(archive.glob(".procwatch-held-*"))


def test_an_original_that_is_removed_between_look_and_rename_is_gone_without_trouble(
    spec: InboxSpec, tmp_path: Path
) -> None:
    class RemovingFs(RealFs):
        def rename_noreplace(self, src: str, dst: str) -> None:
            original.unlink(missing_ok=True)
            super().rename_noreplace(src, dst)

    original = images.write(tmp_path / "in/album/a.jpg", images.jpeg(1))
    ended = disposed_in_one_batch(spec, RemovingFs(), [order_for(original, tmp_path / "in", "archive", 1)])
    assert [what.original for what in ended] == [Original.GONE]
    assert list((tmp_path / "archive").iterdir()) == [], "no litter"


class ReplacingFs(SwappingFs):
    """After the first look at an entry called `name`, its folder is another one, with what was in `elsewhere`."""

    def swap(self) -> None:
        self.swapped = True
        self._folder.rename(self._folder.with_name("aside"))
        self._elsewhere.rename(self._folder)


@pytest.mark.parametrize("disposal", ["archive", "delete"])
def test_a_folder_that_is_replaced_in_the_middle_of_a_batch(
    disposal: Disposal, spec: InboxSpec, tmp_path: Path
) -> None:
    """The first file was found before, the second is in the old folder, the third in the new one, the fourth in none."""
    inbox = tmp_path / "in"
    files = [images.write(inbox / "album" / name, images.jpeg(1)) for name in ("1.jpg", "2.jpg", "4.jpg")]
    files.insert(2, images.write(inbox / "new/3.jpg", images.jpeg(3)))
    orders = [order_for(file, inbox, disposal, number) for number, file in enumerate(files)]
    orders[2] = replace(orders[2], path="album/3.jpg")
    files[3].unlink()
    fs = ReplacingFs("1.jpg", inbox / "album", inbox / "new")
    ended = disposed_in_one_batch(spec, fs, orders)
    assert fs.swapped
    gone = Original.ARCHIVED if disposal == "archive" else Original.DELETED
    assert [what.original for what in ended] == [gone, gone, gone, Original.GONE]
    assert not [path for path in inbox.rglob("*") if path.is_file()]


def test_a_folder_that_becomes_a_link_in_the_middle_of_a_batch(spec: InboxSpec, tmp_path: Path) -> None:
    """What is still found is the job's own; what is not found is not looked for behind the link."""
    tree = CanaryTree(root=tmp_path / "elsewhere")
    before = tree.begin()
    inbox = tmp_path / "in"
    first, second = (images.write(inbox / "album" / name, images.jpeg(1)) for name in ("b.jpg", "a.jpg"))
    orders = [order_for(file, inbox, "delete", number) for number, file in enumerate((first, second))]
    second.unlink()
    fs = SwappingFs("b.jpg", inbox / "album", tree.root)
    ended = disposed_in_one_batch(spec, fs, orders)
    assert fs.swapped
    assert [what.result for what in ended] == ["disposed", "changed"]
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


class RefillingFs(SwappingFs):
    """After the look, something else has the original's name, and once that was taken it has it again."""

    def __init__(self, original: Path, plant: Callable[[Path], None]) -> None:
        super().__init__(original.name, original.parent, original.parent)
        self._original, self._plant = original, plant
        self.refilled = False

    def swap(self) -> None:
        self.swapped = True
        self._original.rename(self._original.with_name("aside"))
        self._plant(self._original)

    def rename_noreplace(self, src: str, dst: str) -> None:
        super().rename_noreplace(src, dst)
        if self.swapped and not self.refilled:
            self.refilled = True
            self._plant(self._original)


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder on a file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(params=["here", "other disk"])
def placed(request: pytest.FixtureRequest, spec: InboxSpec, other_disk: Path) -> InboxSpec:
    """The inbox, with archive and failed folder on its own or on another file system."""
    if request.param == "here":
        return spec
    for name in ("archive", "failed"):
        (other_disk / name).mkdir()
    return replace(spec, archive=str(other_disk / "archive"), failed=str(other_disk / "failed"))


@pytest.mark.parametrize("disposal", ["archive", "delete", "failed"])
@pytest.mark.parametrize("plant", ["file", "link", "folder"])
def test_what_took_the_originals_name_goes_back(
    disposal: Disposal, plant: str, placed: InboxSpec, tmp_path: Path
) -> None:
    """A new picture must not be archived unrendered, and a link must never lie in the archive: others go through it."""
    plants: dict[str, Callable[[Path], None]] = {
        "file": Path.touch,
        "link": lambda path: path.symlink_to(tmp_path),
        "folder": Path.mkdir,
    }
    original = images.write(tmp_path / "in/album/a.jpg", images.jpeg(1))
    fs = RefillingFs(original, plants[plant])
    status = original.stat()
    ended = disposed(placed, fs, Fingerprint.of(status), status.st_ctime_ns, disposal)
    assert fs.refilled
    assert [what.result for what in ended] == ["changed"]
    left = sorted(path.name for path in (tmp_path / "in/album").iterdir())
    assert left == ["a-2.jpg", "a.jpg", "aside"], "both are still in the inbox, under names that a scan finds"
    for folder in (placed.archive, placed.failed):
        assert list(Path(folder).rglob("*")) == []


def test_a_copy_never_means_setuid_for_the_daemons_user(tmp_path: Path, other_disk: Path) -> None:
    """Its owner may not be kept: then the dropper's setuid bit would be worth the daemon's rights."""
    program = images.write(tmp_path / "program", b"\x7fELF")
    program.chmod(0o6755)
    RealFs().move_noreplace(str(program), str(other_disk / "program"))
    assert (other_disk / "program").stat().st_mode & 0o7777 == 0o755


def test_what_was_held_when_the_daemon_died_is_placed_at_the_next_start(
    spec: InboxSpec, tmp_path: Path
) -> None:
    """Also when somebody has dropped a new file of that name since: that is another job."""
    original = images.write(tmp_path / "archive/.procwatch-held-00000000000000abcd", images.jpeg(1))
    new = images.write(tmp_path / "in/album/a.jpg", images.jpeg(2))
    status = original.stat()
    ended = disposed(
        spec, RealFs(), replace(Fingerprint.of(status), device=0, inode=UNKNOWN_INODE), 0, "archive"
    )
    assert [what.original for what in ended] == [Original.ARCHIVED]
    assert (tmp_path / "archive/album/a.jpg").read_bytes() == images.jpeg(1)
    assert new.read_bytes() == images.jpeg(2)
