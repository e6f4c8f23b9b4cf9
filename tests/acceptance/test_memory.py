"""Large pictures and many small ones under one budget: nobody exceeds it, small ones flow on, all are done.

`-m soak` runs the large one, ten of 100 megapixels among 1,000 small ones; `-s` shows the figures of a run.
"""

import threading
from pathlib import Path
from typing import Self

import pytest

from tests.support import images, processes
from tests.support.daemon import Daemon
from tests.support.places import Places

pytestmark = pytest.mark.acceptance

MIB = 1024**2
BUDGET = 1024 * MIB


class Scale:
    """Weighs the workers every 50 ms."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._weigh, daemon=True)
        self.curve_bytes: list[int] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _weigh(self) -> None:
        while not self._over.wait(0.05):
            self.curve_bytes.append(sum(map(worker_bytes, processes.descendants(self._daemon.pid))))


def worker_bytes(pid: int) -> int:
    """Return the resident memory of a worker, 0 for the fork server and the like."""
    try:
        if not Path(f"/proc/{pid}/comm").read_text().startswith("procwatch-work"):
            return 0
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096
    except OSError:
        return 0


@pytest.mark.parametrize(
    ("large", "small"),
    [
        pytest.param(3, 60, marks=pytest.mark.timeout(120)),
        pytest.param(10, 1000, marks=[pytest.mark.soak, pytest.mark.timeout(600)]),
    ],
)
def test_large_and_small_pictures_under_one_budget(
    places: Places, tmp_path: Path, large: int, small: int
) -> None:
    limits = f'[limits]\nmemory = "{BUDGET // MIB} MiB"\nworker_memory = "128 MiB"'
    config = places.write_config(pool="workers = 2", rest=limits)
    huge = images.slow_png(side=10_048)
    with Daemon("-c", config, cwd=tmp_path) as daemon, Scale(daemon) as scale:
        for number in range(large):
            images.move_in(places.inbox / f"large-{number}.png", huge, outside=tmp_path)
        for number in range(small):
            images.move_in(places.inbox / f"small-{number}.jpg", images.jpeg(number), outside=tmp_path)
        lines = daemon.wait_for_ends(large + small, timeout_s=500)
    done = [line["path"] for line in lines if line["event"] == "job.done"]
    assert len(done) == large + small
    last_small = max(position for position, path in enumerate(done) if path.startswith("small"))
    assert large + small - last_small > large // 2, "the small ones did not wait for the large ones"
    peak_bytes = max(scale.curve_bytes)
    print(
        f"\npeak of all workers {peak_bytes / MIB:.0f} MiB of {BUDGET / MIB:.0f}, {len(scale.curve_bytes)} samples"
    )
    assert peak_bytes <= BUDGET
    assert peak_bytes > 400 * MIB, "the large ones were never weighed"
