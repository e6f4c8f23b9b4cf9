"""The planner: from sizes and recipes alone, decides what is resampled from what; pure numbers, no PIL."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from procwatch.imaging.geometry import Box, Geometry, Size
from procwatch.imaging.operation import GeometryOperation, with_defaults
from procwatch.imaging.operations import OPERATIONS
from procwatch.imaging.recipe import Output, Step

#: libjpeg may shrink while it decodes as long as this many of its pixels are left for each output pixel, each way.
DRAFT_GAP: Final = 2.0

#: An output is made from a larger finished one that has this many pixels for each of its own, each way.
DERIVE_GAP: Final = 2.0

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
    """Return the largest factor that leaves DRAFT_GAP pixels for each pixel of every output; 1 if there is none."""
    densest = max((max(density(geometry)) for geometry in geometries), default=1.0)
    return next((factor for factor in _DRAFT_FACTORS if factor * densest * DRAFT_GAP <= 1.0 + _EDGE), 1)
