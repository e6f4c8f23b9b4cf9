"""What a file costs the daemon beside its pixels: python -m tests.bench.daemon_cpu.

Pictures of one pixel wait in the inbox; the ledger is on and everything is synced. CPU time a file of the daemon's own
process, all its threads, from one file to another in the middle of the backlog; where it goes, by thread.
"""

import argparse
import os
import statistics
import tempfile
from collections import Counter
from pathlib import Path

from tests.bench.growth import fill
from tests.bench.peers.engines import ENGINES, Box, Running

#: Start-up, the first pass over the inbox and the warming of caches are not the cost of a file.
_SKIPPED = 500


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.daemon_cpu", description=__doc__)
    parser.add_argument("--files", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--place", type=Path, default=Path("/var/tmp"))
    args = parser.parse_args()
    rounds = [one(args.files, args.place) for _ in range(args.rounds)]
    for name in sorted({name for parts in rounds for name in parts}, key=lambda n: -rounds[0].get(n, 0.0)):
        values = [parts.get(name, 0.0) for parts in rounds]
        print(f"{name:16} {statistics.median(values):6.0f} us ({min(values):.0f} to {max(values):.0f})")


def one(files: int, place: Path) -> dict[str, float]:
    """Return the microseconds of CPU a file: of the whole process as "all", and of each thread that had work."""
    with tempfile.TemporaryDirectory(dir=place, prefix="procwatch-cpu-") as root:
        box = Box(root=Path(root)).make()
        fill(box.inbox, files)
        os.sync()
        with Running(ENGINES[0], box, "thumb", Path()) as running:
            running.wait_done(_SKIPPED, 120.0)
            before, began = by_thread(running.process.pid), len(running.done_s)
            running.wait_done(files - 100, 300.0)
            after, ended = by_thread(running.process.pid), len(running.done_s)
            rate = (ended - began) / (running.done_s[ended - 1] - running.done_s[began - 1])
    spent = after - before
    count = ended - began
    told = {name: us / count for name, us in spent.items() if us / count >= 1.0}
    return {"all": sum(spent.values()) / count, **told, "files a second": rate}


def by_thread(pid: int) -> Counter[str]:
    """Return the CPU time of each thread in microseconds; those of one name count together."""
    spent: Counter[str] = Counter()
    main = Path(f"/proc/{pid}/comm").read_text().rstrip("\n")
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            name = (task / "comm").read_text().rstrip("\n")
            spent_ns = int((task / "schedstat").read_text().split()[0])
        except FileNotFoundError:
            continue  # it ended meanwhile
        if name == main:
            name = (
                "loop" if task.name == str(pid) else "executors"
            )  # concurrent.futures names its threads nothing
        spent[name] += spent_ns // 1000
    return spent


if __name__ == "__main__":
    main()
