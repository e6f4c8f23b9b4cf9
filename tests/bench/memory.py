"""What do large pictures cost, and whom do they keep waiting? python -m tests.bench.memory

Ten pictures of 100 megapixels, then 1,000 small ones, on two workers under a budget of 1 GiB: the resident memory of all
workers together and of the daemon, and how many are done, over time. Writes memory.json and memory.svg.
"""

import argparse
import itertools
import json
import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.places import Places
from tests.support.scale import BUDGET_BYTES, MIB, WORKERS, Weighed, weigh

#: One point of the curves is the largest of its samples.
_POINT_S = 0.25
_WIDTH, _LEFT, _RIGHT = 820, 64, 16
_MEMORY, _DONE = (36, 196), (288, 110)  # top and height of the two panels
_HEIGHT = _DONE[0] + _DONE[1] + 32
_STYLE = """<style>
text { font: 13px system-ui, sans-serif; fill: #57606a }
.title { font-weight: 600; font-size: 14px }
.grid { stroke: #d0d7de; stroke-width: 1 }
.budget { stroke: #cf222e; stroke-width: 1.5; stroke-dasharray: 6 4 }
.over { fill: #cf222e }
.workers { fill: #2f9e63; fill-opacity: .25; stroke: #2f9e63; stroke-width: 1.5; stroke-linejoin: round }
.daemon { fill: none; stroke: #8250df; stroke-width: 1.5 }
.small { fill: none; stroke: #0969da; stroke-width: 2 }
.large { fill: none; stroke: #bc6c00; stroke-width: 2 }
.of-workers { fill: #2f9e63 } .of-daemon { fill: #8250df } .of-small { fill: #0969da } .of-large { fill: #bc6c00 }
@media (prefers-color-scheme: dark) {
text { fill: #9da7b3 } .grid { stroke: #373e47 } .budget { stroke: #ff7b72 } .over { fill: #ff7b72 }
.daemon { stroke: #d2a8ff } .of-daemon { fill: #d2a8ff } .small { stroke: #58a6ff } .of-small { fill: #58a6ff }
.large { stroke: #f0a64a } .of-large { fill: #f0a64a } .of-workers { fill: #4cc38a } .workers { stroke: #4cc38a }
}
</style>"""

Point = tuple[float, float]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.memory", description=__doc__)
    parser.add_argument("--large", type=int, default=10)
    parser.add_argument("--small", type=int, default=1000)
    parser.add_argument("--place", type=Path, help="where to make the files (default: the temporary folder)")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results")
    parser.add_argument("--draw", action="store_true", help="only draw the figures that are there again")
    args = parser.parse_args()
    figures = args.results / "memory.json"
    if not args.draw:
        with tempfile.TemporaryDirectory(dir=args.place, prefix="procwatch-memory-") as root:
            weighed = weigh(
                Places(root=Path(root) / "site").make(), Path(root), large=args.large, small=args.small
            )
        args.results.mkdir(parents=True, exist_ok=True)
        report = _report(weighed, args.large, args.small)
        figures.write_text(_json(report))
        print(
            json.dumps({key: value for key, value in report.items() if not isinstance(value, list)}, indent=1)
        )
    (args.results / "memory.svg").write_text(_chart(json.loads(figures.read_text())))


def _report(weighed: Weighed, large: int, small: int) -> dict[str, Any]:
    """Return the figures; times are seconds since the first file was dropped."""
    bins: dict[int, tuple[int, int]] = {}
    for sample in weighed.samples:
        key = int((sample.at_s - weighed.began_s) / _POINT_S)
        workers, daemon = bins.get(key, (0, 0))
        bins[key] = max(workers, sample.workers_bytes), max(daemon, sample.daemon_bytes)
    done = [(round(at_s - weighed.began_s, 2), path) for at_s, path in weighed.done]
    ends = {kind: sorted(at_s for at_s, path in done if path.startswith(kind)) for kind in ("large", "small")}
    return {
        "python": platform.python_version(),
        "workers": WORKERS,
        "budget_mib": BUDGET_BYTES // MIB,
        "large": large,
        "small": small,
        "seconds": max(at_s for at_s, _ in done),
        "last_small_s": ends["small"][-1] if ends["small"] else None,
        "workers_peak_mib": round(weighed.peak_bytes / MIB, 1),
        "daemon_peak_mib": round(max(sample.daemon_bytes for sample in weighed.samples) / MIB, 1),
        "large_done_s": ends["large"],
        "small_done_s": ends["small"],
        "curve": [
            [round(key * _POINT_S, 2), round(workers / MIB, 1), round(daemon / MIB, 1)]
            for key, (workers, daemon) in sorted(bins.items())
        ],
    }


