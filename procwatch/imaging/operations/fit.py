"""fit: scale down until the picture fits into a box; never enlarges, never cuts."""

from procwatch.imaging.geometry import Geometry, scaled
from procwatch.imaging.operation import GeometryOperation, Param, Params


def _apply(geometry: Geometry, params: Params) -> Geometry:
    width, height = geometry.size
    factor = min(1.0, float(params.get("width", width)) / width, float(params.get("height", height)) / height)
    return geometry.scaled_to(scaled(geometry.size, factor))


def _check(params: Params) -> list[str]:
    return [] if params else ["fit needs width, height or both"]


OPERATION = GeometryOperation(
    name="fit",
    summary="scale down to fit into a box, whole picture, never enlarged",
    params=(
        Param(name="width", kind="int", meaning="largest width in pixels", low=1, high=65_535),
        Param(name="height", kind="int", meaning="largest height in pixels", low=1, high=65_535),
    ),
    apply=_apply,
    check=_check,
)
