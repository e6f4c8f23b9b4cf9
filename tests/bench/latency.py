"""From a file that appears to its last output in place, idle: python -m tests.bench.latency.

Times are taken by inotify on the outbox: a rename for engines that publish whole files, a close for those that write in
place. Each file comes alone, when the one before is done.
"""

import argparse
import ctypes
import itertools
import os
import select
import shutil
import statistics
import struct
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.bench.peers.engines import ENGINES, OUTPUTS, REPOSITORY, Box, Engine, Running

_CLOSE_WRITE, _MOVED_TO = 0x8, 0x80
_TIMEOUT_S = 10.0
#: A small one, one of the middle size among the corpus's files, and a large one: 5, 6 and 16 megapixels.
_PHOTOS = ("photo-by-spacex.jpg", "ashim-dsilva.jpg", "viktor-forgacs.jpg")


class LostError(RuntimeError):
    """A file had no result in time."""


class Arrivals:
    """What comes into a folder, with the time at which it was seen."""

    def __init__(self, folder: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self._libc.inotify_add_watch(self._fd, os.fsencode(folder), _CLOSE_WRITE | _MOVED_TO) < 0:
            raise OSError(ctypes.get_errno(), "inotify_add_watch")

    def wait(self, stem: str, count: int) -> float:
        """Return when the `count`-th file whose name begins with the stem was whole."""
        seen: set[bytes] = set()
        deadline_s = time.monotonic() + _TIMEOUT_S
        while True:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not select.select([self._fd], [], [], left_s)[0]:
                raise LostError(f"{stem}: {len(seen)} of {count} outputs after {_TIMEOUT_S} s")
            now_s = time.monotonic()
            data = os.read(self._fd, 65536)
            while data:
                _, _, _, length = struct.unpack_from("iIII", data)
                name, data = data[16 : 16 + length].rstrip(b"\0"), data[16 + length :]
                if name.startswith(os.fsencode(stem)) and not name.endswith(b".tmp"):
                    seen.add(name)
            if len(seen) >= count:
                return now_s

    def close(self) -> None:
        os.close(self._fd)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.latency", description=__doc__)
    corpus = Path(os.environ.get("PROCWATCH_CORPUS", REPOSITORY.parent / "shared" / "corpus"))
    photos = [corpus / "photos" / name for name in _PHOTOS]
    parser.add_argument("--photo", type=Path, nargs="+", default=photos)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--batch", type=int, default=25, help="files before the other engine has its turn")
    parser.add_argument("--recipe", default="thumb")
    parser.add_argument("--peers", type=Path, default=Path.home() / ".cache" / "procwatch-peers")
    parser.add_argument("--place", type=Path, default=Path("/var/tmp"))
    args = parser.parse_args()
    for photo, how in itertools.product(args.photo, ("rename", "close")):
        data = photo.read_bytes()
        taken: dict[str, list[float]] = {}
        lost: Counter[str] = Counter()
        with tempfile.TemporaryDirectory(dir=args.place, prefix="procwatch-latency-") as root:
            _measure(args, Path(root), how, data, taken, lost)
        for name, values in taken.items():
            ordered = sorted(values)
            p50, p99 = statistics.median(ordered), ordered[int(len(ordered) * 0.99) - 1]
            print(
                f"{photo.stem} {how} {args.recipe} {name}: p50 {1000 * p50:.1f} ms, p99 {1000 * p99:.1f} ms,"
                f" worst {1000 * ordered[-1]:.1f} ms, n = {len(ordered)}, lost {lost[name]}",
                flush=True,
            )


def _measure(  # noqa: PLR0917 (each is named where it is called)
    args: argparse.Namespace,
    root: Path,
    how: str,
    data: bytes,
    taken: dict[str, list[float]],
    lost: Counter[str],
) -> None:
    """Have both engines run all the time and drop files for one and the other in batches."""
    engines = [ENGINES[0], ENGINES[1]]
    boxes = [Box(root=root / str(number)).make() for number in range(len(engines))]
    with (
        Running(engines[0], boxes[0], args.recipe, args.peers) as first,
        Running(engines[1], boxes[1], args.recipe, args.peers) as second,
    ):
        first.wait_ready()
        second.wait_ready()
        time.sleep(1.0)
        for batch in range(-1, args.count // args.batch):
            for engine, box in zip(engines, boxes, strict=True):
                for number in range(args.batch if batch >= 0 else 3):
                    try:
                        seconds = _one(
                            engine, box, f"f{batch}-{number}", how=how, data=data, recipe=args.recipe
                        )
                    except LostError as error:
                        if engine is engines[0]:
                            raise
                        print(f"{engine.name} lost {error}", file=sys.stderr)
                        lost[engine.name] += 1
                        continue
                    if batch >= 0:  # before: warming up
                        taken.setdefault(engine.name, []).append(seconds)
    shutil.rmtree(root / "0", ignore_errors=True)


def _one(engine: Engine, box: Box, stem: str, *, how: str, data: bytes, recipe: str) -> float:
    arrivals = Arrivals(box.outbox)
    try:
        if how == "rename":
            (box.root / f"{stem}.jpg").write_bytes(data)
            began_s = time.monotonic()
            os.rename(box.root / f"{stem}.jpg", box.inbox / f"{stem}.jpg")
        else:
            with (box.inbox / f"{stem}.jpg").open("wb", buffering=0) as file:
                file.write(data)
                began_s = time.monotonic()
        seconds = arrivals.wait(stem, OUTPUTS[recipe]) - began_s
    finally:
        arrivals.close()
    time.sleep(0.02)  # the engine is idle again
    return seconds


if __name__ == "__main__":
    try:
        main()
    except RuntimeError as error:
        sys.exit(str(error))