def _json(report: dict[str, Any]) -> str:
    """Return JSON with a line a figure or list: a thousand lines of one number tell nobody more."""
    lines = [f" {json.dumps(key)}: {json.dumps(value)}" for key, value in report.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


# --- the picture ---


def _chart(report: dict[str, Any]) -> str:
    end_s = max(report["curve"][-1][0], report["seconds"])
    rows = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img">',
        f"<title>Memory of {report['workers']} workers and files done over time</title>",
        _STYLE,
        *_memory_panel(report, end_s),
        *_done_panel(report, end_s),
        *_seconds(end_s),
        "</svg>\n",
    ]
    return "\n".join(rows)


def _memory_panel(report: dict[str, Any], end_s: float) -> list[str]:
    top, height = _MEMORY
    most = report["budget_mib"] * 1.1

    def place(at_s: float, mib: float) -> Point:
        return _x(at_s, end_s), round(top + height * (1 - mib / most), 1)

    workers = [place(at_s, mib) for at_s, mib, _ in report["curve"]]
    daemon = [place(at_s, mib) for at_s, _, mib in report["curve"]]
    floor = round(top + height, 1)
    budget_y = place(0, report["budget_mib"])[1]
    legend = {
        "workers": f"all workers together, at most {report['workers_peak_mib']:.0f} MiB",
        "daemon": f"daemon, at most {report['daemon_peak_mib']:.0f} MiB",
    }
    rows = [_title("resident memory", top, legend)]
    rows += _grid(
        [(place(0, mib)[1], f"{mib} MiB" if mib else "0") for mib in range(0, report["budget_mib"], 256)]
    )
    area = [(workers[0][0], floor), *workers, (workers[-1][0], floor)]
    return [
        *rows,
        f'<polygon class="workers" points="{_points(area)}"/>',
        f'<polyline class="daemon" points="{_points(daemon)}"/>',
        f'<line class="budget" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{budget_y}" y2="{budget_y}"/>',
        f'<text class="over" x="{_WIDTH - _RIGHT}" y="{budget_y - 6}" text-anchor="end">budget, {report["budget_mib"]:,} MiB</text>',
    ]


def _done_panel(report: dict[str, Any], end_s: float) -> list[str]:
    top, height = _DONE

    def place(at_s: float, share: float) -> Point:
        return _x(at_s, end_s), round(top + height * (1 - share), 1)

    ends = {kind: report[f"{kind}_done_s"] for kind in ("small", "large")}
    legend = {
        "small": f"{len(ends['small']):,} small ones, the last after {ends['small'][-1]:.0f} s",
        "large": f"{len(ends['large'])} of 100 megapixels, the last after {ends['large'][-1]:.0f} s",
    }
    rows = [_title("files done", top, legend)]
    rows += _grid([(place(0, share / 100)[1], f"{share} %") for share in (0, 50, 100)])
    for kind, ends_s in ends.items():
        steps = [place(0, 0)]
        for number, at_s in enumerate(ends_s, 1):
            steps += [(_x(at_s, end_s), steps[-1][1]), place(at_s, number / len(ends_s))]
        rows.append(f'<polyline class="{kind}" points="{_points(_thinned(steps))}"/>')
    return rows


def _seconds(end_s: float) -> list[str]:
    y = _DONE[0] + _DONE[1]
    step_s = next(step for step in (1, 2, 5, 10, 20, 30, 60, 120, 300) if end_s / step <= 10)
    return [
        f'<text x="{_x(at_s, end_s)}" y="{y + 20}" text-anchor="middle">{at_s} s</text>'
        for at_s in range(0, int(end_s) + 1, step_s)
    ]


def _x(at_s: float, end_s: float) -> float:
    return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * at_s / end_s, 1)


def _thinned(points: Sequence[Point]) -> list[Point]:
    """Leave out points that lie on the line between their neighbours, or on them."""
    kept = [points[0]]
    for one, after in itertools.pairwise(points[1:]):
        before = kept[-1]
        if one != before and not (before[1] == one[1] == after[1]) and not (before[0] == one[0] == after[0]):
            kept.append(one)
    return [*kept, points[-1]]


def _points(points: Sequence[Point]) -> str:
    return " ".join(f"{x:g},{y:g}" for x, y in points)


def _title(text: str, top: int, legend: dict[str, str]) -> str:
    """Return the line above a panel: what it shows, then each curve in its colour."""
    names = "".join(f'<tspan class="of-{kind}" dx="18">{name}</tspan>' for kind, name in legend.items())
    return f'<text x="0" y="{top - 18}"><tspan class="title">{text}</tspan>{names}</text>'


def _grid(lines: Sequence[tuple[float, str]]) -> list[str]:
    return [
        row
        for y, label in lines
        for row in (
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>',
            f'<text x="{_LEFT - 8}" y="{y + 4.5}" text-anchor="end">{label}</text>',
        )
    ]


if __name__ == "__main__":
    main()
