"""What is lost between the pixels and the hot folder: python -m tests.bench.efficiency.

E = files a second of the daemon / files a second of as many concurrent loops that only render, in turns on the same
files. The loops write their outputs to tmpfs and sync nothing; the daemon has its ledger on, and syncs on a real disk.
The same is said in CPU time an image, of the loop / of the daemon with its workers, which a busy machine disturbs less.
"""

import argparse
import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from procwatch.imaging.memory import prefer_huge_pages
from procwatch.imaging.recipe import Recipe
from procwatch.imaging.render import render, warm_up
from procwatch.model import Limits
from tests.bench.peers.backlog import AT_ONCE, WARM_UP_FILES, Result, one_run, scratch
from tests.bench.peers.engines import ENGINES, REPOSITORY, Box, config


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.efficiency", description=__doc__)
    corpus = Path(os.environ.get("PROCWATCH_CORPUS", REPOSITORY.parent / "shared" / "corpus"))
    parser.add_argument("--photos", type=Path, default=corpus / "photos")
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--recipe", nargs="+", default=["thumb", "web"])
    parser.add_argument("--disk", type=Path, default=Path("/var/tmp"))
    parser.add_argument("--tmpfs", type=Path, default=Path("/dev/shm"))
    parser.add_argument("--loop", nargs=3, metavar=("RECIPE", "COPIES", "SCRATCH"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    photos = sorted(path for path in args.photos.iterdir() if path.suffix.lower() in {".jpg", ".jpeg"})
    if args.loop:
        _loop(args.loop[0], photos * int(args.loop[1]), Path(args.loop[2]))
        return
    with scratch(args.disk) as folder:
        for recipe in args.recipe:
            _compare(args, recipe, photos, folder)


def _compare(args: argparse.Namespace, recipe: str, photos: list[Path], folder: Path) -> None:
    """Have the daemon and the loops in turns, first the one and first the other, and print what came of it."""
    workers = AT_ONCE  # as many as the daemon is configured with
    result = Result(engine="procwatch", recipe=recipe, place="disk")
    loops: list[tuple[float, float]] = []
    for number in range(args.rounds):
        if number % 2:
            loops.append(_loops(args, recipe, workers))
        one_run(ENGINES[0], result, folder, photos, args.copies, peers=Path())
        if not number % 2:
            loops.append(_loops(args, recipe, workers))
        told = f"daemon {result.images_per_s[-1]:.1f}, loops {loops[-1][0]:.1f} images/s"
        print(f"{recipe} round {number + 1}: {told}", file=sys.stderr, flush=True)
    pairs = [ours / rate for ours, (rate, _) in zip(result.images_per_s, loops, strict=True)]
    in_cpu = [cpu_ms / ours for ours, (_, cpu_ms) in zip(result.cpu_ms, loops, strict=True)]
    print(
        f"{recipe}: E = {statistics.median(pairs):.3f} ({min(pairs):.3f} to {max(pairs):.3f}),"
        f" daemon {statistics.median(result.images_per_s):.1f},"
        f" {workers} loops {statistics.median(rate for rate, _ in loops):.1f} images/s;"
        f" in CPU time {statistics.median(in_cpu):.3f} ({min(in_cpu):.3f} to {max(in_cpu):.3f}),"
        f" daemon and workers {statistics.median(result.cpu_ms):.1f},"
        f" loop {statistics.median(cpu_ms for _, cpu_ms in loops):.1f} ms an image"
    )


def _loops(args: argparse.Namespace, recipe: str, workers: int) -> tuple[float, float]:
    """Return the images a second of all loops together, and the CPU time of an image in milliseconds."""
    command = [sys.executable, "-m", "tests.bench.efficiency", "--photos", str(args.photos)]
    with tempfile.TemporaryDirectory(dir=args.tmpfs, prefix="procwatch-loops-") as memory:
        loops = [
            subprocess.Popen(
                [*command, "--loop", recipe, str(args.copies), f"{memory}/{number}"],
                cwd=REPOSITORY,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for number in range(workers)
        ]
        for loop in loops:
            assert loop.stdout is not None
            loop.stdout.readline()  # ready
        for loop in loops:
            assert loop.stdin is not None
            loop.stdin.close()  # go
        told = [json.loads(loop.stdout.read()) for loop in loops if loop.stdout is not None]
        return sum(rate for rate, _ in told), statistics.mean(cpu_ms for _, cpu_ms in told)


def _loop(recipe_name: str, photos: list[Path], scratch: Path) -> None:
    """Render everything once, from memory, when stdin is closed; print images a second."""
    recipe = _recipe(recipe_name, scratch)
    warm_up([recipe])
    prefer_huge_pages()  # as a worker does
    # Each copy of a photo as bytes of its own, as the daemon's are files of their own: no cache of a CPU knows them.
    sources = [photo.read_bytes() for photo in photos]
    _render_all(recipe, sources[:WARM_UP_FILES], scratch)
    print("ready", flush=True)
    sys.stdin.read()
    began_s, began_cpu_s = time.monotonic(), time.process_time()
    _render_all(recipe, sources, scratch)
    cpu_ms = 1000 * (time.process_time() - began_cpu_s) / len(photos)
    print(json.dumps((len(photos) / (time.monotonic() - began_s), cpu_ms)))


def _recipe(name: str, folder: Path) -> Recipe:
    from procwatch.settings.load import load

    box = Box(root=folder).make()
    return load(str(config(box, name))).recipes[name]


def _render_all(recipe: Recipe, sources: list[bytes], scratch: Path) -> None:
    staging = scratch / "staging"
    for source in sources:
        staging.mkdir()
        render(io.BytesIO(source), recipe, Limits(), str(staging))
        shutil.rmtree(staging)


if __name__ == "__main__":
    main()
