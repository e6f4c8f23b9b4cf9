"""One picture on one CPU, as sharp's own benchmark has it: 2725 x 2225 to 720 x 588, file to file."""

import io
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from PIL import Image, ImageOps

from procwatch.imaging.memory import prefer_huge_pages
from procwatch.imaging.recipe import Output, Recipe, Step
from procwatch.imaging.render import render, warm_up
from procwatch.model import Limits

WIDTH, HEIGHT, QUALITY = 720, 588, 80


@dataclass(kw_only=True)
class Kernel:
    """A program that makes the picture, and what it came to."""

    name: str
    images_per_s: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)  # an image
    bytes_out: int = 0

    @property
    def median(self) -> float:
        return statistics.median(self.images_per_s)


def recipe(width: int, height: int, format_name: str = "jpeg", *, optimize: bool | None = None) -> Recipe:
    step = Step(op="fit", params=(("width", width), ("height", height)))
    lossless = format_name == "png"
    output = Output(
        name="out",
        steps=(step,),
        format=format_name,
        quality=None if lossless else QUALITY,
        options=() if optimize is None else (("optimize", optimize),),
    )
    return Recipe(name="bench", outputs=(output,))


@contextmanager
def folder_in(parent: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=parent, prefix="procwatch-one-") as folder:
        yield Path(folder)


def _procwatch(picture: Path, folder: Path, *, optimize: bool | None = None) -> Path:
    made = recipe(WIDTH, HEIGHT, optimize=optimize)
    output = folder / "0.jpg"
    output.unlink(missing_ok=True)
    with picture.open("rb") as source:
        render(source, made, Limits(), str(folder))
    return output


