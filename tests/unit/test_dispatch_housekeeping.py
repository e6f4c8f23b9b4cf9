"""Housekeeping: what it removes, and what it must leave alone."""

import os
import sqlite3
import sys
import time
import weakref
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from procwatch.delivery.real_fs import RealFs
from procwatch.dispatch.housekeeping import EMPTY_FOLDER_AGE_S, Housekeeping, Keep
from procwatch.dispatch.lane import Lane
from procwatch.dispatch.ledger import Ledger
from procwatch.dispatch.ledger_reader import Known, Rendition
from procwatch.dispatch.loop import Loop
from procwatch.dispatch.schema import migrate
from procwatch.dispatch.tree import IsRoot
from procwatch.model import Identity, InboxSpec, Original

pytestmark = pytest.mark.unit


class InlineJournal:
    def __init__(self) -> None:
        connection = sqlite3.connect(":memory:", isolation_level=None)
        weakref.finalize(self, connection.close)
        migrate(connection)
        self.ledger = Ledger(connection)

    def call(self, operation: Any, **_: Any) -> Any:
        return operation(self.ledger)


class Room:
    def __init__(self) -> None:
        self.told: list[str] = []

    def room_short(self, spec: InboxSpec, folder: str, free_bytes: int) -> None:
        self.told.append("short")

    def room_again(self, spec: InboxSpec, free_bytes: int) -> None:
        self.told.append("again")

    def unstuck(self, spec: InboxSpec, known: Known) -> None:
        self.told.append(known.identity.path)


def keeper(
    root: Path, *, is_inbox: IsRoot = lambda descriptor: True, **keep: Any
) -> tuple[Housekeeping, Room, Loop, InlineJournal]:
    for name in ("inbox", "outbox", "archive", "failed"):
        (root / name).mkdir(parents=True, exist_ok=True)
    spec = InboxSpec(
        name="inbox",
        path=str(root / "inbox"),
        outbox=str(root / "outbox"),
        archive=str(root / "archive"),
        failed=str(root / "failed"),
        recipe="web",
    )
    room, loop, journal = Room(), Loop(), InlineJournal()
    wanted: dict[str, Any] = {
        "archive_s": None,
        "failed_s": None,
        "min_free_bytes": None,
        "ledger_s": None,
        **keep,
    }
    lane = Lane("keep-test", lambda error: None)
    lane.close(1.0)
    parts: dict[str, Any] = {"journal": journal, "events": room}
    house = Housekeeping(
        spec=spec,
        keep=Keep(**wanted),
        fs=RealFs(),
        loop=loop,
        lane=lane,
        is_inbox=is_inbox,
        **parts,
    )
    return house, room, loop, journal


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def test_a_subfolder_that_was_empty_for_ten_minutes_is_removed(tmp_path: Path) -> None:
    house, *_ = keeper(tmp_path)
    old, young, full = (tmp_path / "inbox" / name for name in ("old/deep", "young", "full"))
    for folder in (old, young, full):
        folder.mkdir(parents=True)
    (full / "x.jpg").write_bytes(b"x")
    age(old, EMPTY_FOLDER_AGE_S + 1)
    age(full, EMPTY_FOLDER_AGE_S + 1)
    assert house.remove_empty_folders(str(tmp_path / "inbox"), time.time()) == 1
    assert not old.exists()
    assert old.parent.exists()  # it became empty just now
    assert young.exists()
    assert full.exists()


