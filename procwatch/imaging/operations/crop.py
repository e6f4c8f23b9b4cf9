"""crop: keep a rectangle of the picture as it is at this step, at most what is there."""

from procwatch.imaging.geometry import Geometry
from procwatch.imaging.gravity import GRAVITY, offset
from procwatch.imaging.operation import GeometryOperation, Param, Params


def _apply(geometry: Geometry, params: Params) -> Geometry:
    width, height = geometry.size
    size = min(int(params["width"]), width), min(int(params["height"]), height)
    by_gravity = offset(params["gravity"], (width - size[0], height - size[1]))
    # A corner outside is pulled in, so that a fixed crop never yields less than it could.
    left = min(int(params.get("left", int(by_gravity[0]))), width - size[0])
    top = min(int(params.get("top", int(by_gravity[1]))), height - size[1])
    return geometry.cut(left, top, *size, size=size)


OPERATION = GeometryOperation(
    name="crop",
    summary="keep a rectangle, by corner or by gravity",
    params=(
        Param(name="width", kind="int", meaning="width in pixels", required=True, low=1, high=65_535),
        Param(name="height", kind="int", meaning="height in pixels", required=True, low=1, high=65_535),
        Param(name="left", kind="int", meaning="left edge in pixels, instead of by gravity", low=0),
        Param(name="top", kind="int", meaning="top edge in pixels, instead of by gravity", low=0),
        GRAVITY,
    ),
    apply=_apply,
)
