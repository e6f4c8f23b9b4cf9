"""Backlog throughput: the same photos renamed into each engine's watched folder at once, in interleaved rounds."""

import contextlib
import itertools
import math
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.peers.engines import OUTPUTS, Box, Engine, Running
from tests.bench.peers.one_picture import sample

_TIMEOUT_S = 60.0
#: What each of the two that an engine works at at once does before it is measured, so that its memory is in use.
WARM_UP_FILES = 15
AT_ONCE = 2


@dataclass(kw_only=True)
class Result:
    """One engine on one recipe and one file system, over all rounds."""

    engine: str
    recipe: str
    place: str
    images_per_s: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)  # an image, of all processes of the engine
    bytes_per_image: float = 0.0
    stalls: list[int] = field(default_factory=list)  # the rounds that it did not finish

    @property
    def median(self) -> float:
        return statistics.median(self.images_per_s)


def measure(
    engines: Sequence[Engine],
    recipes: Sequence[str],
    places: Sequence[tuple[str, Path]],
    photos: Sequence[Path],
    *,
    copies: int,
    rounds: int,
    peers: Path,
    tell: Callable[[str], None],
) -> list[Result]:
    """Return the results; in each round every engine has its turn, in an order that rotates."""
    results: dict[tuple[str, str, str], Result] = {}
    with contextlib.ExitStack() as stack:
        folders = [(place, stack.enter_context(scratch(folder))) for place, folder in places]
        for number, recipe, (place, folder) in itertools.product(range(rounds), recipes, folders):
            able = [e for e in engines if recipe in e.recipes and place in e.places]
            first = number % len(able)
            for engine in (*able[first:], *able[:first]):
                result = results.setdefault(
                    (engine.name, recipe, place), Result(engine=engine.name, recipe=recipe, place=place)
                )
                said = f"round {number + 1}/{rounds} {recipe} {place} "
                try:
                    one_run(engine, result, folder, *_files(recipe, photos, copies), peers=peers)
                except RuntimeError as error:
                    if engine is engines[0]:
                        raise
                    result.stalls.append(number)  # it lost a file, or hangs: the round counts for nothing
                    tell(f"{said}{error}")
                    continue
                rate = f"{result.images_per_s[-1]:.1f} images/s, {result.cpu_ms[-1]:.1f} ms CPU each"
                tell(f"{said}{engine.name}: {rate}")
    return list(results.values())


@contextlib.contextmanager
def scratch(place: Path) -> Iterator[Path]:
    """Make a folder for all the runs of a benchmark; what is in it goes when the benchmark ends, not when a run does.

    ext4 avoids inodes that were freed lately: for minutes after half a gigabyte of files was removed each new file
    costs up to 0.8 ms more, and who makes the most files in those minutes would be measured the slower for it.
    """
    with tempfile.TemporaryDirectory(dir=place, prefix="procwatch-bench-") as folder:
        yield Path(folder)


def _files(recipe: str, photos: Sequence[Path], copies: int) -> tuple[Sequence[Path], int]:
    """Return what is dropped, and how often: "own" is sharp's own benchmark picture alone."""
    return ([sample(photos)], copies * len(photos)) if recipe == "own" else (photos, copies)


def one_run(
    engine: Engine, result: Result, folder: Path, photos: Sequence[Path], copies: int, *, peers: Path
) -> None:
    """Add a round to the result: files a second, from the first rename to the last file done.

    Every engine does some files before: a hot folder runs for weeks, and none of them is at its speed at once.
    """
    with _run_folder(folder, keep=result.place != "tmpfs") as root:
        box = Box(root=root).make()
        warming = math.ceil(AT_ONCE * WARM_UP_FILES / len(photos))
        staged = stage(photos, warming + copies, root / "arrivals")
        first, arrivals = staged[: -copies * len(photos)], staged[-copies * len(photos) :]
        os.sync()  # what this round wrote must not be flushed by the engine's own fsync
        with Running(engine, box, result.recipe, peers) as running:
            running.wait_ready()
            time.sleep(0.3)  # interpreters finish what they do after saying that they are ready
            _drop(first, box, running)
            time.sleep(0.3)
            began_s, began_cpu_s = time.monotonic(), running.cpu_s()
            _drop(arrivals, box, running)
            seconds = running.done_s[len(staged) - 1] - began_s
            result.cpu_ms.append(1000 * (running.cpu_s() - began_cpu_s) / len(arrivals))
        outputs = [path for path in box.outbox.rglob("*.*") if path.is_file()]
        result.bytes_per_image = sum(path.stat().st_size for path in outputs) / len(staged)
        if len(outputs) != OUTPUTS[result.recipe] * len(staged):
            raise RuntimeError(f"{engine.name} made {len(outputs)} outputs of {len(staged)} files")
    result.images_per_s.append(len(arrivals) / seconds)


@contextlib.contextmanager
def _run_folder(parent: Path, *, keep: bool) -> Iterator[Path]:
    root = Path(tempfile.mkdtemp(dir=parent, prefix="run-"))
    try:
        yield root
    finally:
        if not keep:  # it takes memory
            shutil.rmtree(root)


def _drop(files: Sequence[Path], box: Box, running: Running) -> None:
    """Rename the files into the inbox and wait until they are done."""
    before = len(running.done_s)
    for path in files:
        path.rename(box.inbox / path.name)
    running.wait_done(before + len(files), _TIMEOUT_S)


def stage(photos: Sequence[Path], copies: int, folder: Path) -> list[Path]:
    """Copy the photos, each under as many names as copies are asked for; return them in a mixed order."""
    folder.mkdir()
    made = []
    for copy in range(copies):
        for photo in photos:
            target = folder / f"{copy}-{photo.name}"
            shutil.copyfile(photo, target)
            made.append(target)
    return made
