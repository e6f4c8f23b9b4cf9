"""What the measurements mean: pure functions from times to a kind of bottleneck and a number of workers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["cpu", "disk", "mixed"]
Mode = Literal["serial", "threads", "processes"]

#: Of the time that one worker takes for a file: from here on the CPU is what it waits for, below that what it does not.
_CPU_SHARE = 0.8
_WAIT_SHARE = 0.5
#: Two numbers of workers whose speeds are so close are the same: less than what repeated runs differ by.
_SAME = 0.05
#: Up to so many CPUs each number of workers is tried; beyond, powers of two.
_TRY_EVERY = 4
#: Other programs that take this part of the time make the numbers doubtful.
_BUSY = 0.15
#: So do rounds of one and the same that are so far apart.
_UNEVEN = 0.25


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """A stage's part of the time of one file, over all files, by one worker."""

    name: str
    wall_s: float
    cpu_s: float
    queued_s: float = 0.0  # ready to run, but others had the CPUs

    @property
    def waited_s(self) -> float:
        """Neither running nor about to: for a disk, mostly."""
        return max(0.0, self.wall_s - self.cpu_s - self.queued_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One way to run the work. `speedup` is against one worker that does one file after the other."""

    mode: Mode
    workers: int
    speedup: float
    images_per_s: float
    lowest: float  # images a second, of its rounds
    highest: float
    worker_rss_bytes: int = 0  # largest, of a process


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The answer, in numbers and in words."""

    kind: Kind
    cpu_share: float
    workers: int
    speedup: float
    text: tuple[str, ...]


def speedup_in(
    spans: Sequence[tuple[int, float, float]], costs_s: Mapping[int, float], window: tuple[float, float]
) -> float:
    """Return the work done in a window of time, in seconds of one worker, for each second.

    `spans` are (file, began_s, ended_s); `costs_s` is what one worker alone takes for each file. A file that was in
    work at an edge of the window counts by its part inside, so no worker needs to wait for the others.
    """
    low, high = window
    done_s = 0.0
    for file, began_s, ended_s in spans:
        inside_s = min(ended_s, high) - max(began_s, low)
        if inside_s > 0:
            done_s += costs_s[file] * inside_s / (ended_s - began_s)
    return done_s / (high - low)


def worker_counts(cpus: int) -> list[int]:
    """Return the numbers of workers to try: up to the CPUs, and twice as many to show what that brings."""
    every = range(1, cpus + 1) if cpus <= _TRY_EVERY else (1, 2, 4, 8, 16, 32, 64, 128)
    return [*(count for count in every if count < cpus), cpus, 2 * cpus]


def kind_of(stages: Sequence[Stage]) -> tuple[Kind, float]:
    """Return what one worker spends its time with, and the CPU's share of it; what others took from it is left out."""
    cpu_s, waited_s = sum(stage.cpu_s for stage in stages), sum(stage.waited_s for stage in stages)
    share = cpu_s / (cpu_s + waited_s) if cpu_s + waited_s > 0 else 1.0
    if share >= _CPU_SHARE:
        return "cpu", share
    return ("disk" if share < _WAIT_SHARE else "mixed"), share


def judge(stages: Sequence[Stage], trials: Sequence[Trial], cpus: int) -> Verdict:
    """Return how many workers to set: the fewest processes that are as fast as any number of them."""
    kind, share = kind_of(stages)
    processes = sorted((t for t in trials if t.mode == "processes"), key=lambda trial: trial.workers)
    best = max(processes, key=lambda trial: trial.speedup)
    chosen = next(trial for trial in processes if _is_as_fast(trial, best))
    text = [_describe(kind, share, stages)]
    text.append(
        f"Set workers = {chosen.workers}: {chosen.images_per_s:.1f} images/s, {chosen.speedup:.2f} times one worker"
        f" (this machine has {cpus} usable CPU{'' if cpus == 1 else 's'})."
    )
    text += _beyond(chosen, processes)
    text += _threads(chosen, [t for t in trials if t.mode == "threads"], kind)
    text += _busy(stages) or _uneven(chosen)
    return Verdict(
        kind=kind, cpu_share=share, workers=chosen.workers, speedup=chosen.speedup, text=tuple(text)
    )


def _describe(kind: Kind, share: float, stages: Sequence[Stage]) -> str:
    largest = max(stages, key=lambda stage: stage.cpu_s)
    waits = max(stages, key=lambda stage: stage.waited_s)
    cpu_s = sum(stage.cpu_s for stage in stages)
    match kind:
        case "cpu":
            part = f", {largest.cpu_s / cpu_s:.0%} of that in {largest.name}" if cpu_s else ""
            return f"CPU-bound: a file's time is {share:.0%} work of the CPU{part}."
        case "disk":
            return f"Disk-bound: a file's time is only {share:.0%} work of the CPU; it waits most in {waits.name}."
        case _:
            return (
                f"CPU and disk: a file's time is {share:.0%} work of the CPU; it waits most in {waits.name}."
            )


def _busy(stages: Sequence[Stage]) -> list[str]:
    taken = sum(stage.queued_s for stage in stages) / sum(stage.wall_s for stage in stages)
    if taken < _BUSY:
        return []
    return [f"Other programs took {taken:.0%} of one worker's time: measure again when the machine is quiet."]


def _is_as_fast(trial: Trial, best: Trial) -> bool:
    """Whether it is, as far as that can be told: a round of it was as fast as the other usually is."""
    return trial.speedup >= best.speedup * (1 - _SAME) or trial.highest >= best.images_per_s


def _uneven(chosen: Trial) -> list[str]:
    apart = (chosen.highest - chosen.lowest) / chosen.images_per_s
    if apart < _UNEVEN:
        return []
    return [
        f"The rounds differ by {apart:.0%}: measure again when the machine is quiet, or for longer (--seconds)."
    ]


def _beyond(chosen: Trial, processes: Sequence[Trial]) -> list[str]:
    more = [trial for trial in processes if trial.workers > chosen.workers]
    if not more:
        return []
    most = more[-1]
    change = most.speedup / chosen.speedup - 1
    extra_bytes = (most.workers - chosen.workers) * most.worker_rss_bytes
    memory = f" and cost {extra_bytes / 1024**2:.0f} MiB more memory" if extra_bytes else ""
    return [f"More workers only cost: {most.workers} change the speed by {change:+.0%}{memory}."]


def _threads(chosen: Trial, threads: Sequence[Trial], kind: Kind) -> list[str]:
    same = next((trial for trial in threads if trial.workers == chosen.workers), None)
    if same is None or chosen.workers == 1:
        return []
    gain = chosen.speedup / same.speedup - 1
    if gain > _SAME:
        why = ": they share one interpreter lock" if kind != "disk" else ""
        return [
            f"{same.workers} threads reach {same.speedup:.2f} times{why}; processes are {gain:.0%} faster."
        ]
    as_fast = (
        f"{same.workers} threads are as fast here ({same.speedup:.2f} times): the codecs release the lock."
    )
    return [f"{as_fast} What threads cannot do: keep a crash, a hang or a leak to one of them."]