def test_folders_nested_deeper_than_python_recurses_are_walked(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Anybody who may write the inbox can make them; os.walk ended in a RecursionError on CPython 3.11."""
    house, *_ = keeper(tmp_path, archive_s=1000.0)
    request.addfinalizer(partial(sys.setrecursionlimit, sys.getrecursionlimit()))
    sys.setrecursionlimit(1000)  # as it is usually: other tests raise it
    depth = 1200  # and a path of so many folders is still no longer than the system allows
    for top in ("inbox", "archive"):
        here = os.open(tmp_path / top, os.O_RDONLY)
        for _ in range(depth):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
        if top == "archive":
            os.close(os.open("x.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.close(here)
    later_s = time.time() + EMPTY_FOLDER_AGE_S + 3600  # each removal makes the folder above young
    assert house.remove_empty_folders(str(tmp_path / "inbox"), later_s) == depth
    assert not any((tmp_path / "inbox").iterdir())
    assert house.remove_old_files(str(tmp_path / "archive"), later_s) == 1
    assert house.remove_empty_folders(str(tmp_path / "archive"), later_s) == depth  # pytest cannot, either


def test_what_lies_in_another_folder_of_ours_inside_the_archive_is_no_old_original(tmp_path: Path) -> None:
    """And an original that is on its way has no age either."""
    house, *_ = keeper(tmp_path, archive_s=1000.0)
    archive = tmp_path / "archive"
    house._apart = lambda: frozenset({str(archive), str(archive / "out"), str(archive / "in")})
    kept = [archive / name for name in ("out/result.jpg", "in/sub/waiting.jpg", ".procwatch-held-1")]
    for file in (*kept, archive / "2024/old.jpg"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    assert house.remove_old_files(str(archive), time.time() + 10) == 1
    assert all(file.exists() for file in kept)


def test_an_inbox_that_became_a_link_is_not_tidied(tmp_path: Path) -> None:
    """It may lead to any tree, and the daemon may remove folders there."""
    house, *_ = keeper(tmp_path)
    house._is_inbox = lambda descriptor: False
    (tmp_path / "inbox/old").mkdir()
    age(tmp_path / "inbox/old", EMPTY_FOLDER_AGE_S + 1)
    house.tidy()
    assert (tmp_path / "inbox/old").exists()
    house._is_inbox = lambda descriptor: True
    house.tidy()
    assert not (tmp_path / "inbox/old").exists()


def test_the_inbox_itself_is_never_removed(tmp_path: Path) -> None:
    house, *_ = keeper(tmp_path)
    age(tmp_path / "inbox", EMPTY_FOLDER_AGE_S * 2)
    house.tidy()
    assert (tmp_path / "inbox").is_dir()


def test_nothing_old_is_removed_unless_asked(tmp_path: Path) -> None:
    house, *_ = keeper(tmp_path)
    (tmp_path / "archive" / "a.jpg").write_bytes(b"a")
    house.tidy()
    assert (tmp_path / "archive" / "a.jpg").exists()


def test_originals_leave_the_archive_by_the_time_they_came_not_by_the_cameras_clock(tmp_path: Path) -> None:
    house, *_ = keeper(tmp_path, archive_s=1000.0)
    photo = tmp_path / "archive" / "photo.jpg"
    photo.write_bytes(b"a")
    age(photo, 10 * 365 * 86400)
    house.tidy()
    assert photo.exists()
    assert house.remove_old_files(str(tmp_path / "archive"), time.time() + 1.0) == 1
    assert not photo.exists()


def test_room_is_told_once_when_short_and_once_when_there_is_enough(tmp_path: Path) -> None:
    house, room, loop, _ = keeper(tmp_path, min_free_bytes=1 << 60)
    house.check_room()
    house.check_room()
    house._keep = Keep(archive_s=None, failed_s=None, min_free_bytes=1, ledger_s=None)
    house.check_room()
    loop.post(loop.stop)
    loop.run(lambda now_s: None)
    assert room.told == ["short", "again"]


def test_old_jobs_are_forgotten_and_a_name_stays_owned_while_its_file_is_there(tmp_path: Path) -> None:
    house, _, _, journal = keeper(tmp_path, ledger_s=1.0)
    outbox = str(tmp_path / "outbox")
    for name in ("kept", "taken"):
        identity = Identity(inbox="inbox", path=f"{name}.jpg", size=1, mtime_ns=1)
        journal.ledger.start_attempt(
            f"job-{name}", identity, recipe="web", recipe_hash="h", attempt=1, queued_at=0.0
        )
        rendition = Rendition(
            output="web", outbox=outbox, name=f"{name}-web.jpg", key=f"{name}-web.jpg", staged="", inode=1, size=1,
            replace=False,
        )  # fmt: skip
        journal.ledger.publishing(
            f"job-{name}", identity, [rendition], line="{}", sha256=None, overwrite=False
        )
        journal.ledger.done(f"job-{name}", worker_pid=1)
        journal.ledger.logged([f"job-{name}"])
        journal.ledger.disposed(f"job-{name}", Original.ARCHIVED, None)
    (tmp_path / "outbox" / "kept-web.jpg").write_bytes(b"x")
    assert house.forget_old_jobs(time.time() + 1.0) == 2
    assert journal.ledger.newest("inbox", "kept.jpg") is None
    assert journal.ledger.owner(outbox, "kept-web.jpg") == ("inbox", "kept.jpg")
    assert journal.ledger.owner(outbox, "taken-web.jpg") is None


def test_a_job_whose_original_still_lies_in_the_inbox_is_never_forgotten(tmp_path: Path) -> None:
    house, _, _, journal = keeper(tmp_path, ledger_s=1.0)
    identity = Identity(inbox="inbox", path="a.jpg", size=1, mtime_ns=1)
    journal.ledger.start_attempt("job-a", identity, recipe="web", recipe_hash="h", attempt=1, queued_at=0.0)
    journal.ledger.publishing("job-a", identity, [], line="{}", sha256=None, overwrite=False)
    journal.ledger.done("job-a", worker_pid=1)
    journal.ledger.logged(["job-a"])
    journal.ledger.disposed("job-a", Original.KEPT, None)
    assert house.forget_old_jobs(time.time() + 1.0) == 0


def test_a_stuck_original_is_tried_again_when_its_folder_lets_us(tmp_path: Path) -> None:
    house, room, loop, journal = keeper(tmp_path)
    (tmp_path / "inbox" / "a.jpg").write_bytes(b"x")
    identity = Identity(inbox="inbox", path="a.jpg", size=1, mtime_ns=1)
    journal.ledger.start_attempt("job-a", identity, recipe="web", recipe_hash="h", attempt=1, queued_at=0.0)
    journal.ledger.publishing("job-a", identity, [], line="{}", sha256=None, overwrite=False)
    journal.ledger.done("job-a", worker_pid=1)
    journal.ledger.disposed("job-a", Original.STUCK, None)
    assert house.retry_stuck() == 1
    loop.post(loop.stop)
    loop.run(lambda now_s: None)
    assert room.told == ["a.jpg"]
