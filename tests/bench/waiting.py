"""A million files wait in an inbox: how soon does work start, and what does it cost in memory?

    python -m tests.bench.waiting --count 1000000 [--folder SCRATCH] [--seconds 30]

Makes that many tiny pictures (4 KiB of disk and one inode each), starts the real program on them, and compares it with
the same program on an empty inbox. Prints one JSON object; exit status 1 when a goal is missed. Removes everything.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TypedDict

from tests.support import images, logs
from tests.support.daemon import Daemon
from tests.support.places import Places

FIRST_DONE_GOAL_S = 2.0
RSS_GROWTH_GOAL_BYTES = 20 * 1024**2
_PER_FOLDER = 1000
_SETTLED_S = 5.0
_RECIPE = """
[recipe.dot.output.dot]
steps = [{ op = "fit", width = 8, height = 8 }]
format = "png"
"""


class Observed(TypedDict):
    """What one run of the program was like."""

    first_done_s: float | None
    rss_max_bytes: int
    done: int
    watched_s: float


def main() -> int:
    """Measure, print, clean up."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, help="where to make the files (default: the temporary folder)")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long to watch its memory")
    args = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="procwatch-waiting-", dir=args.folder))
    try:
        empty = observe(Places(root=scratch / "empty").make(), scratch, args.seconds / 3)
        places = Places(root=scratch / "full").make()
        fill(places.inbox, args.count)
        full = observe(places, scratch, args.seconds)
    finally:
        shutil.rmtree(scratch)
    growth = full["rss_max_bytes"] - empty["rss_max_bytes"]
    report = {"count": args.count, "rss_growth_bytes": growth, **full, "empty": empty}
    print(json.dumps(report, indent=2))
    first_s = full["first_done_s"]
    return int(first_s is None or first_s > FIRST_DONE_GOAL_S or growth > RSS_GROWTH_GOAL_BYTES)


def fill(inbox: Path, count: int) -> None:
    """Write `count` pictures, a thousand a folder, and wait until they are old enough to be settled."""
    head = images.jpeg(1, (8, 8))
    for number in range(count):
        folder = inbox / f"{number // _PER_FOLDER:04}"
        if number % _PER_FOLDER == 0:
            folder.mkdir()
        (folder / f"{number:07}.jpg").write_bytes(head)
    time.sleep(_SETTLED_S)


def observe(places: Places, cwd: Path, seconds: float) -> Observed:
    """Run the program for a while; return when the first file was done, and how large the daemon became."""
    config = places.write_config(
        inbox='recipe = "dot"\nsettle = "2s"\nrescan = "10m"', rest=_RECIPE, level="info"
    )
    daemon = Daemon("-c", config, cwd=cwd)
    began_s = time.monotonic()
    daemon.start()
    largest, first_s = 0, None
    try:
        while time.monotonic() - began_s < seconds:
            largest = max(largest, rss_bytes(daemon.pid))
            if first_s is None and '"job.done"' in daemon.stdout.read_text():
                first_s = round(time.monotonic() - began_s, 3)
            time.sleep(0.02 if first_s is None else 0.2)
        daemon.terminate()
        done = len(logs.select(daemon.lines(), "job.done"))
    finally:
        daemon.clean_up()
    return {"first_done_s": first_s, "rss_max_bytes": largest, "done": done, "watched_s": seconds}


def rss_bytes(pid: int) -> int:
    """Return the resident memory of the daemon process alone, without its workers; 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(found[0].split()[1]) * 1024 if found else 0


if __name__ == "__main__":
    sys.exit(main())
