"""Does it slow down or grow with what waits? python -m tests.bench.growth 1000 10000 100000

For each number of tiny pictures that wait in the inbox when the daemon starts: the time to the first output, images a
second over the first so many, the daemon's largest resident memory until then. Writes growth.json and growth.svg.
"""

import argparse
import io
import json
import statistics
import tempfile
import time
from pathlib import Path

from PIL import Image

from tests.bench.peers.chart import Bar, bars
from tests.bench.peers.engines import ENGINES, HERE, Box, Running

_SAMPLE = 1000  # files after which the time of the first ones counts: start-up is not throughput


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.growth", description=__doc__)
    parser.add_argument("waiting", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--place", type=Path, default=Path("/dev/shm"))
    parser.add_argument("--results", type=Path, default=HERE.parent / "results")
    args = parser.parse_args()
    rows: dict[int, list[dict[str, float]]] = {count: [] for count in args.waiting}
    for number in range(args.rounds):
        for count in args.waiting:
            row = one(count, args.place)
            rows[count].append(row)
            print(f"round {number + 1}: {count:,} waiting: {row}", flush=True)
    report = {str(count): rounds for count, rounds in rows.items()}
    args.results.mkdir(parents=True, exist_ok=True)
    (args.results / "growth.json").write_text(json.dumps(report, indent=1) + "\n")
    (args.results / "growth.svg").write_text(_chart(rows))


def one(count: int, place: Path) -> dict[str, float]:
    """Start the daemon on `count` waiting files and look until enough of them are done."""
    wanted = min(count, 3 * _SAMPLE)
    with tempfile.TemporaryDirectory(dir=place, prefix="procwatch-growth-") as root:
        box = Box(root=Path(root)).make()
        fill(box.inbox, count)
        began_s = time.monotonic()
        with Running(ENGINES[0], box, "thumb", Path()) as running:
            running.wait_done(1, 120.0)
            first_s = running.done_s[0] - began_s
            rss_bytes = 0
            while len(running.done_s) < wanted:
                rss_bytes = max(rss_bytes, _rss_bytes(running.process.pid))
                time.sleep(0.05)
            seen = running.done_s[wanted // 3 : wanted]
            # The slope of a line: files are told of in batches, and a rate between two of them counts half of one too many.
            rate = statistics.linear_regression(seen, range(len(seen))).slope
    return {
        "first_output_s": round(first_s, 2),
        "images_per_s": round(rate, 1),
        "rss_mib": round(rss_bytes / 1024**2, 1),
    }


def fill(folder: Path, count: int) -> None:
    """Make `count` pictures of one pixel, each with bytes of its own, in folders of ten thousand."""
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "JPEG")
    data = buffer.getvalue()
    for number in range(count):
        parent = folder / f"{number // 10_000:03}"
        if number % 10_000 == 0:
            parent.mkdir()
        with open(f"{parent}/{number:07}.jpg", "wb", buffering=0) as file:
            file.write(data)


def _rss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def _chart(rows: dict[int, list[dict[str, float]]]) -> str:
    def group(title: str, unit: str, key: str) -> tuple[str, str, list[Bar]]:
        values = {count: sorted(row[key] for row in rounds) for count, rounds in rows.items()}
        return title, unit, [(f"{n:,} waiting", v[len(v) // 2], v[0], v[-1]) for n, v in values.items()]

    return bars(
        [
            group("throughput, files of one pixel", "images/s", "images_per_s"),
            group("resident memory of the daemon", "MiB", "rss_mib"),
            group("first output after the start", "s", "first_output_s"),
        ],
        ours="",
    )


if __name__ == "__main__":
    main()
