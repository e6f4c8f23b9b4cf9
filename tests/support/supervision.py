"""A daemon's share of supervision around a real pool, as a program of its own: `python -m tests.support.supervision N`.

Runs 2 N jobs of which N kill workers, and prints what became of them and of this process as one JSON object.
"""

import gc
import json
import os
import random
import sys
import tempfile
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from procwatch.dispatch.retry import after_death
from procwatch.model import Rendered, RenderFailed
from procwatch.pool.ports import Running
from tests.support.bad_workers import run_odd_without_net, worker_entry
from tests.support.pool_bench import PoolBench

TIMEOUT_S = 0.5
#: How a culprit of each kind must end, and how many workers it takes along.
CULPRITS = {
    "sigkill": ("worker-crashed", 2),
    "sigsegv": ("worker-crashed", 2),
    "abort": ("worker-crashed", 2),
    "exit_3": ("worker-crashed", 2),
    "raise_odd": ("worker-crashed", 2),
    "hang_in_c": ("timeout", 1),
    "allocate": ("out-of-memory", 0),
}


@dataclass
class Job:
    kind: str
    number: int
    attempt: int = 0
    deaths: int = 0


@dataclass
class Supervisor:
    """A dispatcher's share of the matter: submit, decide after a death, account."""

    bench: PoolBench
    waiting: deque[Job]
    running: int = 0
    done: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)
    deaths: int = 0
    worst_late_s: float = 0.0

    def turn(self) -> bool:
        while self.waiting and self.bench.pool.idle:
            job = self.waiting.popleft()
            job.attempt += 1
            self.running += 1
            task = self.bench.task(job.kind, job.number, job.attempt)
            self.bench.pool.submit(task).add_done_callback(partial(self.ended, job, task.job))
        return not self.waiting and not self.running

    def ended(self, job: Job, name: str, running: "Running") -> None:
        self.running -= 1
        report = running.result()
        if isinstance(report.result, Rendered):
            self.done[name] += 1
        elif isinstance(report.result, RenderFailed):
            self.failed[name] = report.result.code
        else:
            assert report.death is not None
            self.deaths += 1
            if report.death.kind == "timeout":
                self.worst_late_s = max(self.worst_late_s, report.run_s - TIMEOUT_S)
            verdict = after_death(report.death, deaths=job.deaths, timeout_s=TIMEOUT_S)
            job.deaths = verdict.deaths
            if verdict.action == "fail":
                self.failed[name] = verdict.error
            else:
                self.waiting.append(job)


def make_jobs(deaths: int) -> list[Job]:
    """Return twice as many jobs as deaths, the culprits spread over them."""
    kinds: list[str] = []
    expected = 0
    while expected < deaths:
        kind = list(CULPRITS)[len(kinds) % len(CULPRITS)]
        kinds.append(kind)
        expected += CULPRITS[kind][1]
    kinds += ["well"] * (2 * deaths - len(kinds))
    random.Random(deaths).shuffle(kinds)
    return [Job(kind, number) for number, kind in enumerate(kinds)]


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def name(job: Job) -> str:
    return f"{job.kind}-{job.number}"


def run(folder: Path, deaths: int) -> dict[str, Any]:
    jobs = make_jobs(deaths)
    entry = worker_entry(run=run_odd_without_net)
    with PoolBench(folder, workers=2, entry=entry, timeout_s=TIMEOUT_S) as bench:
        warm_up = Supervisor(bench, deque(make_jobs(11)))
        bench.ready().until(warm_up.turn, timeout_s=60)
        bench.ready()
        (folder / "ran").unlink()
        before, before_bytes = bench.calm(), resident_bytes()
        began_s = time.monotonic()
        supervisor = Supervisor(bench, deque(jobs))
        bench.until(supervisor.turn, timeout_s=800)
        seconds = time.monotonic() - began_s
        bench.ready()
        after = bench.calm()
        return {
            "jobs": len(jobs),
            "deaths": supervisor.deaths,
            "failed": supervisor.failed,
            "done": dict(supervisor.done),
            "ran": dict(Counter(bench.ran())),
            "expected_failed": {name(job): CULPRITS[job.kind][0] for job in jobs if job.kind in CULPRITS},
            "innocents": [name(job) for job in jobs if job.kind not in CULPRITS],
            "seconds": round(seconds, 1),
            "descriptors": [before[0], after[0]],
            "threads": [before[1], after[1]],
            "growth_bytes": resident_bytes() - before_bytes,
            "worst_late_s": round(supervisor.worst_late_s, 3),
        }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(run(Path(folder), int(sys.argv[1]))))
