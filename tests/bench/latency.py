"""From a file that appears to its last output in place, idle: python -m tests.bench.latency.

Times are taken by inotify on the outbox: a rename for engines that publish whole files, a close for those that write in
place. Each file comes alone, when the one before is done. All photos of the corpus, or those that are named.

Both engines are started several times a photo: the same program, started twice, differs from itself by 0.1 ms of 9 for
as long as it runs, and its decoder by 0.3 of 20. The range of the ratios says how much of a difference is that.

Everything stays until the end (16 GB for all photos and both ways): for five minutes after a thousand files were
removed, ext4 takes up to 0.9 ms instead of 0.1 to find an inode for a new one, because it does not want theirs.
"""

import argparse
import ctypes
import itertools
import json
import os
import select
import statistics
import struct
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

from PIL import Image

from tests.bench.peers.engines import ENGINES, OUTPUTS, REPOSITORY, Box, Engine, Running

_CLOSE_WRITE, _MOVED_TO = 0x8, 0x80
_TIMEOUT_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One photo, one way to bring it; times in ms."""

    photo: str
    megapixels: float
    kib: int
    is_progressive: bool
    how: str
    recipe: str
    count: int
    p50: float
    p99: float
    peer_p50: float
    peer_p99: float
    peer_lost: int
    ratios: tuple[float, ...]  # of the p50s, a start each

    @property
    def ratio(self) -> float:
        return self.p50 / self.peer_p50

    def __str__(self) -> str:
        kind = "progressive" if self.is_progressive else "baseline"
        lost = f", {self.peer_lost} lost" if self.peer_lost else ""
        return (
            f"{self.recipe} {self.how:6} {self.megapixels:4.1f} MP {kind:11} {self.kib:5} KiB:"
            f" {self.p50:6.1f} (p99 {self.p99:6.1f}) against {self.peer_p50:6.1f} ({self.peer_p99:6.1f}{lost}),"
            f" {self.ratio:.3f} ({min(self.ratios):.3f}-{max(self.ratios):.3f}), n = {self.count}, {self.photo}"
        )


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
    parser.add_argument("--photo", type=Path, nargs="+", default=sorted((corpus / "photos").glob("*.jpg")))
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument(
        "--starts", type=int, default=4, help="of both engines, each for its share of the files"
    )
    parser.add_argument("--batch", type=int, default=25, help="files before the other engine has its turn")
    parser.add_argument("--recipe", default="thumb")
    parser.add_argument("--how", nargs="+", choices=("rename", "close"), default=["rename", "close"])
    parser.add_argument("--peers", type=Path, default=Path.home() / ".cache" / "procwatch-peers")
    parser.add_argument("--place", type=Path, default=Path("/var/tmp"))
    parser.add_argument("--json", type=Path, help="add the figures to this file")
    args = parser.parse_args()
    compared = []
    with tempfile.TemporaryDirectory(dir=args.place, prefix="procwatch-latency-") as place:
        for how, photo in itertools.product(args.how, args.photo):
            compared.append(_compare(args, Path(place) / f"{how}-{photo.stem}", photo, how))
            print(compared[-1], flush=True)
            if args.json:
                _add(args.json, compared[-1])
    for how in args.how:
        _sum_up(args.recipe, how, [one for one in compared if one.how == how])


def _compare(args: argparse.Namespace, root: Path, photo: Path, how: str) -> Comparison:
    lost: Counter[str] = Counter()
    data = photo.read_bytes()
    starts = [_measure(args, root / str(number), how, data, lost) for number in range(args.starts)]
    with Image.open(photo) as image:
        width, height = image.size
        is_progressive = bool(image.info.get("progressive"))
    names = [engine.name for engine in ENGINES[:2]]
    ours, theirs = (sorted(1000 * seconds for taken in starts for seconds in taken[name]) for name in names)
    return Comparison(
        photo=photo.name,
        megapixels=round(width * height / 1e6, 1),
        kib=photo.stat().st_size // 1024,
        is_progressive=is_progressive,
        how=how,
        recipe=args.recipe,
        count=len(ours),
        p50=statistics.median(ours),
        p99=_p99(ours),
        peer_p50=statistics.median(theirs),
        peer_p99=_p99(theirs),
        peer_lost=lost[names[1]],
        ratios=tuple(
            statistics.median(taken[names[0]]) / statistics.median(taken[names[1]]) for taken in starts
        ),
    )


def _p99(ordered: list[float]) -> float:
    return ordered[max(int(len(ordered) * 0.99) - 1, 0)]


def _sum_up(recipe: str, how: str, compared: list[Comparison]) -> None:
    ratios = sorted(one.ratio for one in compared)
    not_above = sum(ratio <= 1 for ratio in ratios)
    behind = sum(min(one.ratios) > 1 for one in compared)
    tail = max(one.p99 / one.p50 for one in compared)
    print(
        f"{recipe} {how}: p50 is {statistics.median(ratios):.2f} of the peer's ({ratios[0]:.2f} to {ratios[-1]:.2f}),"
        f" not above it for {not_above} of {len(ratios)} photos, above it in every start for {behind}; p99 at most {tail:.1f} x p50"
    )


def _add(path: Path, one: Comparison) -> None:
    figures = json.loads(path.read_text()) if path.exists() else {}
    figures[f"{one.recipe} {one.how} {one.photo}"] = asdict(one)
    path.write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n")


def _measure(
    args: argparse.Namespace, root: Path, how: str, data: bytes, lost: Counter[str]
) -> dict[str, list[float]]:
    """Start both engines and drop files for one and the other in batches; return the seconds that they took."""
    taken: dict[str, list[float]] = {}
    engines = [ENGINES[0], ENGINES[1]]
    boxes = [Box(root=root / str(number)).make() for number in range(len(engines))]
    with (
        Running(engines[0], boxes[0], args.recipe, args.peers) as first,
        Running(engines[1], boxes[1], args.recipe, args.peers) as second,
    ):
        first.wait_ready()
        second.wait_ready()
        time.sleep(1.0)
        for batch in range(-1, args.count // args.starts // args.batch):
            turns = list(zip(engines, boxes, strict=True))
            for engine, box in turns if batch % 2 else reversed(turns):
                os.sync()  # what the batch before has left to be written holds nobody up
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
    return taken


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
