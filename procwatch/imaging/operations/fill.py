"""fill: scale down and cut to fill a box exactly; a smaller picture is cut to the shape of the box, never enlarged."""

from procwatch.imaging.geometry import Geometry, scaled
from procwatch.imaging.gravity import GRAVITY, offset
from procwatch.imaging.operation import GeometryOperation, Param, Params


def _apply(geometry: Geometry, params: Params) -> Geometry:
    width, height = geometry.size
    wanted = int(params["width"]), int(params["height"])
    size = scaled(wanted, min(1.0, width / wanted[0], height / wanted[1]))
    factor = min(width / size[0], height / size[1])
    kept = size[0] * factor, size[1] * factor
    left, top = offset(params["gravity"], (width - kept[0], height - kept[1]))
    return geometry.cut(left, top, *kept, size=size)


OPERATION = GeometryOperation(
    name="fill",
    summary="scale down and cut to fill a box exactly; never enlarged",
    params=(
        Param(name="width", kind="int", meaning="width in pixels", required=True, low=1, high=65_535),
        Param(name="height", kind="int", meaning="height in pixels", required=True, low=1, high=65_535),
        GRAVITY,
    ),
    apply=_apply,
)
