"""`procwatch run DIR` needs nothing: it makes its folders, says where to drop, and works."""

import os
import stat
from pathlib import Path

import pytest
from PIL import Image

from tests.support import images, logs, processes, terminal
from tests.support.daemon import Daemon
from tests.support.oracle import STAGING, Oracle, files_below
from tests.support.places import Places
from tests.support.waiting import eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(60)]


def test_it_makes_its_folders_and_says_when_it_is_ready(places: Places, tmp_path: Path) -> None:
    with Daemon(places.root, cwd=tmp_path) as daemon:
        for folder in (
            places.inbox,
            places.outbox,
            places.archive,
            places.failed,
            places.root / ".procwatch",
        ):
            assert folder.is_dir()
        events = [line["event"] for line in daemon.lines()]
        assert "service.started" in events
        assert events.index("service.started") < events.index("service.ready")
        assert logs.select(daemon.lines(), "pool.worker_started")
    assert places.log() == daemon.lines(), "the log file has the lines too"
    assert daemon.lines()[-1]["event"] == "service.stopped"


def test_a_dropped_photo_becomes_two_outputs_and_one_log_line(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    data = oracle.expect("holiday.jpg", images.jpeg(1, (3000, 2000)))
    with Daemon(places.root, cwd=tmp_path) as daemon:
        images.write(places.inbox / "holiday.jpg", data)
        [line] = daemon.wait_for_ends(1)
        assert line["event"] == "job.done"
        oracle.eventually(archive=1)
    outputs = {"holiday-web.jpg": (2048, 1365), "holiday-thumb.jpg": (400, 267)}
    for name, size in outputs.items():
        with Image.open(places.outbox / name) as image:
            assert (image.format, image.size) == ("JPEG", size)
    assert line["path"] == "holiday.jpg"
    assert line["bytes_in"] == len(data)
    assert line["bytes_out"] == sum(file.stat().st_size for file in files_below(places.outbox))
    assert len(line["outputs"]) == 2
    assert line["recipe"] == "web"
    assert line["attempt"] == 1
    assert line["worker_pid"] != daemon.pid
    assert 0 < line["run_s"] < 20
    assert 0 <= line["wait_s"] < 20


def test_the_log_names_the_process_that_did_the_work(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    """Every pid in the log is a living child of the daemon, and a batch is shared by all workers."""
    batch = {f"{number}.jpg": images.noisy_jpeg(number) for number in range(12)}
    places.make()
    for name, data in batch.items():  # all at once, so that they settle at once
        images.write(places.inbox / name, oracle.expect(name, data))
    with Daemon(places.root, cwd=tmp_path) as daemon:
        daemon.wait_for_ends(12)
        workers = logs.done_pids(daemon.lines())
        assert set(workers) <= set(daemon.descendants())
        assert all(processes.alive(pid) for pid in workers)
        if len(os.sched_getaffinity(0)) >= 2 and len(daemon.worker_pids()) >= 2:
            assert len(workers) >= 2, workers
        assert sum(workers.values()) == 12
        oracle.eventually(archive=12)


def test_small_pictures_are_not_enlarged_and_transparent_ones_become_webp(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    with Daemon(places.root, cwd=tmp_path) as daemon:
        images.write(
            places.inbox / "logo.png", oracle.expect("logo.png", images.transparent_png(3, (300, 200)))
        )
        daemon.wait_for("job.done", path="logo.png")
        oracle.eventually(archive=1)
    for output in ("web", "thumb"):
        with Image.open(places.outbox / f"logo-{output}.webp") as image:
            assert (image.format, image.mode, image.size) == ("WEBP", "RGBA", (300, 200))
            assert image.getpixel((299, 100))[3] == 0  # type: ignore[index]


def test_modes_do_not_depend_on_the_umask(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    """Outputs are 0664 in folders of 02775, also when the service runs with umask 077."""
    with Daemon(places.root, cwd=tmp_path, umask=0o077) as daemon:
        images.write(places.inbox / "album/deep/a.jpg", oracle.expect("album/deep/a.jpg", images.jpeg(4)))
        bad = b"not a picture at all, but long enough to be one"
        images.write(places.inbox / "bad.jpg", oracle.expect("bad.jpg", bad))
        daemon.wait_for("job.done", path="album/deep/a.jpg")
        daemon.wait_for("job.failed", path="bad.jpg")
        oracle.eventually(archive=1, failed=1)
    for file in files_below(places.outbox):
        assert stat.S_IMODE(file.stat().st_mode) == 0o664, file
    made = [places.outbox / "album", places.outbox / "album/deep", places.archive / "album/deep"]
    for folder in made:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o2775, folder
    assert stat.S_IMODE((places.failed / "bad.jpg.error.json").stat().st_mode) == 0o664


def test_the_folder_tree_is_kept(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    with Daemon(places.root, cwd=tmp_path) as daemon:
        paths = ["top.jpg", "2026/one.jpg", "2026/june/two.jpg", "2026/june/a b/three.jpg"]
        for seed, path in enumerate(paths):
            images.write(places.inbox / path, oracle.expect(path, images.jpeg(10 + seed)))
        daemon.wait_for_ends(len(paths))
        oracle.eventually(archive=len(paths))
    for path in paths:
        assert (places.archive / path).is_file()
    slots = [path for path in (places.outbox / STAGING).iterdir() if path.is_dir()]
    assert all(slot.name.startswith("slot-") for slot in slots)


def test_on_a_terminal_it_is_readable_and_the_json_goes_to_the_log_file(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    with terminal.Session("run", str(places.root), cwd=tmp_path) as session:
        session.wait_for_text(str(places.inbox))
        assert "drop" in session.text().lower()
        images.write(places.inbox / "seen.jpg", oracle.expect("seen.jpg", images.jpeg(5)))
        session.wait_for_text("seen.jpg")
        eventually(lambda: logs.terminal(places.log(), "seen.jpg"))
        oracle.eventually(archive=1)
        session.press_ctrl_c()
        assert session.wait() == 0
    shown = [line for line in session.text().splitlines() if line.startswith("{")]
    assert not shown, f"JSON on a terminal: {shown[:2]}"
    logs.judge(places.log(), orderly=True)
