"""Slow and odd writers: whatever way a file is written in the inbox, no output stays that is made from a part of it.

Not defended, since nothing tells: a writer that stalls for longer than `incomplete_after` with the file open; one that
closes it, rests for longer than `settle`, and opens it again to write more (what it then finds is a new, empty file, or
none); holes that nobody fills. Where the kernel does not tell who has a file open (network file systems, and files of
others for a daemon without CAP_LEASE), a file that is found by a scan, or opened again after it was whole, is waited
for by its times alone, for `settle`.
"""

import mmap
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import images, logs
from tests.support.daemon import Daemon
from tests.support.oracle import Oracle, files_below
from tests.support.places import Places
from tests.support.waiting import eventually
from tests.support.whole import assert_whole, encoded, picture_of, striped

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(60)]

#: `settle` of these tests, and a pause that is longer: rescans see the file meanwhile.
SETTLE_S, LONGER_S = 0.3, 0.8
SHORT = 'settle = "300ms"\nincomplete_after = "20s"\nrescan = "1s"'
KINDS = {"a.jpg": "JPEG", "b.png": "PNG", "c.webp": "WEBP", "d.bmp": "BMP", "e.tiff": "TIFF", "f.gif": "GIF"}


def contents(oracle: Oracle) -> dict[str, bytes]:
    return {
        name: oracle.expect(name, picture_of(kind, seed, detail=kind == "JPEG"))
        for seed, (name, kind) in enumerate(KINDS.items())
    }


def all_at_once(write: Callable[[str], None], names: dict[str, bytes]) -> None:
    """Have each file written by a thread of its own."""
    with ThreadPoolExecutor(len(names)) as threads:
        list(threads.map(write, names))


def judge(places: Places, oracle: Oracle, daemon: Daemon, sent: dict[str, bytes]) -> None:
    """Wait for the end of all, then: one line each, of the whole file, with outputs that show all of it."""
    oracle.eventually(archive=len(sent))
    ends = logs.terminal(daemon.lines())
    assert sorted(line["path"] for line in ends) == sorted(sent)
    for line in ends:
        data = sent[line["path"]]
        assert (line["event"], line["bytes_in"]) == ("job.done", len(data)), line
        assert_whole(data, list(oracle.renditions(line["path"]).values()))