def _pillow(picture: Path, folder: Path) -> Path:
    with Image.open(picture) as opened:
        image = ImageOps.exif_transpose(opened).convert("RGB")
        image.thumbnail((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
        image.save(folder / "out.jpg", quality=QUALITY)
    return folder / "out.jpg"


def _program(*argv: str) -> Callable[[Path, Path], Path]:
    def run(picture: Path, folder: Path) -> Path:
        subprocess.run([text.format(source=picture, target=folder / "out.jpg") for text in argv], check=True)
        return folder / "out.jpg"

    return run


def _programs() -> dict[str, Callable[[Path, Path], Path]]:
    """Return what is there of the command line programs; each starts anew for every picture."""
    size = f"{WIDTH}x{HEIGHT}"
    known = {
        "vipsthumbnail": ("--size", size, "{source}", "-o", f"{{target}}[Q={QUALITY},strip]"),
        "gm": ("convert", "-size", size, "{source}", "-auto-orient", "-resize", size, "-quality", str(QUALITY), "{target}"),
        "magick": ("{source}", "-auto-orient", "-resize", size, "-quality", str(QUALITY), "{target}"),
        "convert-im6.q16": ("{source}", "-auto-orient", "-resize", size, "-quality", str(QUALITY), "{target}"),
    }  # fmt: skip
    names = {"gm": "GraphicsMagick", "magick": "ImageMagick 7", "convert-im6.q16": "ImageMagick 6"}
    return {
        names.get(name, name): _program(name, *arguments)
        for name, arguments in known.items()
        if shutil.which(name)
    }


def measure(
    picture: Path, place: Path, peers: Path, *, rounds: int, seconds: float, tell: Callable[[str], None]
) -> list[Kernel]:
    """Return every kernel's images a second, in interleaved rounds."""
    warm_up([recipe(WIDTH, HEIGHT)])
    prefer_huge_pages()  # as a worker does
    ways: dict[str, Callable[[Path, Path], Path]] = {
        "procwatch": _procwatch,
        "procwatch, optimize = true": partial(_procwatch, optimize=True),
        "Pillow, naive": _pillow,
        **_programs(),
    }
    kernels = {name: Kernel(name=name) for name in ("procwatch", "sharp", *list(ways)[1:])}
    with _one_cpu():  # libvips decodes and encodes in two threads whatever its concurrency
        _measure_in_turns(kernels, ways, picture, place, peers, rounds=rounds, seconds=seconds, tell=tell)
    return list(kernels.values())


@contextmanager
def _one_cpu() -> Iterator[None]:
    """Have this process and what it starts run on one CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _measure_in_turns(
    kernels: dict[str, Kernel],
    ways: dict[str, Callable[[Path, Path], Path]],
    picture: Path,
    place: Path,
    peers: Path,
    *,
    rounds: int,
    seconds: float,
    tell: Callable[[str], None],
) -> None:
    for number in range(rounds):
        for name, kernel in kernels.items():
            with folder_in(place) as folder:
                if name == "sharp":
                    count, taken_s, cpu_s, output = _sharp(picture, folder, peers, seconds)
                else:
                    count, taken_s, cpu_s, output = _again_and_again(ways[name], picture, folder, seconds)
                kernel.images_per_s.append(count / taken_s)
                kernel.cpu_ms.append(1000 * cpu_s / count)
                kernel.bytes_out = output.stat().st_size
            told = f"{kernel.images_per_s[-1]:.1f} images/s, {kernel.cpu_ms[-1]:.1f} ms CPU each"
            tell(f"round {number + 1}/{rounds} one picture, {name}: {told}")


def _again_and_again(
    way: Callable[[Path, Path], Path], picture: Path, folder: Path, seconds: float
) -> tuple[int, float, float, Path]:
    output = way(picture, folder)
    began_s, began_cpu_s, count = time.monotonic(), _cpu_s(), 0
    while not count or time.monotonic() - began_s < seconds:
        way(picture, folder)
        count += 1
    return count, time.monotonic() - began_s, _cpu_s() - began_cpu_s, output


def _cpu_s() -> float:
    """Return our CPU time and that of the programs that we ran."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _sharp(picture: Path, folder: Path, peers: Path, seconds: float) -> tuple[int, float, float, Path]:
    output = folder / "out.jpg"
    told = sharp_run(picture, output, (WIDTH, HEIGHT), peers, seconds)
    return int(told["count"]), told["seconds"], told["cpu"], output


def sharp_run(
    picture: Path, output: Path, size: tuple[int, int], peers: Path, seconds: float = 0.0
) -> dict[str, float]:
    arguments = [str(picture), str(output), *map(str, size), str(QUALITY), str(seconds)]
    out = subprocess.run(
        ["node", str(peers / "one_picture.mjs"), *arguments], check=True, capture_output=True, text=True
    ).stdout
    result: dict[str, float] = json.loads(out)
    return result


# -- pixels before encoding, for their quality -----------------------------------------------------


def procwatch_pixels(picture: Path, size: tuple[int, int], folder: Path) -> Image.Image:
    data = io.BytesIO(picture.read_bytes())
    staging = folder / "pixels"
    staging.mkdir()
    render(data, recipe(*size, "png"), Limits(), str(staging))
    return _loaded(staging / "0.png")


def sharp_pixels(picture: Path, size: tuple[int, int], folder: Path, peers: Path) -> Image.Image:
    sharp_run(picture, folder / "sharp.png", size, peers)
    return _loaded(folder / "sharp.png")


def vips_pixels(picture: Path, size: tuple[int, int], folder: Path) -> Image.Image:
    target = folder / "vips.png"
    subprocess.run(
        ["vipsthumbnail", "--size", f"{size[0]}x{size[1]}>", "--eprofile", "srgb", str(picture), "-o", str(target)],
        check=True,
    )  # fmt: skip
    return _loaded(target)


def _loaded(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


def versions(peers: Path) -> dict[str, str]:
    """Return what is compared, by the words of the programs themselves."""
    found = {}
    for name in ("sharp", "chokidar"):
        found[name] = json.loads((peers / "node_modules" / name / "package.json").read_text())["version"]
    for name, argv in {
        "node": ["node", "--version"],
        "vipsthumbnail": ["vipsthumbnail", "--vips-version"],
        "ImageMagick": ["convert-im6.q16", "-version"],
        "GraphicsMagick": ["gm", "version"],
    }.items():
        if shutil.which(argv[0]):
            out = subprocess.run(argv, check=False, capture_output=True, text=True).stdout
            found[name] = out.splitlines()[0].strip() if out else ""
    from importlib import metadata

    found |= {name: metadata.version(name) for name in ("pillow", "cykooz-resizer", "watchdog")}
    return {**found, "python": sys.version.split()[0]}


def sample(photos: Sequence[Path]) -> Path:
    """Return sharp's own benchmark picture among the photos, by its size."""
    for photo in photos:
        with Image.open(photo) as image:
            if image.size == (2725, 2225):
                return photo
    return photos[0]
