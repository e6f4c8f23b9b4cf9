"""A bench's result for people, as a table with bars, and for programs, as one JSON object."""

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from procwatch.bench.measure import Serial
from procwatch.bench.verdict import Trial, Verdict

if TYPE_CHECKING:
    from rich.console import Console

_BAR_WIDTH: Final = 16
_COLOURS: Final = {"serial": "white", "threads": "yellow", "processes": "green"}


def to_json(
    serial: Serial, trials: Sequence[Trial], verdict: Verdict, *, recipe: str, cpus: int, scratch: str
) -> dict[str, Any]:
    """Return everything that was measured; times in seconds, sizes in bytes."""
    files = len(serial.costs_s)
    return {
        "machine": {"cpus": cpus, "cpu": cpu_name(), "system": platform.platform()},
        "recipe": recipe,
        "written_to": scratch,
        "files": files,
        "pixels": serial.pixels,
        "unreadable": [{"path": path, "reason": why} for path, why in serial.unreadable],
        "stages": {
            stage.name: {
                "wall_s": round(stage.wall_s / files, 6),
                "cpu_s": round(stage.cpu_s / files, 6),
                "queued_s": round(stage.queued_s / files, 6),
            }
            for stage in serial.stages
        },
        "trials": [asdict(trial) for trial in trials],
        "verdict": asdict(verdict),
    }


def show(
    console: "Console", serial: Serial, trials: Sequence[Trial], verdict: Verdict, *, recipe: str
) -> None:
    """Print where the time of a file goes, how fast each way is, and what follows from it."""
    from rich.text import Text

    files = len(serial.costs_s)
    mean_megapixels = serial.pixels / files / 1e6
    console.print(
        Text(f"recipe {recipe}, {files} file{'' if files == 1 else 's'} of {mean_megapixels:.1f} megapixels")
    )
    _show_stages(console, serial)
    _show_trials(console, trials, verdict)
    for path, why in serial.unreadable:
        console.print(Text(f"left out: {os.path.basename(path)!a}: {why}"))
    for line in verdict.text:
        console.print(Text(line))


def _show_stages(console: "Console", serial: Serial) -> None:
    from rich.table import Table

    table = Table("stage", title="one file, one worker", title_justify="left")
    for heading in ("ms", "of it CPU", "share"):
        table.add_column(heading, justify="right")
    table.add_column("")
    files, whole_s = len(serial.costs_s), sum(stage.wall_s for stage in serial.stages)
    for stage in serial.stages:
        share = stage.wall_s / whole_s
        table.add_row(
            stage.name,
            f"{1000 * stage.wall_s / files:.1f}",
            f"{1000 * stage.cpu_s / files:.1f}",
            f"{share:.0%}",
            bar(share),
        )
    console.print(table)


def _show_trials(console: "Console", trials: Sequence[Trial], verdict: Verdict) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("how", title="how many at once", title_justify="left")
    for heading in ("workers", "images/s", "range", "speed-up"):
        table.add_column(heading, justify="right")
    table.add_column("")
    best = max(trial.speedup for trial in trials)
    for trial in trials:
        chosen = trial.mode == "processes" and trial.workers == verdict.workers
        table.add_row(
            trial.mode,
            str(trial.workers),
            f"{trial.images_per_s:.1f}",
            f"{trial.lowest:.1f} to {trial.highest:.1f}",
            f"{trial.speedup:.2f}",
            Text(bar(trial.speedup / best), style=_COLOURS[trial.mode]),
            style="bold" if chosen else "",
        )
    console.print(table)


def bar(share: float) -> str:
    """Return a bar of eighths of a character."""
    eighths = round(max(0.0, min(1.0, share)) * _BAR_WIDTH * 8)
    full, rest = divmod(eighths, 8)
    return "█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")


def cpu_name() -> str:
    """Return what /proc/cpuinfo calls the CPU, else the architecture."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()
