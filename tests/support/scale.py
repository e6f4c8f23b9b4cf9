"""Ten pictures of 100 megapixels and a thousand small ones under one budget, weighed from outside."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Self

from tests.support import images, processes
from tests.support.daemon import Daemon
from tests.support.places import Places

MIB = 1024**2
BUDGET_BYTES = 1024 * MIB
WORKERS = 2
_EVERY_S = 0.05
_PAGE_BYTES = 4096


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What everything weighed at one moment. Pages that processes share count in each of them."""

    at_s: float  # seconds since 1970
    workers_bytes: int
    daemon_bytes: int


@dataclass(frozen=True, kw_only=True)
class Weighed:
    """One run: the samples from the first drop to the last end, and the path of each done file with its time."""

    began_s: float
    samples: Sequence[Sample]
    done: Sequence[tuple[float, str]]

    @property
    def peak_bytes(self) -> int:
        return max(sample.workers_bytes for sample in self.samples)


class Scale:
    """Weighs a daemon and its workers every 50 ms."""

    def __init__(self, daemon: Daemon) -> None:
        self._pid = daemon.pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._weigh, daemon=True)
        self.samples: list[Sample] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _weigh(self) -> None:
        while not self._over.wait(_EVERY_S):
            workers = [pid for pid in processes.descendants(self._pid) if _is_worker(pid)]
            self.samples.append(
                Sample(
                    at_s=time.time(),
                    workers_bytes=sum(map(_resident_bytes, workers)),
                    daemon_bytes=_resident_bytes(self._pid),
                )
            )


def _is_worker(pid: int) -> bool:
    """Whether it is a worker, and not the fork server or the like."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().startswith("procwatch-work")
    except OSError:
        return False


def _resident_bytes(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


def weigh(places: Places, cwd: Path, *, large: int, small: int, timeout_s: float = 500.0) -> Weighed:
    """Drop the large ones first, then the small ones, and weigh until every one has ended."""
    limits = f'[limits]\nmemory = "{BUDGET_BYTES // MIB} MiB"\nworker_memory = "128 MiB"'
    config = places.write_config(pool=f"workers = {WORKERS}", rest=limits)
    huge = images.slow_png(side=10_048)
    with Daemon("-c", config, cwd=cwd) as daemon, Scale(daemon) as scale:
        began_s = time.time()
        for number in range(large):
            images.move_in(places.inbox / f"large-{number}.png", huge, outside=cwd)
        for number in range(small):
            images.move_in(places.inbox / f"small-{number}.jpg", images.jpeg(number), outside=cwd)
        ends = daemon.wait_for_ends(large + small, timeout_s=timeout_s)
    done = [
        (datetime.fromisoformat(line["timestamp"]).timestamp(), line["path"])
        for line in ends
        if line["event"] == "job.done"
    ]
    return Weighed(began_s=began_s, samples=scale.samples, done=done)
