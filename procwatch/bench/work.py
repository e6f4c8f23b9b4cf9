"""One file rendered as a worker does it, with the time of each stage. What a bench's worker process imports is this."""

import io
import itertools
import os
import resource
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from procwatch.model import Limits

if TYPE_CHECKING:
    from procwatch.imaging.recipe import Recipe

#: In the order in which they happen; outputs take turns with the last three.
STAGES: Final = ("read", "decode", "transform", "encode", "write")

#: Seconds by the clock, of CPU, and waiting for a CPU that others had.
Times = tuple[float, float, float]

_count = itertools.count()
_of_thread = threading.local()


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """One file's turn. `began_s` and `ended_s` are CLOCK_MONOTONIC, which all processes share."""

    file: int  # its index
    began_s: float
    ended_s: float
    cpu_s: float
    stages: dict[str, Times]
    pixels: int
    max_rss_bytes: int


class _Clock:
    """Adds up the times of each stage."""

    def __init__(self) -> None:
        self.stages: dict[str, Times] = dict.fromkeys(STAGES, (0.0, 0.0, 0.0))
        self._stage = ""
        self._began = _now()

    def __call__(self, stage: str) -> None:
        """End the stage before and begin this one."""
        now = _now()
        if self._stage:
            wall_s, cpu_s, queued_s = self.stages[self._stage]
            began = self._began
            self.stages[self._stage] = (
                wall_s + now[0] - began[0],
                cpu_s + now[1] - began[1],
                queued_s + now[2] - began[2],
            )
        self._stage, self._began = stage, now


def _now() -> Times:
    return time.monotonic(), time.thread_time(), _queued_s()


def _queued_s() -> float:
    """Return how long this thread was ready to run and had no CPU; 0 where the kernel does not say."""
    try:
        with open("/proc/thread-self/schedstat", "rb", buffering=0) as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def begin(recipe: "Recipe") -> None:
    """Make a worker process ready: an executor's initializer. Ctrl-C is for the command, which ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warm_up(recipe)


def warm_up(recipe: "Recipe") -> None:
    """Do what is not part of the work: imports and the resampler's check."""
    from procwatch.imaging.render import warm_up as warm_up_imaging

    warm_up_imaging((recipe,))


def hello(seconds: float) -> int:
    """Keep a worker busy for a moment, so that an executor starts all that it may; return the pid."""
    time.sleep(seconds)
    return os.getpid()


def render_file(index: int, path: str, recipe: "Recipe", limits: Limits, scratch: str) -> Span:
    """Render a file into a folder of its own below `scratch`, as durably as the daemon does, and remove it again.

    Raises ImageError or OSError for a file that cannot be rendered.
    """
    from procwatch.imaging.render import render
    from procwatch.imaging.resample import Resampler

    if not hasattr(_of_thread, "resampler"):
        _of_thread.resampler = Resampler(recipe.resampler)
    staging = os.path.join(scratch, f"{os.getpid()}.{next(_count)}")
    os.mkdir(staging, 0o700)
    try:
        began_s, began_cpu_s = time.monotonic(), time.thread_time()
        clock = _Clock()
        clock("read")
        with open(path, "rb") as file:
            source = io.BytesIO(file.read())
        rendered = render(source, recipe, limits, staging, stage=clock, resampler=_of_thread.resampler)
        clock("")
        ended_s, ended_cpu_s = time.monotonic(), time.thread_time()
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Span(
        file=index,
        began_s=began_s,
        ended_s=ended_s,
        cpu_s=ended_cpu_s - began_cpu_s,
        stages=clock.stages,
        pixels=rendered.width * rendered.height,
        max_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    )


def make_pictures(folder: str) -> Sequence[str]:
    """Make four photographs of 12 megapixels that no camera took: gradients with grain, as hard to code as real ones."""
    from PIL import Image

    size = (4000, 3000)
    grain = Image.effect_noise((1000, 750), 32).resize(size, Image.Resampling.BICUBIC)
    fine = Image.effect_noise(size, 9)
    paths = []
    for number in range(4):
        light = Image.linear_gradient("L").rotate(90 * number).resize(size)
        bands = (light, Image.blend(grain, light, 0.5), Image.blend(fine, light, 0.6))
        path = os.path.join(folder, f"made-{number}.jpg")
        Image.merge("RGB", bands).save(path, "JPEG", quality=90)
        paths.append(path)
    return paths
