"""python -m tests.bench.peers: install the peers, measure everything, write peers.json and peers.svg."""

import argparse
import datetime as dt
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from procwatch.bench.show import cpu_name
from tests.bench.peers import backlog, one_picture
from tests.bench.peers.chart import Bar, bars
from tests.bench.peers.engines import ENGINES, HERE
from tests.bench.peers.quality import full_decode, similarity

RESULTS = HERE.parent / "results"
#: ours against which, at least how many times faster: the goals that were set beforehand.
GOALS = (
    ("web", "chokidar + sharp", 1.25),
    ("thumb", "chokidar + sharp", 1.05),
    ("own", "chokidar + sharp", 1.4),
    ("web", "inotifywait + vipsthumbnail", 1.8),
    ("thumb", "inotifywait + vipsthumbnail", 1.8),
    ("web", "watchdog + Pillow, naive", 4.0),
    ("thumb", "watchdog + Pillow, naive", 4.0),
)
_BOXES = {"320": (320, 320), "400": (400, 400), "1600": (1600, 1600)}


def main() -> None:
    args = _arguments()
    if not args.no_install:
        subprocess.run(["sh", str(HERE / "install.sh"), str(args.peers)], check=True)
    photos = sorted(path for path in args.photos.iterdir() if path.suffix.lower() in {".jpg", ".jpeg"})
    places = [
        (name, folder) for name, folder in (("tmpfs", args.tmpfs), ("disk", args.disk)) if name in args.place
    ]
    began_load = os.getloadavg()[0]
    wanted = [
        engine for engine in ENGINES if not args.engine or any(text in engine.name for text in args.engine)
    ]
    results = backlog.measure(
        wanted,
        args.recipe,
        places,
        photos,
        copies=args.copies,
        rounds=args.rounds,
        peers=args.peers,
        tell=_tell,
    )
    report = _report(args, len(photos) * args.copies, began_load)
    write(report, results, [], args.results)  # the rest takes minutes too
    picture = one_picture.sample(photos)
    kernels = one_picture.measure(
        picture, args.tmpfs, args.peers, rounds=args.rounds, seconds=args.seconds, tell=_tell
    )
    write(report, results, kernels, args.results)
    if not args.no_quality:
        report["quality"] = _quality(photos, args.tmpfs, args.peers)
        write(report, results, kernels, args.results)
    print(tables(report))


def _report(args: argparse.Namespace, files: int, began_load: float) -> dict[str, Any]:
    return {
        "command": "python -m tests.bench.peers " + " ".join(sys.argv[1:]),
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": {
            "cpu": cpu_name(),
            "cpus": len(os.sched_getaffinity(0)),
            "system": platform.platform(),
            "load_before": round(began_load, 1),
            "load_after": round(os.getloadavg()[0], 1),
        },
        "versions": one_picture.versions(args.peers),
        "files": files,
        "rounds": args.rounds,
        "quality": {},
    }


def write(
    report: dict[str, Any],
    results: Sequence[backlog.Result],
    kernels: Sequence[one_picture.Kernel],
    folder: Path,
) -> None:
    """Write what is known so far."""
    report |= {
        "backlog": [_backlog_row(result) for result in results],
        "one_picture": [_kernel_row(kernel) for kernel in kernels],
        "ratios": _ratios(results, kernels),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "peers.json").write_text(json.dumps(report, indent=1) + "\n")
    (folder / "peers.svg").write_text(_chart(results, kernels, report["files"]))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.peers", description=__doc__)
    corpus = Path(os.environ.get("PROCWATCH_CORPUS", HERE.parents[3] / "shared" / "corpus"))
    parser.add_argument("--photos", type=Path, default=corpus / "photos", help="a folder of JPEG files")
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--seconds", type=float, default=3.0, help="for each kernel on one picture, each round"
    )
    parser.add_argument("--recipe", nargs="+", default=["thumb", "web", "own"])
    parser.add_argument("--place", nargs="+", default=["tmpfs", "disk"])
    parser.add_argument("--engine", nargs="*", help="only those whose name has one of these texts")
    parser.add_argument("--tmpfs", type=Path, default=Path("/dev/shm"))
    parser.add_argument(
        "--disk", type=Path, default=Path("/var/tmp"), help="where an fsync costs what it costs"
    )
    parser.add_argument("--peers", type=Path, default=Path.home() / ".cache" / "procwatch-peers")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--no-install", action="store_true")
    parser.add_argument("--no-quality", action="store_true")
    return parser.parse_args()


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(values), 3),
        "low": round(min(values), 3),
        "high": round(max(values), 3),
    }


