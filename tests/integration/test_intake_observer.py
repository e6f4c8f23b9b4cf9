"""Watching a real folder with real inotify, and noticing when that goes blind."""

import gc
import os
import shutil
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, Mask, WatchDescriptor
from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper
from watchdog.utils.delayed_queue import DelayedQueue

from procwatch.intake.inotify import CarefulInotifyFD, _UnpairedQueue
from procwatch.intake.observer import InboxObserver
from procwatch.intake.settle import Cause
from tests.support import namespaces
from tests.support.unprivileged import as_nobody, public_folder
from tests.support.waiting import eventually

pytestmark = pytest.mark.integration


class Heard:
    """What an observer told, and the observer."""

    def __init__(self, root: Path, *, recursive: bool = True, polling: bool = False) -> None:
        self.arrivals: list[tuple[str, str]] = []
        self.directories: list[str] = []
        self.overflows = 0
        self.observer = InboxObserver(
            str(root),
            recursive=recursive,
            polling=polling,
            on_arrival=lambda path, cause: self.arrivals.append((path, str(cause))),
            on_directory=self.directories.append,
            on_overflow=self.count_overflow,
            polling_interval_s=0.05,
        )

    def count_overflow(self) -> None:
        self.overflows += 1

    def causes(self, path: str) -> list[str]:
        return [cause for heard, cause in self.arrivals if heard == path]

    def wait_for(self, path: str, *causes: Cause) -> None:
        wanted = [str(cause) for cause in causes]
        eventually(lambda: self.causes(path) == wanted, 5)


Listen = Callable[..., Heard]


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox").mkdir()
    return tmp_path / "inbox"


@pytest.fixture
def listen(inbox: Path) -> Iterator[Listen]:
    """Start an observer of the inbox; at the end stop it and look for what it may have left."""
    gc.collect()  # what an earlier test left open must not close during this one
    before = (len(os.listdir("/proc/self/fd")), threading.active_count())
    started: list[Heard] = []

    def start(**options: bool) -> Heard:
        heard = Heard(inbox, **options)
        heard.observer.start()
        started.append(heard)
        assert heard.observer.problem() is None
        return heard

    yield start
    for heard in started:
        heard.observer.stop()
        assert heard.observer.callback_errors == 0
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before


def test_a_written_file_is_created_then_closed(inbox: Path, listen: Listen) -> None:
    heard = listen()
    (inbox / "a.jpg").write_bytes(b"x")
    heard.wait_for("a.jpg", Cause.CREATED, Cause.CLOSED)


def test_a_file_moved_in_is_renamed(inbox: Path, listen: Listen) -> None:
    (inbox.parent / "a.jpg").write_bytes(b"x")
    heard = listen()
    (inbox.parent / "a.jpg").rename(inbox / "a.jpg")
    heard.wait_for("a.jpg", Cause.RENAMED)


def test_a_burst_of_renames_is_told_whole(inbox: Path, tmp_path: Path, listen: Listen) -> None:
    """Each as a rename, though the queue that pairs the halves of moves is one that does not look for them."""
    names = [f"{number:05}.jpg" for number in range(20_000)]
    for name in names:
        (tmp_path / name).touch()
    (inbox / "sub").mkdir()
    heard = listen()
    for name in names:
        os.rename(tmp_path / name, inbox / "sub" / name)
    eventually(lambda: len(heard.arrivals) >= len(names) or heard.overflows, 20)
    if not heard.overflows:  # the kernel's own queue holds 16,384 events, if nobody takes them
        assert {path for path, _ in heard.arrivals} == {f"sub/{name}" for name in names}
        assert {cause for _, cause in heard.arrivals} == {str(Cause.RENAMED)}


def test_a_rename_inside_the_inbox_is_renamed_under_its_new_name_only(inbox: Path, listen: Listen) -> None:
    (inbox / "a.tmp").write_bytes(b"x")
    heard = listen()
    (inbox / "a.tmp").rename(inbox / "a.jpg")
    heard.wait_for("a.jpg", Cause.RENAMED)
    assert heard.causes("a.tmp") == []


