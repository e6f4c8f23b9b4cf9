"""The planner: from sizes and recipes alone, decides what is resampled from what; pure numbers, no PIL."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from procwatch.imaging.geometry import Box, Geometry, Size
from procwatch.imaging.operation import GeometryOperation, with_defaults
from procwatch.imaging.operations import OPERATIONS
from procwatch.imaging.recipe import Output, Step

#: libjpeg may shrink while it decodes as long as this many of its pixels are left for each output pixel, each way.
#: Measured on 15 photos of 0.4 to 24 megapixels, SSIM of luma against full decode and Pillow's Lanczos, mean / worst:
#:   320 px: gap 2.0 .9986/.9976, 1.4 .9977/.9953, 1.25 .9967/.9849       1600 px: 2.0 .9989/.9980, 1.25 .9975/.9946
#:   400 px: gap 2.0 .9987/.9980, 1.4 .9979/.9965, 1.25 .9963/.9901       2048 px: 2.0 .9990/.9981, 1.25 .9985/.9968
#: Large outputs keep more with less of a gap, and gain most: a 20 megapixel photo decodes in 29 ms instead of 66.
#: An eighth is another matter: each of its pixels is the mean of a whole block, where a half and a quarter cut the block's
#: spectrum off. The worst mean and the worst file of all sizes from 80 to 800 px, a half and a quarter always with 1.4:
#:   an eighth with gap 1.4 .9974/.9928   1.25 .9966/.9894   1.15 .9965/.9894   1.1 .9954/.9858
#: Five megapixels to 320 px (gap 1.17, .9911; sharp's picture has .9910) decode in 5.7 ms instead of 6.4.
DRAFT_GAP: Final = 1.4
DRAFT_GAP_LARGE: Final = 1.25
DRAFT_GAP_EIGHTH: Final = 1.15
LARGE_SIDE: Final = 1200  # pixels, the longer side of an output

#: An output is made from a larger finished one that has this many pixels for each of its own, each way.
#: Measured likewise, 400 px from 600 (gap 1.5) .9982/.9974, from 800 .9984/.9977, from 2048 .9990/.9985.
DERIVE_GAP: Final = 1.5

_DRAFT_FACTORS: Final = (8, 4, 2)
_EDGE: Final = 1e-6  # of a pixel: boxes that went through divisions still count as equal


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """How to make one output: resample `geometry`, then do `rest` (steps from the first pixel operation on).

    `parent` is the index of the output whose picture, before its own `rest`, is resampled; None is the decoded source.
    """

    index: int
    geometry: Geometry
    rest: tuple[Step, ...]
    parent: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """`draft` is the factor by which the decoder shrinks a JPEG; tasks come in the order in which they can run."""

    draft: int
    tasks: tuple[Task, ...]


def plan(outputs: Sequence[Output], upright: Size, *, can_draft: bool) -> Plan:
    """Decide everything that follows from the source's upright size."""
    split = [_split(output.steps, upright) for output in outputs]
    largest_first = sorted(range(len(split)), key=lambda i: -_pixels(split[i][0]))
    tasks: list[Task] = []
    for index in largest_first:
        geometry, rest = split[index]
        tasks.append(Task(index=index, geometry=geometry, rest=rest, parent=_parent(geometry, tasks)))
    from_source = [task.geometry for task in tasks if task.parent is None]
    return Plan(draft=draft_factor(from_source) if can_draft else 1, tasks=tuple(tasks))


def _split(steps: tuple[Step, ...], upright: Size) -> tuple[Geometry, tuple[Step, ...]]:
    """Fold the leading geometry steps into one resample; the rest waits for pixels."""
    geometry = Geometry.whole(upright)
    for position, step in enumerate(steps):
        operation = OPERATIONS[step.op]
        if not isinstance(operation, GeometryOperation):
            return geometry, steps[position:]
        geometry = operation.apply(geometry, with_defaults(operation.params, step.params))
    return geometry, ()


def _pixels(geometry: Geometry) -> int:
    return geometry.size[0] * geometry.size[1]


def density(geometry: Geometry) -> tuple[float, float]:
    """Return how many output pixels there are for one source pixel, each way."""
    left, top, right, bottom = geometry.box
    return geometry.size[0] / (right - left), geometry.size[1] / (bottom - top)


def _parent(geometry: Geometry, done: Sequence[Task]) -> int | None:
    """Return the smallest finished picture that contains this one and has enough pixels for it."""
    fitting = [task for task in done if _derivable(geometry, task.geometry)]
    return min(fitting, key=lambda task: _pixels(task.geometry)).index if fitting else None


def _derivable(small: Geometry, large: Geometry) -> bool:
    inside = all(a >= b - _EDGE for a, b in zip(small.box[:2], large.box[:2], strict=True)) and all(
        a <= b + _EDGE for a, b in zip(small.box[2:], large.box[2:], strict=True)
    )
    if not inside:
        return False
    if small == large:
        return True
    return all(a >= DERIVE_GAP * b for a, b in zip(density(large), density(small), strict=True))


def relative_box(box: Box, parent: Geometry) -> Box:
    """Return a box of the source in pixels of a picture that was made from the source."""
    x, y = density(parent)
    left, top = parent.box[:2]
    width, height = parent.size
    return (
        max(0.0, (box[0] - left) * x),
        max(0.0, (box[1] - top) * y),
        min(float(width), (box[2] - left) * x),
        min(float(height), (box[3] - top) * y),
    )


def draft_factor(geometries: Sequence[Geometry]) -> int:
    """Return the largest factor that leaves enough pixels for each pixel of every output; 1 if there is none."""
    leaving = (factor for factor in _DRAFT_FACTORS if all(_leaves_gap(factor, one) for one in geometries))
    return next(leaving, 1) if geometries else 1


def _leaves_gap(factor: int, geometry: Geometry) -> bool:
    return factor * max(density(geometry)) * draft_gap(factor, max(geometry.size)) <= 1.0 + _EDGE


def draft_gap(factor: int, side: int) -> float:
    """Return how many pixels have to be left for each one of an output whose longer side is this."""
    if factor == _DRAFT_FACTORS[0]:
        return DRAFT_GAP_EIGHTH
    return DRAFT_GAP_LARGE if side >= LARGE_SIDE else DRAFT_GAP