def _backlog_row(result: backlog.Result) -> dict[str, Any]:
    return {
        "engine": result.engine,
        "recipe": result.recipe,
        "place": result.place,
        "images_per_s": _spread(result.images_per_s),
        "cpu_ms": _spread(result.cpu_ms),
        "bytes_per_image": round(result.bytes_per_image),
        "rounds": [round(rate, 3) for rate in result.images_per_s],
        "stalls": len(result.stalls),
    }


def _kernel_row(kernel: one_picture.Kernel) -> dict[str, Any]:
    return {
        "engine": kernel.name,
        "images_per_s": _spread(kernel.images_per_s),
        "cpu_ms": _spread(kernel.cpu_ms),
        "bytes": kernel.bytes_out,
        "rounds": [round(rate, 3) for rate in kernel.images_per_s],
    }


def _ratios(results: Sequence[backlog.Result], kernels: Sequence[one_picture.Kernel]) -> list[dict[str, Any]]:
    """Return ours to each other's, round by round: what slowed the machine slowed both."""
    goals = {(recipe, engine): goal for recipe, engine, goal in GOALS}
    found = []
    for theirs in results:
        ours = next(
            (
                r
                for r in results
                if r.engine == "procwatch" and (r.recipe, r.place) == (theirs.recipe, theirs.place)
            ),
            None,
        )
        if ours is None or theirs is ours:
            continue
        both = [number for number in range(len(ours.images_per_s)) if number not in theirs.stalls]
        rates, cpu_ms = ([values[number] for number in both] for values in (ours.images_per_s, ours.cpu_ms))
        pairs = [a / b for a, b in zip(rates, theirs.images_per_s, strict=True)]
        in_cpu = [b / a for a, b in zip(cpu_ms, theirs.cpu_ms, strict=True)]
        goal = goals.get((theirs.recipe, theirs.engine))
        found.append(
            {
                "what": theirs.recipe,
                "place": theirs.place,
                "against": theirs.engine,
                "ratio": _spread(pairs),
                "cpu_ratio": _spread(in_cpu),
                "goal": goal,
            }
        )
    for kernel in kernels[1:]:
        pairs = [a / b for a, b in zip(kernels[0].images_per_s, kernel.images_per_s, strict=True)]
        in_cpu = [b / a for a, b in zip(kernels[0].cpu_ms, kernel.cpu_ms, strict=True)]
        goal = 1.4 if kernel.name == "sharp" else None
        found.append(
            {
                "what": "one picture",
                "place": "tmpfs",
                "against": kernel.name,
                "ratio": _spread(pairs),
                "cpu_ratio": _spread(in_cpu),
                "goal": goal,
            }
        )
    return found


def _quality(photos: Sequence[Path], place: Path, peers: Path) -> dict[str, Any]:
    """Return the similarity of the pixels before encoding to a full decode and Lanczos, mean and worst."""
    found: dict[str, dict[str, list[float]]] = {}
    for photo in photos:
        full = full_decode(photo)
        for label, size in _BOXES.items():
            with one_picture.folder_in(place) as folder:
                made = {
                    "procwatch": one_picture.procwatch_pixels(photo, size, folder),
                    "sharp": one_picture.sharp_pixels(photo, size, folder, peers),
                    "vipsthumbnail": one_picture.vips_pixels(photo, size, folder),
                }
            for name, image in made.items():
                found.setdefault(name, {}).setdefault(label, []).append(similarity(image, full))
    return {
        name: {
            label: {"mean": round(statistics.mean(values), 4), "worst": round(min(values), 4)}
            for label, values in sizes.items()
        }
        for name, sizes in found.items()
    }


