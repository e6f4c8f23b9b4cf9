"""Where an output's pixels come from: a box of the upright source and a size in pixels, composed without touching pixels."""

from dataclasses import dataclass
from typing import Self

Size = tuple[int, int]  # width, height in pixels, each at least 1
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels of the upright source


@dataclass(frozen=True, kw_only=True, slots=True)
class Geometry:
    """The one resample that the steps so far ask for: this box of the upright source becomes this size."""

    box: Box
    size: Size

    @classmethod
    def whole(cls, size: Size) -> Self:
        return cls(box=(0.0, 0.0, float(size[0]), float(size[1])), size=size)

    def scaled_to(self, size: Size) -> "Geometry":
        """Keep the box and make it another size."""
        return Geometry(box=self.box, size=size)

    def cut(self, left: float, top: float, width: float, height: float, *, size: Size) -> "Geometry":
        """Keep only a part, given in pixels of the present size, and make it `size`."""
        x, y, right, bottom = self.box
        x_scale, y_scale = (right - x) / self.size[0], (bottom - y) / self.size[1]
        # Clamped, because a box that lies outside by a rounding error is refused by resamplers.
        box = (
            max(x + left * x_scale, x),
            max(y + top * y_scale, y),
            min(x + (left + width) * x_scale, right),
            min(y + (top + height) * y_scale, bottom),
        )
        return Geometry(box=box, size=size)


def scaled(size: Size, factor: float) -> Size:
    """Return the size times a factor, rounded, at least one pixel each way."""
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))