def test_a_hard_link_and_a_fifo_are_only_created(inbox: Path, listen: Listen) -> None:
    (inbox.parent / "a.jpg").write_bytes(b"x")
    heard = listen()
    os.link(inbox.parent / "a.jpg", inbox / "link.jpg")
    os.mkfifo(inbox / "fifo.jpg")
    heard.wait_for("link.jpg", Cause.CREATED)
    heard.wait_for("fifo.jpg", Cause.CREATED)


def test_a_folder_named_like_an_image_is_told_and_others_are_not(inbox: Path, listen: Listen) -> None:
    heard = listen()
    (inbox / "album").mkdir()
    (inbox / "a.jpg").mkdir()
    heard.wait_for("a.jpg", Cause.CREATED)
    assert heard.causes("album") == []


def test_every_file_of_a_copied_tree_is_heard_of(inbox: Path, listen: Listen) -> None:
    source = inbox.parent / "album"
    for number in range(200):
        (source / str(number)).mkdir(parents=True)
        for name in ("a.jpg", "b.jpg"):
            (source / str(number) / name).write_bytes(b"x")
    heard = listen()
    subprocess.run(["cp", "-r", source, inbox], check=True)
    everything = {f"album/{number}/{name}" for number in range(200) for name in ("a.jpg", "b.jpg")}
    eventually(lambda: {path for path, _ in heard.arrivals} >= everything, 10)
    assert heard.overflows == 0
    assert heard.observer.problem() is None


def test_a_folder_moved_in_is_a_directory_of_files_that_were_there(inbox: Path, listen: Listen) -> None:
    (inbox.parent / "album" / "b").mkdir(parents=True)
    (inbox.parent / "album" / "b" / "a.jpg").write_bytes(b"x")
    heard = listen()
    (inbox.parent / "album").rename(inbox / "album")
    heard.wait_for("album/b/a.jpg", Cause.SCAN)
    assert heard.directories == ["album"]
    (inbox / "album" / "b" / "new.jpg").write_bytes(b"x")
    heard.wait_for("album/b/new.jpg", Cause.CREATED, Cause.CLOSED)