def _chart(results: Sequence[backlog.Result], kernels: Sequence[one_picture.Kernel], files: int) -> str:
    titles = {
        "thumb": f"thumb: {files} photos to 320 px JPEG",
        "web": f"web: {files} photos to 1600 px progressive JPEG and 400 px WebP",
        "own": f"sharp's benchmark picture, {files} times, 2725 x 2225 to 720 x 588",
    }
    groups: list[tuple[str, str, list[Bar]]] = []
    for place, words in (("disk", "on disk, procwatch with fsync"), ("tmpfs", "on tmpfs")):
        for recipe, title in titles.items():
            rows = [r for r in results if (r.recipe, r.place) == (recipe, place)]
            rows.sort(key=lambda result: -result.median)
            if rows:
                groups.append(
                    (f"{title}, {words}", "images/s", [_bar(r.engine, r.images_per_s) for r in rows])
                )
    if not kernels:
        return bars(groups)
    ordered = sorted(kernels, key=lambda kernel: -kernel.median)
    title = "sharp's benchmark picture in one process, on one CPU, 2725 x 2225 to 720 x 588"
    groups.append((title, "images/s", [_bar(kernel.name, kernel.images_per_s) for kernel in ordered]))
    return bars(groups)


def _bar(name: str, rates: Sequence[float]) -> Bar:
    return name, statistics.median(rates), min(rates), max(rates)


def tables(report: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    machine = report["machine"]
    described = (
        f"{machine['cpus']} CPUs ({machine['cpu']}), {report['files']} photos, {report['rounds']} interleaved rounds, "
        f"load {machine['load_before']} to {machine['load_after']}; median (range)"
    )
    lines = [
        described,
        "",
        "| | recipe | on | images/s | ms of CPU an image | kB an image | procwatch is |",
        "|---|---|---|---|---|---|---|",
    ]
    ratios = {(row["what"], row["place"], row["against"]): row for row in report["ratios"]}
    for row in report["backlog"]:
        ratio = ratios.get((row["recipe"], row["place"], row["engine"]))
        lines.append(
            f"| {row['engine']} | {row['recipe']} | {row['place']} | {_range(row['images_per_s'], 1)}"
            f" | {_range(row['cpu_ms'], 1)} | {row['bytes_per_image'] / 1000:.0f} | {_times(ratio)} |"
        )
    for row in report["one_picture"]:
        ratio = ratios.get(("one picture", "tmpfs", row["engine"]))
        lines.append(
            f"| {row['engine']} | one picture | tmpfs | {_range(row['images_per_s'], 1)}"
            f" | {_range(row['cpu_ms'], 1)} | {row['bytes'] / 1000:.0f} | {_times(ratio)} |"
        )
    lines += [
        "",
        "| SSIM of the pixels, mean / worst | " + " | ".join(f"{size} px" for size in _BOXES) + " |",
    ]
    lines.append("|---|" + "---|" * len(_BOXES))
    for name, sizes in report["quality"].items():
        cells = [f"{value['mean']:.4f} / {value['worst']:.4f}" for value in sizes.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _range(spread: dict[str, float], digits: int) -> str:
    return f"{spread['median']:.{digits}f} ({spread['low']:.{digits}f} to {spread['high']:.{digits}f})"


def _times(ratio: dict[str, Any] | None) -> str:
    if ratio is None:
        return ""
    goal = f", goal {ratio['goal']}" if ratio["goal"] else ""
    return f"{_range(ratio['ratio'], 2)} times as fast, {_range(ratio['cpu_ratio'], 2)} in CPU time{goal}"


if __name__ == "__main__":
    main()
