"""A daemon of one loop and one pool, for tests that kill it: `python -m tests.support.tiny_daemon FOLDER KIND`.

Prints a line of worker pids once each has a task of the kind, then waits for Ctrl-C. The kind `start_hangs` is for
workers that never come so far.
"""

import contextlib
import sys
from pathlib import Path

from tests.support.bad_workers import start_hangs, worker_entry
from tests.support.pool_bench import PoolBench


def main(folder: str, kind: str) -> None:
    entry = worker_entry(start=start_hangs) if kind == "start_hangs" else worker_entry()
    with (
        PoolBench(Path(folder), entry=entry, timeout_s=60.0) as bench,
        contextlib.suppress(KeyboardInterrupt),
    ):
        print("starting", flush=True)
        bench.ready()
        running = [bench.submit(kind) for _ in range(bench.pool.size)]
        print(*[future.worker_pid for future in running], flush=True)
        bench.until(lambda: False, timeout_s=60.0)


if __name__ == "__main__":
    main(*sys.argv[1:])
