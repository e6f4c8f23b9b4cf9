"""Which part of a picture to keep when something must be cut away: the nine places of a compass, in words."""

from procwatch.imaging.operation import Param

#: word → share of the surplus that is cut off at the left and at the top
SHARES: dict[str, tuple[float, float]] = {
    "center": (0.5, 0.5),
    "top": (0.5, 0.0),
    "bottom": (0.5, 1.0),
    "left": (0.0, 0.5),
    "right": (1.0, 0.5),
    "top-left": (0.0, 0.0),
    "top-right": (1.0, 0.0),
    "bottom-left": (0.0, 1.0),
    "bottom-right": (1.0, 1.0),
}

GRAVITY = Param(
    name="gravity", kind="str", meaning="which part to keep", default="center", choices=tuple(SHARES)
)


def offset(gravity: object, surplus: tuple[float, float]) -> tuple[float, float]:
    """Return how much to cut off at the left and at the top of a surplus, in its unit."""
    x_share, y_share = SHARES[str(gravity)]
    return surplus[0] * x_share, surplus[1] * y_share