def test_a_folder_renamed_inside_is_watched_under_its_new_name_even_when_warnings_are_errors(
    inbox: Path, listen: Listen
) -> None:
    (inbox / "old" / "b").mkdir(parents=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        heard = listen()
        (inbox / "old").rename(inbox / "new")
        eventually(lambda: heard.directories == ["new"], 5)
        (inbox / "new" / "b" / "a.jpg").write_bytes(b"x")

        def told() -> list[str]:
            # Before, between or behind them may come a "scan": watchdog is still listing the folder that was renamed.
            return [cause for cause in heard.causes("new/b/a.jpg") if cause != "scan"]

        eventually(lambda: told() == ["created", "closed"], 5)
    assert heard.overflows == 0


def test_a_flat_inbox_does_not_hear_of_folders_below(inbox: Path, listen: Listen) -> None:
    (inbox / "b").mkdir()
    heard = listen(recursive=False)
    (inbox / "b" / "a.jpg").write_bytes(b"x")
    (inbox / "a.jpg").write_bytes(b"x")
    heard.wait_for("a.jpg", Cause.CREATED, Cause.CLOSED)
    assert {path for path, _ in heard.arrivals} == {"a.jpg"}


def test_a_name_of_any_bytes_arrives_as_it_is(inbox: Path, listen: Listen) -> None:
    heard = listen()
    Path(os.path.join(inbox, os.fsdecode(b"\xff\n\xfe.jpg"))).write_bytes(b"x")
    heard.wait_for("\udcff\n\udcfe.jpg", Cause.CREATED, Cause.CLOSED)


def test_an_inbox_behind_a_symbolic_link_is_watched(inbox: Path) -> None:
    link = inbox.parent / "link"
    link.symlink_to("inbox")
    heard = Heard(link)
    heard.observer.start()
    try:
        (inbox / "a.jpg").write_bytes(b"x")
        heard.wait_for("a.jpg", Cause.CREATED, Cause.CLOSED)
        other = inbox.parent / "other"
        other.mkdir()
        link.unlink()
        link.symlink_to("other")
        assert heard.observer.problem() == "another folder is in its place"
    finally:
        heard.observer.stop()


def test_an_arrival_right_after_our_own_move_out_is_not_held_back(inbox: Path, listen: Listen) -> None:
    """Stock watchdog holds it for 0.5 s, waiting for the other half of the move."""
    arrived = threading.Event()
    heard = listen()
    heard.observer._on_arrival = lambda path, cause: arrived.set() if path == "b.jpg" else None
    delays_s = []
    for _ in range(3):
        (inbox / "a.jpg").write_bytes(b"x")
        (inbox.parent / "b.jpg").write_bytes(b"x")
        (inbox / "a.jpg").rename(inbox.parent / "a.jpg")
        begun_s = time.monotonic()
        (inbox.parent / "b.jpg").rename(inbox / "b.jpg")
        assert arrived.wait(5)
        delays_s.append(time.monotonic() - begun_s)
        arrived.clear()
        (inbox / "b.jpg").unlink()
    assert sorted(delays_s)[1] < 0.25


def test_a_burst_of_renames_is_not_searched_for_other_halves(listen: Listen) -> None:
    """Where watchdog keeps its queue is not public: kept elsewhere, ours would replace nothing, and n renames take n squared."""
    listen()
    groupers = [each for each in gc.get_objects() if isinstance(each, InotifyMoveEventGrouper)]
    assert [type(vars(grouper)["_queue"]) for grouper in groupers] == [_UnpairedQueue]
    assert {"find", "remove"} <= vars(DelayedQueue).keys()


def test_a_raising_callback_is_counted_and_the_observer_lives(inbox: Path) -> None:
    heard: list[str] = []

    def fail_on_a(path: str, cause: Cause) -> None:
        heard.append(path)
        if path == "a.jpg":
            raise RuntimeError(path)

    observer = InboxObserver(
        str(inbox),
        recursive=True,
        polling=False,
        on_arrival=fail_on_a,
        on_directory=heard.append,
        on_overflow=lambda: None,
    )
    observer.start()
    try:
        (inbox / "a.jpg").write_bytes(b"x")
        (inbox / "b.jpg").write_bytes(b"x")
        eventually(lambda: "b.jpg" in heard, 5)
        assert observer.callback_errors == 2
        assert observer.problem() is None
    finally:
        observer.stop()


def test_an_overflow_of_the_kernels_queue_is_told(inbox: Path, listen: Listen) -> None:
    """The reading thread is held while more files are closed than the queue takes."""
    names = [inbox / "a.jpg", inbox / "b.jpg"]  # in turns, since the kernel merges equal neighbours
    for name in names:
        name.touch()
    with namespaces.event_queue_length() as limit:
        heard = listen(recursive=False)
    instance = heard.observer._inotify
    assert instance is not None
    with instance._lock:  # its reader takes this lock for every read
        for number in range(limit + 10_000):
            os.close(os.open(names[number % 2], os.O_WRONLY))
    eventually(lambda: heard.overflows == 1, 30)
    (inbox / "after.jpg").write_bytes(b"x")
    eventually(lambda: heard.causes("after.jpg")[-1:] == ["closed"], 30)


def test_an_event_that_watchdog_cannot_handle_counts_as_lost() -> None:
    class BrokenGroup:
        def on_event(self, event: InotifyEvent) -> None:
            raise KeyError(event.name)

        def on_watch_deleted(self, wd: WatchDescriptor) -> None:
            raise KeyError(wd)

        def on_queue_overflow(self) -> None:
            pass

    lost: list[bool] = []
    with public_folder() as folder:
        instance = CarefulInotifyFD(os.fsencode(folder), lambda: lost.append(True))
        instance.start()
        wd = instance.add_callback(os.fsencode(folder), InotifyConstants.IN_CREATE, BrokenGroup(), id_=1)  # type: ignore[arg-type]
        try:
            (folder / "a").touch()
            eventually(lambda: len(lost) == 1, 5)
            instance.handle_event(InotifyEvent(WatchDescriptor(-1), InotifyConstants.IN_Q_OVERFLOW, 0, b""))
            assert len(lost) == 2
            assert instance.is_alive()
            assert not instance.root_lost
            instance.handle_event(InotifyEvent(wd, Mask(InotifyConstants.IN_IGNORED), 0, b""))
            assert instance.root_lost
        finally:
            instance.stop()
            instance.join()


@pytest.mark.parametrize("polling", [False, True])
def test_an_inbox_that_was_removed_renamed_or_replaced_is_a_problem(
    inbox: Path, listen: Listen, polling: bool
) -> None:
    heard = listen(polling=polling)
    inbox.rename(inbox.parent / "elsewhere")
    assert heard.observer.problem() == "the folder cannot be read: No such file or directory"
    inbox.mkdir()
    assert heard.observer.problem() == "another folder is in its place"
    shutil.rmtree(inbox.parent / "elsewhere")
    inbox.rmdir()
    eventually(lambda: heard.observer.problem() is not None, 5)


def test_a_deleted_inbox_is_a_problem_also_when_it_is_made_again_and_a_new_observer_heals(
    inbox: Path, listen: Listen
) -> None:
    heard = listen()
    inbox.rmdir()
    inbox.mkdir()
    eventually(lambda: heard.observer.problem() == "the folder was deleted or unmounted", 5)
    healed = listen()
    (inbox / "a.jpg").write_bytes(b"x")
    healed.wait_for("a.jpg", Cause.CREATED, Cause.CLOSED)


def test_a_missing_or_forbidden_inbox_does_not_start(inbox: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Heard(inbox / "no").observer.start()
    (inbox / "a").touch()
    with pytest.raises(NotADirectoryError):
        Heard(inbox / "a").observer.start()
    for mode in (0o000, 0o444, 0o111):
        with public_folder() as folder:
            folder.chmod(mode)
            with as_nobody(), pytest.raises(PermissionError):
                Heard(folder).observer.start()


def test_an_inbox_that_is_closed_to_us_later_is_a_problem() -> None:
    with public_folder() as folder:
        heard = Heard(folder)
        with as_nobody():
            heard.observer.start()
        try:
            folder.chmod(0o700)
            with as_nobody():
                assert heard.observer.problem() == "the folder cannot be read: Permission denied"
            folder.chmod(0o755)
            with as_nobody():
                assert heard.observer.problem() is None
        finally:
            heard.observer.stop()


def test_folders_that_cannot_be_watched_are_told(inbox: Path) -> None:
    with public_folder() as folder:
        (folder / "shut").mkdir(0)
        (folder / "open").mkdir()
        heard = Heard(folder)
        with as_nobody():
            heard.observer.start()
        try:
            assert heard.observer.problem() is None
            assert heard.observer.reduced() == (
                f"1 folder cannot be watched, first {folder}/shut: Permission denied"
            )
        finally:
            heard.observer.stop()


def test_a_stopped_or_unstarted_observer_says_so(inbox: Path, listen: Listen) -> None:
    heard = listen()
    heard.observer.stop()
    heard.observer.stop()
    assert heard.observer.problem() == "not started"
    assert Heard(inbox).observer.problem() == "not started"


def test_a_dead_emitter_is_a_problem(inbox: Path, listen: Listen) -> None:
    heard = listen()
    assert heard.observer._observer is not None
    for emitter in heard.observer._observer.emitters:
        emitter.stop()
        emitter.join()
    assert heard.observer.problem() == "the thread that reads events ended"


def test_polling_finds_new_and_changed_files_below(inbox: Path, listen: Listen) -> None:
    (inbox / "b").mkdir()
    (inbox / "old.jpg").write_bytes(b"x")
    heard = listen(polling=True)
    heard.wait_for("old.jpg", Cause.SCAN)
    (inbox.parent / "new.jpg").write_bytes(b"x")
    (inbox.parent / "new.jpg").rename(inbox / "b" / "new.jpg")
    heard.wait_for("b/new.jpg", Cause.SCAN)
    (inbox / "b" / "new.jpg").write_bytes(b"longer")
    eventually(lambda: len(heard.causes("b/new.jpg")) >= 2, 5)
    (inbox / "old.jpg").chmod(0o640)
    heard.wait_for("old.jpg", Cause.SCAN, Cause.SCAN)


def test_polling_passes_over_ignored_files_and_reports_odd_ones(inbox: Path, listen: Listen) -> None:
    (inbox / "a.part").touch()
    (inbox / "a.jpg").symlink_to("/etc/passwd")
    heard = listen(polling=True)
    heard.wait_for("a.jpg", Cause.SCAN)
    assert heard.causes("a.part") == []
