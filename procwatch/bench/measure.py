"""Running the work: one file after the other, by threads, by processes; interleaved rounds within a time."""

import contextlib
import multiprocessing
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from procwatch.bench.verdict import Mode, Stage, Trial, speedup_in, worker_counts
from procwatch.bench.work import STAGES, Span, begin, hello, render_file, warm_up
from procwatch.errors import ImageError, ProcwatchError
from procwatch.model import Limits

if TYPE_CHECKING:
    from procwatch.imaging.recipe import Recipe

_MAX_ROUNDS: Final = 3
#: A trial shorter than this measures start-up and noise.
_MIN_TRIAL_S: Final = 0.5
#: Tasks that an executor has beside those in work, so that no worker waits for the next.
_SPARE_TASKS: Final = 2

Tell = Callable[[str], None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What is measured, and where its outputs are written, synced and removed."""

    paths: Sequence[str]
    recipe: "Recipe"
    limits: Limits
    scratch: str

    def render(self, index: int) -> Span:
        return render_file(index, self.paths[index], self.recipe, self.limits, self.scratch)


@dataclass(frozen=True, kw_only=True, slots=True)
class Serial:
    """What one worker alone takes."""

    costs_s: dict[int, float]  # by file, of those that were measured
    stages: tuple[Stage, ...]  # of all of them together
    laps: int
    pixels: int
    unreadable: tuple[tuple[str, str], ...]  # path, why

    @property
    def images_per_s(self) -> float:
        return len(self.costs_s) / sum(self.costs_s.values())


def measure_serial(work: Work, seconds: float) -> Serial:
    """Render file after file, all of them if time allows, again and again; the fastest turn of each counts.

    Raises ProcwatchError when not one can be rendered.
    """
    warm_up(work.recipe)
    spans: dict[int, list[Span]] = {}
    unreadable: dict[int, str] = {}
    deadline_s = time.monotonic() + seconds
    laps = 0
    while not laps or time.monotonic() < deadline_s:
        for index in range(len(work.paths)):
            if index in unreadable or (spans and time.monotonic() >= deadline_s):
                continue
            try:
                spans.setdefault(index, []).append(work.render(index))
            except (ImageError, OSError) as error:
                unreadable[index] = str(error)
                spans.pop(index, None)
        laps += 1
        if not spans:
            raise ProcwatchError(
                f"none of the files can be rendered; the first: {next(iter(unreadable.values()))}"
            )
    fastest = {
        index: min(turns, key=lambda span: span.ended_s - span.began_s) for index, turns in spans.items()
    }
    stages = tuple(
        Stage(
            name=name,
            wall_s=sum(span.stages[name][0] for span in fastest.values()),
            cpu_s=sum(span.stages[name][1] for span in fastest.values()),
            queued_s=sum(span.stages[name][2] for span in fastest.values()),
        )
        for name in STAGES
    )
    return Serial(
        costs_s={index: span.ended_s - span.began_s for index, span in fastest.items()},
        stages=stages,
        laps=laps,
        pixels=sum(span.pixels for span in fastest.values()),
        unreadable=tuple((work.paths[index], why) for index, why in unreadable.items()),
    )


def measure(work: Work, serial: Serial, cpus: int, seconds: float, tell: Tell) -> list[Trial]:
    """Try threads and processes with each number of workers, in rounds, so that a slow moment hits all alike."""
    ways: list[tuple[Mode, int]] = [
        ("serial", 1),
        *((mode, workers) for workers in worker_counts(cpus) for mode in ("threads", "processes")),
    ]
    longest_s = max(serial.costs_s.values())
    trial_s = max(_MIN_TRIAL_S, 2 * longest_s)
    rounds = max(1, min(_MAX_ROUNDS, int(seconds / (len(ways) * trial_s))))
    trial_s = max(trial_s, seconds / (rounds * len(ways)))
    rates: dict[tuple[Mode, int], list[float]] = {way: [] for way in ways}
    rss_bytes = dict.fromkeys(ways, 0)
    began_s = time.monotonic()
    for number in range(rounds):
        for way in ways:
            if number and time.monotonic() - began_s >= seconds:
                break
            tell(f"{_name(way)}, round {number + 1} of {rounds}")
            rate, rss = _trial(work, serial, way, trial_s)
            rates[way].append(rate)
            rss_bytes[way] = max(rss_bytes[way], rss)
    # One after the other is measured among the rest, so that a machine that got slower does not favour it.
    unit = statistics.median(rates["serial", 1])
    return [_result(way, rates[way], unit, serial, rss_bytes[way]) for way in ways]


def _result(
    way: tuple[Mode, int], rates: Sequence[float], unit: float, serial: Serial, rss_bytes: int
) -> Trial:
    return Trial(
        mode=way[0],
        workers=way[1],
        speedup=statistics.median(rates) / unit,
        images_per_s=statistics.median(rates) * serial.images_per_s,
        lowest=min(rates) * serial.images_per_s,
        highest=max(rates) * serial.images_per_s,
        worker_rss_bytes=rss_bytes if way[0] == "processes" else 0,
    )


def _name(way: tuple[Mode, int]) -> str:
    mode, workers = way
    if mode == "serial":
        return "one after the other"
    one = {"threads": "thread", "processes": "process"}[mode]
    return f"{workers} {mode}" if workers > 1 else f"1 {one}"


def _trial(work: Work, serial: Serial, way: tuple[Mode, int], seconds: float) -> tuple[float, int]:
    """Return the work done for each second, in seconds of one worker, and the largest worker's memory."""
    mode, workers = way
    # Start-up is not what is asked about: workers live long.
    with _executor(mode, workers, work.recipe) as executor:
        began_s = time.monotonic()
        spans = _keep_busy(executor, workers, work, list(serial.costs_s), began_s + seconds)
    triples = [(span.file, span.began_s, span.ended_s) for span in spans]
    rate = speedup_in(triples, serial.costs_s, (began_s, began_s + seconds))
    return rate, max(span.max_rss_bytes for span in spans)


@contextlib.contextmanager
def _executor(mode: Mode, workers: int, recipe: "Recipe") -> Iterator[Executor]:
    if mode != "processes":
        with ThreadPoolExecutor(workers) as threads:
            yield threads
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["procwatch.imaging.render", "procwatch.bench.work", "cykooz_resizer"])
    with ProcessPoolExecutor(workers, context, begin, (recipe,)) as processes:
        while len(set(processes.map(hello, [0.05] * workers))) < workers:
            continue
        yield processes


def _keep_busy(
    executor: Executor, workers: int, work: Work, files: Sequence[int], deadline_s: float
) -> list[Span]:
    """Submit files in turn until the deadline; return the turns of all, also of those that ended later."""
    spans: list[Span] = []
    pending: set[Future[Span]] = set()
    fixed = work.recipe, work.limits, work.scratch
    at = 0
    while True:
        while len(pending) < workers + _SPARE_TASKS and time.monotonic() < deadline_s:
            index = files[at % len(files)]
            at += 1
            pending.add(executor.submit(render_file, index, work.paths[index], *fixed))
        if not pending:
            return spans
        if time.monotonic() >= deadline_s:
            pending -= {future for future in pending if future.cancel()}
        done, pending = wait(pending, return_when=FIRST_COMPLETED)
        spans += [future.result() for future in done if not future.cancelled()]
