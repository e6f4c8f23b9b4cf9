"""However a file arrives, it is processed once, when it is whole."""

import contextlib
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import images, logs
from tests.support.daemon import Daemon
from tests.support.oracle import Oracle, files_below
from tests.support.places import Places
from tests.support.waiting import eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(60)]


def test_cp_mv_and_cp_r_are_all_seen(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    for seed, name in enumerate(["copied.jpg", "moved.jpg", "album/x.jpg", "album/sub/y.jpg"]):
        images.write(outside / name, oracle.expect(name, images.jpeg(20 + seed)))
    with Daemon(places.root, cwd=tmp_path) as daemon:
        subprocess.run(["cp", outside / "copied.jpg", places.inbox], check=True)
        subprocess.run(["mv", outside / "moved.jpg", places.inbox], check=True)
        subprocess.run(["cp", "-r", outside / "album", places.inbox], check=True)
        daemon.wait_for_ends(4)
        oracle.eventually(archive=4)
    found = logs.select(daemon.lines(), "job.done")
    assert sorted(line["path"] for line in found) == [
        "album/sub/y.jpg",
        "album/x.jpg",
        "copied.jpg",
        "moved.jpg",
    ]


def test_a_folder_that_is_moved_in_is_processed_with_everything_in_it(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    for seed, name in enumerate(["roll/1.jpg", "roll/b/2.jpg"]):
        images.write(tmp_path / "outside" / name, oracle.expect(name, images.jpeg(30 + seed)))
    config = places.write_config()
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        os.rename(tmp_path / "outside/roll", places.inbox / "roll")
        daemon.wait_for_ends(2)
        oracle.eventually(archive=2)


def test_a_rename_in_starts_at_once(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    """A file that came by `mv` is whole: nothing waits for the 2 s of `settle`, not even after earlier files."""
    with Daemon(places.root, cwd=tmp_path) as daemon:
        for number in range(4):
            name = f"{number}.webp"
            began = time.monotonic()
            data = oracle.expect(name, images.webp(40 + number))
            images.move_in(places.inbox / name, data, outside=tmp_path)
            daemon.wait_for("job.done", path=name)
            assert time.monotonic() - began < 1.5, f"{name} waited"
        oracle.eventually(archive=4)


def test_a_slow_writer_is_waited_for(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    """Written in 20 chunks over two seconds, one file kept open and one opened again for every chunk."""
    whole = {"open.jpg": images.noisy_jpeg(50), "reopened.jpg": images.noisy_jpeg(51)}
    for name, data in whole.items():
        oracle.expect(name, data)
    config = places.write_config(inbox='settle = "500ms"\nincomplete_after = "10s"')

    def write_slowly(name: str, *, reopen: bool) -> None:
        data = whole[name]
        step = len(data) // 19
        file = (places.inbox / name).open("wb", buffering=0)
        for start in range(0, len(data), step):
            file.write(data[start : start + step])
            if reopen:
                file.close()
                file = (places.inbox / name).open("ab", buffering=0)
            time.sleep(0.1)
        file.close()

    with Daemon("-c", config, cwd=tmp_path) as daemon:
        writers = [
            threading.Thread(target=write_slowly, args=(name,), kwargs={"reopen": name == "reopened.jpg"})
            for name in whole
        ]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        lines = daemon.wait_for_ends(2)
        oracle.eventually(archive=2)
    assert {line["path"]: line["bytes_in"] for line in lines} == {k: len(v) for k, v in whole.items()}
    assert {line["event"] for line in lines} == {"job.done"}


def test_what_was_there_before_the_start_is_processed(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    places.make()
    for number in range(5):
        path = f"old/{number}.jpg" if number % 2 else f"{number}.jpg"
        images.write(places.inbox / path, oracle.expect(path, images.jpeg(60 + number)))
    with Daemon(places.root, cwd=tmp_path) as daemon:
        daemon.wait_for_ends(5)
        oracle.eventually(archive=5)


def test_polling_finds_files_too(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    config = places.write_config(inbox='observer = "polling"')
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        images.write(places.inbox / "polled.jpg", oracle.expect("polled.jpg", images.jpeg(70)))
        images.write(places.inbox / "sub/polled.jpg", oracle.expect("sub/polled.jpg", images.jpeg(71)))
        daemon.wait_for_ends(2)
        oracle.eventually(archive=2)


def test_files_of_tools_and_systems_are_left_alone(places: Places, tmp_path: Path) -> None:
    """The default ignore list: half-made downloads, dotfiles and litter stay where they are, unread."""
    names = [
        ".hidden.jpg",
        "._photo.jpg",
        "Thumbs.db",
        "desktop.ini",
        "~$letter.jpg",
        *(f"photo.jpg.{end}" for end in ("tmp", "part", "partial", "crdownload", "filepart", "download")),
        ".syncthing.photo.jpg.tmp",
        "_UNPACK_album/photo.jpg",
        "@eaDir/photo.jpg",
        "__MACOSX/photo.jpg",
        ".stfolder/photo.jpg",
    ]
    config = places.write_config()
    for name in names:
        images.write(places.inbox / name, images.jpeg(80))
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        images.write(places.inbox / "real.jpg", images.jpeg(81))
        daemon.wait_for("job.done", path="real.jpg")
        daemon.wait_for("scan.finished", count=2)  # the periodic one looked at everything again
    assert [line["path"] for line in logs.terminal(daemon.lines())] == ["real.jpg"]
    assert all((places.inbox / name).exists() for name in names)


def test_a_download_that_is_renamed_when_it_is_complete_is_processed_under_its_final_name(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    with Daemon(places.root, cwd=tmp_path) as daemon:
        part = images.write(places.inbox / "big.jpg.part", oracle.expect("big.jpg", images.jpeg(90)))
        part.rename(places.inbox / "big.jpg")
        daemon.wait_for("job.done", path="big.jpg")
        oracle.eventually(archive=1)


def test_the_same_name_dropped_again_replaces_its_own_outputs(places: Places, tmp_path: Path) -> None:
    """A source owns its output names; the archive keeps both originals."""
    with Daemon("-c", places.write_config(), cwd=tmp_path) as daemon:
        first, second = images.jpeg(91), images.jpeg(92, (200, 100))
        images.write(places.inbox / "logo.jpg", first)
        daemon.wait_for("job.done", path="logo.jpg")
        eventually(lambda: not (places.inbox / "logo.jpg").exists())
        images.write(places.inbox / "logo.jpg", second)
        daemon.wait_for("job.done", path="logo.jpg", count=2)
        eventually(lambda: not (places.inbox / "logo.jpg").exists())
    assert sorted(file.name for file in places.outbox.iterdir() if file.is_file()) == [
        "logo-thumb.jpg",
        "logo-web.jpg",
    ]
    assert images.size(places.outbox / "logo-web.jpg") == (200, 100)
    kept = {file.read_bytes() for file in places.archive.iterdir()}
    assert kept == {first, second}


def test_two_sources_never_overwrite_each_others_outputs(places: Places, tmp_path: Path) -> None:
    """`a.jpg` and `a.bmp` both want `a-web.jpg`: both get their own."""
    places.make()
    images.write(places.inbox / "a.jpg", images.jpeg(93, (100, 50)))
    images.write(places.inbox / "a.bmp", images.bmp(94, (50, 100)))
    with Daemon("-c", places.write_config(), cwd=tmp_path) as daemon:
        daemon.wait_for_ends(2)
    webs = [file for file in places.outbox.iterdir() if file.is_file() and "-web" in file.name]
    assert sorted(images.size(file) for file in webs) == [(50, 100), (100, 50)]


def test_on_success_delete_leaves_no_original(places: Places, tmp_path: Path) -> None:
    with Daemon("-c", places.write_config(inbox='on_success = "delete"'), cwd=tmp_path) as daemon:
        images.write(places.inbox / "gone.jpg", images.jpeg(95))
        daemon.wait_for("job.done", path="gone.jpg")
        eventually(lambda: not (places.inbox / "gone.jpg").exists())
    assert not list(places.archive.rglob("*.jpg"))
    assert (places.outbox / "gone-web.jpg").is_file()


def test_a_file_that_is_replaced_while_it_is_rendered_comes_out_as_the_new_one(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    """The worker reads the old file to its end; what it made of it is discarded, and the new file is rendered."""
    with Daemon("-c", places.write_config(), cwd=tmp_path) as daemon:
        images.move_in(places.inbox / "a.png", images.slow_png(6016), outside=tmp_path)
        daemon.wait_for("job.started", path="a.png")
        data = oracle.expect("a.png", images.transparent_png(1, (100, 60)))
        images.move_in(places.inbox / "a.png", data, outside=tmp_path)
        oracle.eventually(archive=1)
        [done] = logs.terminal(daemon.lines())
        assert done["bytes_in"] == len(data)
    assert images.size(oracle.renditions("a.png")["web"]) == (100, 60)


def test_a_file_that_is_removed_while_it_is_rendered_leaves_nothing(places: Places, tmp_path: Path) -> None:
    with Daemon("-c", places.write_config(), cwd=tmp_path) as daemon:
        images.move_in(places.inbox / "a.png", images.slow_png(6016), outside=tmp_path)
        daemon.wait_for("job.started", path="a.png")
        (places.inbox / "a.png").unlink()
        daemon.wait_for("job.vanished", path="a.png")
    assert not logs.terminal(daemon.lines())
    for folder in (places.outbox, places.archive, places.failed):
        assert not files_below(folder)


def test_a_flood_of_small_files_in_many_folders_is_processed_to_the_last(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    """Files land in folders faster than these can be watched: what no event told, the scans find."""
    with Daemon("-c", places.write_config(), cwd=tmp_path) as daemon:
        for number in range(200):
            path = f"{number % 40}/{number}.jpg"
            images.write(places.inbox / path, oracle.expect(path, images.jpeg(number, (48, 32))))
        oracle.eventually(40, archive=200)
        ends = logs.terminal(daemon.lines())
        assert len(ends) == len({line["path"] for line in ends}) == 200


def test_an_archive_on_another_file_system_gets_copies_that_are_whole(places: Places, tmp_path: Path) -> None:
    """A rename cannot cross file systems: copy, fsync, rename, and only then the original goes."""
    with other_file_system(tmp_path) as other:
        config = places.write_config()
        config.write_text(config.read_text().replace(str(places.archive), str(other)))
        with Daemon("-c", config, cwd=tmp_path) as daemon:
            data = images.jpeg(1)
            images.write(places.inbox / "album/far.jpg", data)
            daemon.wait_for("job.done", path="album/far.jpg")
            eventually(lambda: not (places.inbox / "album/far.jpg").exists())
        assert [file.relative_to(other).as_posix() for file in files_below(other)] == ["album/far.jpg"]
        assert (other / "album/far.jpg").read_bytes() == data


@contextlib.contextmanager
def other_file_system(here: Path) -> Iterator[Path]:
    """Give a folder that is not on the file system of `here`, or skip the test."""
    if not os.access("/dev/shm", os.W_OK) or Path("/dev/shm").stat().st_dev == here.stat().st_dev:
        pytest.skip("no second file system that can be written to: /dev/shm is missing")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)
