"""However fast files come, and however many: each is processed once, and the daemon's memory stays small."""

import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.bench.waiting import rss_bytes
from tests.support import images, logs, namespaces
from tests.support.daemon import Daemon, procwatch
from tests.support.oracle import Oracle, digest, files_below
from tests.support.places import Places
from tests.support.waiting import eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(1800)]

#: Tiny pictures, one tiny output each: what is measured is what comes before and after rendering.
_RECIPE = """
[recipe.dot.output.dot]
steps = [{ op = "fit", width = 8, height = 8 }]
format = "png"
"""
_WRITER = """
import os, sys
source, target, per_folder = sys.argv[1], sys.argv[2], int(sys.argv[3])
contents = [(name, open(os.path.join(source, name), "rb").read()) for name in sorted(os.listdir(source))]
for number, (name, data) in enumerate(contents):
    folder = target
    if per_folder:
        folder = os.path.join(target, f"{name[0]}{number // per_folder}")
        if number % per_folder == 0:
            os.mkdir(folder)
    with open(os.path.join(folder, name), "wb") as file:
        file.write(data)
"""


def flood(
    daemon: Daemon,
    places: Places,
    oracle: Oracle,
    outside: Path,
    count: int,
    *,
    writers: int,
    per_folder: int = 0,
) -> float:
    """Write `count` pictures as fast as `writers` processes can; return the seconds until all are done."""
    for writer in range(writers):
        source = outside / f"{writer}"
        source.mkdir(parents=True)
        for number in range(count // writers):
            name = f"{'abcdef'[writer]}{number:06}.jpg"
            data = images.jpeg(writer * count + number, (8, 8))
            path = f"{name[0]}{number // per_folder}/{name}" if per_folder else name
            (source / name).write_bytes(oracle.expect(path, data))
    began_s = time.monotonic()
    argv = [sys.executable, "-c", _WRITER]
    started = [
        subprocess.Popen([*argv, str(outside / f"{writer}"), str(places.inbox), str(per_folder)])
        for writer in range(writers)
    ]
    for process in started:
        assert process.wait(300) == 0
    written_s = time.monotonic() - began_s
    # Counted, not parsed: reading a long log again and again would take the time that is measured.
    eventually(lambda: daemon.stdout.read_bytes().count(b'"job.done"') >= count, 60 + count / 20, every_s=0.5)
    done_s = time.monotonic() - began_s
    eventually(lambda: not any(file.is_file() for file in places.inbox.rglob("*")), 60, every_s=0.5)
    account(oracle)
    ends = logs.terminal(daemon.lines())
    assert len(ends) == count
    overflows = len(logs.select(daemon.lines(), "watch.overflowed"))
    print(
        f"{count} files by {writers}: written in {written_s:.1f} s, done in {done_s:.1f} s, {overflows} overflows"
    )
    return done_s


def account(oracle: Oracle) -> None:
    """Judge as the oracle does, in one pass over each folder: it lists a folder for every file in it."""
    places = oracle.places
    archived = {digest(file.read_bytes()): file for file in files_below(places.archive)}
    assert archived.keys() == oracle.dropped.keys(), "lost"
    assert len(archived) == len(files_below(places.archive)), "doubled"
    outputs = {str(file.relative_to(places.outbox)) for file in files_below(places.outbox)}
    assert outputs == {f"{path.removesuffix('.jpg')}-dot.png" for path in oracle.dropped.values()}
    for name in outputs:
        assert images.size(places.outbox / name) == (8, 8)
    assert not files_below(places.failed)
    oracle.check_staging()


def small(places: Places) -> Path:
    return places.write_config(
        inbox='recipe = "dot"\nrescan = "30s"\non_success = "archive"', rest=_RECIPE, level="info"
    )


@pytest.fixture
def dots(places: Places) -> Oracle:
    return Oracle(places=places, outputs={"dot": 8})


def test_folders_that_are_made_and_filled_at_full_speed_lose_nothing(
    places: Places, dots: Oracle, tmp_path: Path
) -> None:
    """A file that is there before its folder is watched has no event, or only that it was created."""
    with Daemon("-c", small(places), cwd=tmp_path) as daemon:
        flood(daemon, places, dots, tmp_path / "outside", 2000, writers=2, per_folder=2)


def test_two_writers_and_a_short_event_queue_lose_nothing(
    places: Places, dots: Oracle, tmp_path: Path
) -> None:
    """The kernel drops most events; scans find what they were about."""
    with ExitStack() as stack:
        with namespaces.short_event_queue(16):
            daemon = stack.enter_context(Daemon("-c", small(places), cwd=tmp_path))
        flood(daemon, places, dots, tmp_path / "outside", 2000, writers=2)
        assert logs.select(daemon.lines(), "watch.overflowed")


@pytest.mark.parametrize("count", [2000, pytest.param(100_000, marks=pytest.mark.soak)])
def test_a_folder_full_of_waiting_files_is_worked_off(
    count: int, places: Places, dots: Oracle, tmp_path: Path
) -> None:
    """All in one folder, so that whoever lists it lists all of them; the product's own audit agrees afterwards."""
    config = small(places)
    for number in range(count):
        name = f"{number:06}.jpg"
        (places.inbox / name).write_bytes(dots.expect(name, images.jpeg(number, (8, 8))))
    daemon = Daemon("-c", config, cwd=tmp_path)
    began_s = time.monotonic()
    with daemon:
        at_rest, largest = rss_bytes(daemon.pid), 0
        daemon.wait_for("job.done")
        first_s = time.monotonic() - began_s

        def all_done() -> bool:
            nonlocal largest
            largest = max(largest, rss_bytes(daemon.pid))
            return daemon.stdout.read_bytes().count(b'"job.done"') >= count

        eventually(all_done, 60 + count / 20, every_s=0.2)
        done_s = time.monotonic() - began_s
        eventually(lambda: not any(places.inbox.iterdir()), 60, every_s=0.5)
        account(dots)
        assert len(logs.terminal(daemon.lines())) == count
    assert largest - at_rest < 40 * 2**20, (
        "what waits, and what the disk has not taken yet, does not pile up in memory"
    )
    audited = procwatch("audit", "-c", config, cwd=tmp_path)
    assert audited.returncode == 0, audited.stdout
    print(
        f"{count} waiting in one folder: first after {first_s:.1f} s, all after {done_s:.1f} s,"
        f" the daemon grew by {(largest - at_rest) / 2**20:.1f} MiB"
    )


@pytest.mark.soak
@pytest.mark.parametrize("case", ["20,000 files", "2,000 folders of two files", "100,000 files"])
def test_a_large_flood_loses_nothing(case: str, places: Places, dots: Oracle, tmp_path: Path) -> None:
    per_folder = 2 if "folders" in case else 0
    count = int(case.partition(" ")[0].replace(",", "")) * (per_folder or 1)
    with Daemon("-c", small(places), cwd=tmp_path) as daemon:
        flood(daemon, places, dots, tmp_path / "outside", count, writers=2, per_folder=per_folder)