def chunks(data: bytes, count: int) -> Iterator[bytes]:
    step = -(-len(data) // count)
    return (data[start : start + step] for start in range(0, len(data), step))


# --- in one go, slowly ---


def test_twenty_chunks_with_pauses_shorter_than_settle(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    """Each format, kept open or opened again for every chunk: a close with a change after it was no end."""
    sent = contents(oracle)
    again = {f"again/{name}": picture_of(kind, 20) for name, kind in KINDS.items()}
    sent |= {name: oracle.expect(name, data) for name, data in again.items()}
    config = places.write_config(inbox=SHORT)
    (places.inbox / "again").mkdir()

    def write(name: str) -> None:
        path = places.inbox / name
        if name in again:
            for chunk in chunks(sent[name], 20):
                with path.open("ab") as file:
                    file.write(chunk)
                time.sleep(SETTLE_S / 4)
            return
        with path.open("wb", buffering=0) as file:
            for chunk in chunks(sent[name], 20):
                file.write(chunk)
                time.sleep(SETTLE_S / 4)

    with Daemon("-c", config, cwd=tmp_path) as daemon:
        all_at_once(write, sent)
        judge(places, oracle, daemon, sent)


def in_chunks(path: Path, data: bytes) -> None:
    """Written from the front."""
    with path.open("wb", buffering=0) as file:
        for chunk in chunks(data, 3):
            file.write(chunk)
            time.sleep(LONGER_S)
        assert_nothing_published(path)


def preallocated(path: Path, data: bytes) -> None:
    """Full size from the first moment, the end and its trailer first."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.posix_fallocate(file, 0, len(data))
    third = len(data) // 3
    for start in (2 * third, 0, third):
        os.pwrite(file, data[start : start + third + 2], start)
        time.sleep(LONGER_S)
    assert_nothing_published(path)
    os.close(file)


def sparse(path: Path, data: bytes) -> None:
    """As above, with a hole instead of room on the disk."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT)
    os.ftruncate(file, len(data))
    half = len(data) // 2
    os.pwrite(file, data[half:], half)
    time.sleep(LONGER_S)
    os.pwrite(file, data[:half], 0)
    assert_nothing_published(path)
    os.close(file)


def mapped(path: Path, data: bytes) -> None:
    """Through a mapping that outlives the descriptor: for the kernel the file is open as long."""
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    os.ftruncate(file, len(data))
    with mmap.mmap(file, len(data)) as memory:
        os.close(file)
        memory[len(data) // 2 :] = data[len(data) // 2 :]
        time.sleep(LONGER_S)
        memory[: len(data) // 2] = data[: len(data) // 2]
        assert_nothing_published(path)


def assert_nothing_published(path: Path) -> None:
    folder = path.parents[2] / "outbox" / path.parent.name
    assert not list(folder.glob(f"{path.stem}-*")), f"{path} was published early"


def test_pauses_longer_than_settle_while_the_file_is_open(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    """A writer that has not closed it is not done, however long it pauses below `incomplete_after`."""
    writers = {write.__name__: write for write in (in_chunks, preallocated, sparse, mapped)}
    sent = {
        f"{writer}/{name}": oracle.expect(f"{writer}/{name}", picture_of(kind, 10 * number))
        for number, writer in enumerate(writers)
        for name, kind in KINDS.items()
    }
    config = places.write_config(inbox=SHORT)
    for writer in writers:
        (places.inbox / writer).mkdir()
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        all_at_once(lambda name: writers[name.partition("/")[0]](places.inbox / name, sent[name]), sent)
        judge(places, oracle, daemon, sent)
        retried = [line for line in logs.select(daemon.lines(), "job.retrying") if line["level"] != "debug"]
        assert not retried, "nobody even tried"


def test_a_writer_that_began_before_the_daemon(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    """Found by the scan at the start, at rest for longer than `settle`, and of full size: but still open."""
    sent = contents(oracle)
    config = places.write_config(inbox=SHORT)
    files = {name: (places.inbox / name).open("wb", buffering=0) for name in sent}
    for name, file in files.items():
        os.posix_fallocate(file.fileno(), 0, len(sent[name]))
        file.write(sent[name][: len(sent[name]) // 2])
    time.sleep(2 * SETTLE_S)
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        daemon.wait_for("scan.finished", count=2)
        assert not logs.select(daemon.lines(), "job.queued")
        for name, file in files.items():
            file.write(sent[name][len(sent[name]) // 2 :])
            file.close()
        judge(places, oracle, daemon, sent)


def test_preallocated_closed_and_filled_by_another_before_settle(places: Places, tmp_path: Path) -> None:
    """Full size, the right trailer, zeros between, and closed: what may be made of that is replaced when it is filled."""
    data = picture_of("JPEG", 1, detail=True)
    empty = data[:1000] + bytes(len(data) - 1002) + data[-2:]
    config = places.write_config(inbox=SHORT.replace("300ms", "1s"))
    path = places.inbox / "a.jpg"
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        path.write_bytes(empty)
        daemon.wait_for("job.done", path="a.jpg")
        with path.open("r+b", buffering=0) as file:
            for chunk in chunks(data, 3):
                file.write(chunk)
                time.sleep(1.3)
        rewritten(places, daemon, "a.jpg", [empty, data])


# --- written again ---


def rewritten(places: Places, daemon: Daemon, name: str, versions: list[bytes]) -> None:
    """Judge a file that was written several times: what was rendered is one of the versions, at last the last."""
    patience_s = 20 + 20  # what ended early is tried again after `incomplete_after`
    eventually(lambda: not (places.inbox / name).exists(), patience_s)
    eventually(lambda: logs.terminal(daemon.lines(), name))
    ends = logs.terminal(daemon.lines(), name)
    assert {line["event"] for line in ends} == {"job.done"}, ends
    sizes = [len(data) for data in versions]
    assert {line["bytes_in"] for line in ends} <= set(sizes), "a version, not a part of one"
    assert ends[-1]["bytes_in"] == sizes[-1]
    assert_whole(versions[-1], files_below(places.outbox))
    assert versions[-1] in [file.read_bytes() for file in files_below(places.archive)]


@pytest.mark.parametrize(
    ("kind", "pause_s"), [("JPEG", SETTLE_S / 3), ("BMP", LONGER_S)], ids=["quickly", "slowly"]
)
def test_truncated_and_written_again(kind: str, pause_s: float, places: Places, tmp_path: Path) -> None:
    """Saved, and right away saved again, slowly: the first may come out meanwhile, a part of the second never."""
    versions = [picture_of(kind, 1), picture_of(kind, 2, (500, 300))]
    path = places.inbox / "a"
    with Daemon("-c", places.write_config(inbox=SHORT), cwd=tmp_path) as daemon:
        path.write_bytes(versions[0])
        with path.open("wb", buffering=0) as file:
            file.truncate(len(versions[1]))
            for chunk in chunks(versions[1], 4):
                file.write(chunk)
                time.sleep(pause_s)
        rewritten(places, daemon, "a", versions)


def test_written_again_while_its_first_version_is_at_work(places: Places, tmp_path: Path) -> None:
    """Rendered already, waiting to be archived when it is opened again: it stays until the writer is done with it."""
    versions = [picture_of("JPEG", 1), picture_of("JPEG", 2, (500, 300))]
    config = places.write_config(inbox=SHORT.replace("300ms", "1s"))
    path = places.inbox / "a.jpg"
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        path.write_bytes(versions[0])
        daemon.wait_for("job.done", path="a.jpg")
        file = os.open(path, os.O_RDWR)  # not changed yet
        time.sleep(1.5)
        assert path.exists(), "taken away from under its writer"
        os.pwrite(file, versions[1], 0)
        os.ftruncate(file, len(versions[1]))
        os.close(file)
        rewritten(places, daemon, "a.jpg", versions)


def test_removed_and_written_anew_slowly_while_the_first_is_rendered(places: Places, tmp_path: Path) -> None:
    """The second file is open with long pauses when the job of the first ends: that is no reason to take it."""
    new = picture_of("BMP", 2)
    path = places.inbox / "a.png"
    with Daemon("-c", places.write_config(inbox=SHORT), cwd=tmp_path) as daemon:
        images.move_in(path, images.slow_png(6016), outside=tmp_path)
        daemon.wait_for("job.started", path="a.png")
        path.unlink()
        with path.open("wb", buffering=0) as file:
            file.truncate(len(new))
            for chunk in chunks(new, 3):
                file.write(chunk)
                time.sleep(LONGER_S)
            assert not files_below(places.outbox), "published early"
        rewritten(places, daemon, "a.png", [new])


@pytest.mark.parametrize("rename", [True, False], ids=["by rename", "in place"])
def test_a_file_that_is_written_again_and_again(rename: bool, places: Places, tmp_path: Path) -> None:
    """As a webcam does, every 0.2 s, through rendering, publishing and archiving: the last version wins."""
    versions = [picture_of("JPEG", seed, (400 + 8 * seed, 300)) for seed in range(12)]
    path = places.inbox / "cam.jpg"
    with Daemon("-c", places.write_config(inbox=SHORT), cwd=tmp_path) as daemon:
        for data in versions:
            if rename:
                images.move_in(path, data, outside=tmp_path)
            else:
                path.write_bytes(data)
            time.sleep(0.2)
        rewritten(places, daemon, "cam.jpg", versions)


def test_a_scanner_that_appends_pages(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    """A TIFF that is opened and closed for every page, with pauses below `settle`, is one file in the end."""
    first = striped(1)
    data = encoded(first, "TIFF", save_all=True, append_images=[striped(seed) for seed in (2, 3)])
    oracle.expect("pages.tiff", data)
    path = places.inbox / "pages.tiff"
    with Daemon("-c", places.write_config(inbox=SHORT), cwd=tmp_path) as daemon:
        for chunk in chunks(data, 6):
            with path.open("ab") as file:
                file.write(chunk)
            time.sleep(SETTLE_S * 0.6)
        judge(places, oracle, daemon, {"pages.tiff": data})


# --- after the close ---


def test_copy2_of_big_files_finds_its_copy_until_it_is_finished(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    """`shutil.copy2` closes, then sets times, mode and attributes by name: with zero configuration it meets no ENOENT."""
    sent = {f"{seed}.jpg": picture_of("JPEG", seed, (1600, 1200), detail=True) for seed in range(4)}
    for name, data in sent.items():
        file = images.write(tmp_path / "outside" / name, oracle.expect(name, data))
        os.utime(file, (1_500_000_000, 1_500_000_000))
        file.chmod(0o640)
    with Daemon(places.root, cwd=tmp_path) as daemon:
        for name in sent:
            shutil.copy2(tmp_path / "outside" / name, places.inbox / name)
        judge(places, oracle, daemon, sent)
    for name in sent:
        status = (places.archive / name).stat()
        assert (int(status.st_mtime), status.st_mode & 0o777) == (1_500_000_000, 0o640)


def test_times_and_mode_set_by_name_a_second_after_the_close(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    """Rendered at once, for it is whole by its trailer; but there until `settle` has passed since the last change."""
    sent = {name: oracle.expect(name, picture_of(kind, 1)) for name, kind in KINDS.items()}

    def write(name: str) -> None:
        path = images.write(places.inbox / name, sent[name])
        time.sleep(1.0)
        os.utime(path, (1e9, 1e9))
        time.sleep(1.0)
        path.chmod(0o604)

    with Daemon(places.root, cwd=tmp_path) as daemon:
        all_at_once(write, sent)
        daemon.wait_for("job.done", path="a.jpg", timeout_s=0.0)
        judge(places, oracle, daemon, sent)
        done = logs.select(daemon.lines(), "job.done", path="a.jpg")
        assert done[0]["wait_s"] < 0.5
    for name in sent:
        status = (places.archive / name).stat()
        assert (status.st_mtime, status.st_mode & 0o777) == (1e9, 0o604)


# --- gone, replaced ---


def test_removed_before_it_settled(places: Places, tmp_path: Path) -> None:
    """No job, no line, no trace."""
    with Daemon("-c", places.write_config(inbox=SHORT), cwd=tmp_path) as daemon:
        path = images.write(places.inbox / "a.webp", picture_of("WEBP", 1))
        path.unlink()
        images.write(places.inbox / "b.webp", picture_of("WEBP", 2))
        daemon.wait_for("job.done", path="b.webp")
        daemon.wait_for("scan.finished", count=2)
        assert not [line for line in daemon.lines() if line.get("path") == "a.webp"]


def test_removed_after_it_was_published(places: Places, tmp_path: Path) -> None:
    """The client takes its file back while it waits for the archive: it is done, and nothing is stuck."""
    config = places.write_config(inbox=SHORT.replace("300ms", "1s"))
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        path = images.write(places.inbox / "a.jpg", picture_of("JPEG", 1))
        daemon.wait_for("job.done", path="a.jpg")
        path.unlink()
        images.write(places.inbox / "b.jpg", picture_of("JPEG", 2))
        daemon.wait_for("job.done", path="b.jpg")
        eventually(lambda: not files_below(places.inbox))
    assert len(files_below(places.outbox)) == 4
    assert len(logs.terminal(daemon.lines())) == 2


def test_replaced_by_rename_after_it_was_published(places: Places, tmp_path: Path) -> None:
    """The new file is another job of the same name; it replaces the outputs, and is what the archive gets."""
    versions = [picture_of("JPEG", 1), picture_of("JPEG", 2, (500, 300))]
    config = places.write_config(inbox=SHORT.replace("300ms", "1s"))
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        images.write(places.inbox / "a.jpg", versions[0])
        daemon.wait_for("job.done", path="a.jpg")
        images.move_in(places.inbox / "a.jpg", versions[1], outside=tmp_path)
        daemon.wait_for("job.done", path="a.jpg", count=2)
        rewritten(places, daemon, "a.jpg", versions)


def test_copied_over_while_it_is_rendered(places: Places, tmp_path: Path) -> None:
    """`cp` onto the same name truncates the very file that the worker reads: what it makes of that is discarded."""
    new = picture_of("JPEG", 1)
    with Daemon("-c", places.write_config(inbox=SHORT), cwd=tmp_path) as daemon:
        images.move_in(places.inbox / "a.png", images.slow_png(6016), outside=tmp_path)
        daemon.wait_for("job.started", path="a.png")
        (places.inbox / "a.png").write_bytes(new)
        rewritten(places, daemon, "a.png", [new])
        assert len(logs.terminal(daemon.lines())) == 1
