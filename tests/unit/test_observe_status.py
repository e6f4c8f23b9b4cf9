"""The status snapshot: when it is written, and what a reader makes of what it finds."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from procwatch.observe.status import StatusSnapshot, read_status

pytestmark = pytest.mark.unit


class Disk:
    """Remembers what was written; refuses while `full`."""

    def __init__(self) -> None:
        self.written: list[tuple[str, dict[str, Any], int]] = []
        self.full = False

    def __call__(self, path: str, data: bytes, mode: int) -> None:
        if self.full:
            raise OSError(28, "No space left on device")
        self.written.append((path, json.loads(data), mode))


def test_a_change_is_written_at_most_once_a_second() -> None:
    disk = Disk()
    snapshot = StatusSnapshot(state_dir="/state", write=disk, pid=7)
    times = [0.0, 0.5, 0.99, 1.0, 1.5, 2.2]
    assert [snapshot.offer({"waiting": now}, now_s=now, wall_s=now) for now in times] == [
        True, False, False, True, False, True,
    ]  # fmt: skip
    assert disk.written[0] == ("/state/status.json", {"pid": 7, "written_at_s": 0.0, "waiting": 0.0}, 0o644)


def test_an_idle_daemon_writes_every_five_seconds_so_that_it_is_known_to_live() -> None:
    disk = Disk()
    snapshot = StatusSnapshot(state_dir="/state", write=disk)
    for second in range(11):
        snapshot.offer({"waiting": 0}, now_s=float(second), wall_s=float(second))
    assert [content["written_at_s"] for _, content, _ in disk.written] == [0.0, 5.0, 10.0]


def test_a_full_disk_is_counted_and_tried_again() -> None:
    disk = Disk()
    snapshot = StatusSnapshot(state_dir="/state", write=disk)
    disk.full = True
    assert not snapshot.offer({"a": 1}, now_s=0.0, wall_s=0.0)
    assert snapshot.failures == 1
    disk.full = False
    assert snapshot.offer({"a": 1}, now_s=1.0, wall_s=1.0)


def test_the_end_is_written_regardless_of_the_time() -> None:
    disk = Disk()
    snapshot = StatusSnapshot(state_dir="/state", write=disk)
    snapshot.offer({"state": "running"}, now_s=0.0, wall_s=0.0)
    assert snapshot.write_now({"state": "stopped"}, now_s=0.1, wall_s=0.1)
    assert disk.written[-1][1]["state"] == "stopped"


def test_any_name_survives_the_snapshot() -> None:
    disk = Disk()
    StatusSnapshot(state_dir="/s", write=disk).offer({"path": "a\n\udcff\u202e.jpg"}, now_s=0.0, wall_s=0.0)
    assert disk.written[0][1]["path"] == "a\n\udcff\u202e.jpg"


def leave(folder: Path, content: str) -> str:
    (folder / "status.json").write_text(content)
    return str(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", "\x00"])
def test_what_is_no_snapshot_reads_as_none(tmp_path: Path, content: str) -> None:
    assert read_status(leave(tmp_path, content)) is None
    assert read_status(str(tmp_path / "nowhere")) is None


@pytest.mark.parametrize(
    ("pid", "age_s", "stale"),
    [
        (os.getpid(), 3.0, False),
        (os.getpid(), 16.0, True),
        (2**22 + 5, 0.0, True),
        ("x", 0.0, True),
        (True, 0.0, True),
        (2**70, 0.0, True),
    ],
    ids=["ours", "old", "gone", "text", "bool", "huge"],
)
def test_a_snapshot_is_stale_when_it_is_old_or_its_process_is_gone(
    tmp_path: Path, pid: object, age_s: float, stale: bool
) -> None:
    found = read_status(
        leave(tmp_path, json.dumps({"pid": pid, "written_at_s": 100.0})), wall_s=100.0 + age_s
    )
    assert found is not None
    assert (found["stale"], found["age_s"]) == (stale, age_s)


def test_a_clock_that_was_set_back_does_not_make_a_negative_age(tmp_path: Path) -> None:
    found = read_status(leave(tmp_path, json.dumps({"pid": os.getpid(), "written_at_s": 100.0})), wall_s=50.0)
    assert found is not None
    assert found["age_s"] == 0.0


def test_a_snapshot_without_a_time_is_stale(tmp_path: Path) -> None:
    found = read_status(leave(tmp_path, json.dumps({"pid": os.getpid()})))
    assert found is not None
    assert (found["stale"], found["age_s"]) == (True, None)
