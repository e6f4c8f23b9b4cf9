"""Scanning real folders, lazily and at the pace of the taker."""

import os
import shutil
import threading
from pathlib import Path

import pytest

from procwatch.intake.filters import NameFilter
from procwatch.intake.scan import Found, Scanner, ScanReport, scan
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration


def paths(
    root: Path, *, recursive: bool = True, subdir: str = "", ignore: tuple[str, ...] = ()
) -> dict[str, str]:
    names = NameFilter(ignore=ignore)
    return {f.path: f.kind for f in scan(str(root), recursive=recursive, filter=names, subdir=subdir)}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b/c.jpg", "b/d/e.png", ".hidden/f.jpg", "raw/g.jpg", "b/Thumbs.db"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def test_a_scan_finds_files_below_and_prunes_ignored_folders(tree: Path) -> None:
    assert set(paths(tree, ignore=("raw",))) == {"a.jpg", "b/c.jpg", "b/d/e.png"}
    assert set(paths(tree, recursive=False)) == {"a.jpg"}


def test_a_scan_of_one_folder_yields_paths_of_the_inbox(tree: Path) -> None:
    assert set(paths(tree, subdir="b")) == {"b/c.jpg", "b/d/e.png"}
    assert paths(tree, subdir=".hidden") == {}
    assert paths(tree, subdir="b", recursive=False) == {}
    assert paths(tree, subdir="no") == {}


def test_odd_entries_are_reported_and_links_never_followed(tree: Path) -> None:
    (tree / "folder.JPG").mkdir()
    (tree / "folder.JPG" / "h.jpg").write_bytes(b"x")
    (tree / "link.jpg").symlink_to("a.jpg")
    (tree / "up").symlink_to("..")
    os.mkfifo(tree / "fifo.jpg")
    found = paths(tree, ignore=("raw", "b"))
    assert found == {
        "a.jpg": "file",
        "folder.JPG": "directory",
        "folder.JPG/h.jpg": "file",
        "link.jpg": "symlink",
        "up": "symlink",
        "fifo.jpg": "fifo",
    }
    assert paths(tree, recursive=False)["folder.JPG"] == "directory"


def test_a_name_of_any_bytes_is_found(tmp_path: Path) -> None:
    Path(os.path.join(tmp_path, os.fsdecode(b"\xff\n.jpg"))).write_bytes(b"x")
    assert set(paths(tmp_path)) == {"\udcff\n.jpg"}


def test_a_scan_survives_folders_that_vanish_under_it(tree: Path) -> None:
    errors: list[str] = []
    walk = scan(
        str(tree), recursive=True, filter=NameFilter(), on_error=lambda folder, error: errors.append(folder)
    )
    next(walk)
    shutil.rmtree(tree / "b")
    shutil.rmtree(tree / "raw")
    list(walk)
    assert errors == []


def test_a_missing_inbox_is_reported(tmp_path: Path) -> None:
    errors: list[OSError] = []
    gone = str(tmp_path / "no")
    assert (
        list(scan(gone, recursive=True, filter=NameFilter(), on_error=lambda _, error: errors.append(error)))
        == []
    )
    assert [type(error) for error in errors] == [FileNotFoundError]


def test_an_abandoned_scan_leaks_no_descriptor(tree: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    walk = scan(str(tree), recursive=True, filter=NameFilter())
    next(walk)
    del walk
    assert len(os.listdir("/proc/self/fd")) == before


class Taker:
    def __init__(self, root: Path, *, pause_once: bool = False) -> None:
        """Take the inbox; `pause_once` holds the pass behind its first chunk."""
        self.chunks: list[int] = []
        self.found: list[str] = []
        self.reports: list[ScanReport] = []
        self.held = threading.Event()
        self.pause_once = pause_once
        self.scanner = Scanner(str(root), True, NameFilter(), self.take, self.reports.append)

    def take(self, chunk: list[Found]) -> None:
        if self.pause_once and not self.held.is_set():
            self.scanner.pause()
            self.held.set()
        self.chunks.append(len(chunk))
        self.found += [found.path for found in chunk]


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    for number in range(1300):
        (tmp_path / f"{number}.jpg").touch()
    return tmp_path


def test_a_pass_comes_in_chunks_and_ends_with_a_report(crowd: Path) -> None:
    taker = Taker(crowd)
    taker.scanner.request()
    report = eventually(lambda: taker.reports)[0]
    taker.scanner.stop()
    assert len(set(taker.found)) == 1300
    assert max(taker.chunks) <= 500
    assert (report.found, report.errors, report.subdir) == (1300, 0, "")


def test_a_paused_pass_goes_on_where_it_was(crowd: Path) -> None:
    taker = Taker(crowd, pause_once=True)
    taker.scanner.request()
    eventually(lambda: len(taker.found) == 500)
    assert taker.scanner.busy
    assert taker.reports == []
    assert taker.scanner.stalled_s(1e12) == 0.0
    taker.scanner.resume()
    eventually(lambda: taker.reports)
    taker.scanner.stop()
    assert sorted(taker.found) == sorted(os.listdir(crowd))


def test_requests_during_a_pass_are_merged_into_one_more(crowd: Path) -> None:
    taker = Taker(crowd, pause_once=True)
    taker.scanner.request()
    assert taker.held.wait(10)
    for _ in range(5):
        taker.scanner.request()
        taker.scanner.request("b")
    taker.scanner.resume()
    eventually(lambda: len(taker.reports) == 2 and not taker.scanner.busy)
    taker.scanner.stop()
    assert [report.found for report in taker.reports] == [1300, 1300]


def test_one_folder_can_be_asked_for(tree: Path) -> None:
    taker = Taker(tree)
    taker.scanner.request("b")
    report = eventually(lambda: taker.reports)[0]
    taker.scanner.stop()
    assert (report.subdir, sorted(taker.found)) == ("b", ["b/c.jpg", "b/d/e.png"])


def test_a_stopped_scanner_ends_its_thread_even_when_paused(crowd: Path) -> None:
    taker = Taker(crowd, pause_once=True)
    taker.scanner.request()
    assert taker.held.wait(10)
    taker.scanner.stop()
    assert not any(thread.name == "scanner" for thread in threading.enumerate())


def test_a_pass_over_a_missing_inbox_reports_the_error(tmp_path: Path) -> None:
    taker = Taker(tmp_path / "no")
    taker.scanner.request()
    report = eventually(lambda: taker.reports)[0]
    taker.scanner.stop()
    assert (report.found, report.errors, report.first_error) == (0, 1, "the inbox: No such file or directory")
