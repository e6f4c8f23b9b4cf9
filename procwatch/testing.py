"""Public stand-ins for tests: a file system in memory, a pool without processes, a clock that is told the time, pictures."""

import io
from dataclasses import dataclass
from typing import Any

from procwatch.delivery.memory_disk import Effect
from procwatch.delivery.memory_fs import MemoryFs
from procwatch.pool.inline import InlinePool

__all__ = ["Effect", "FakeClock", "InlinePool", "MemoryFs", "make_image"]


@dataclass(slots=True)
class FakeClock:
    """A clock that stands still until it is told; monotonic and wall time can be moved apart."""

    monotonic_s: float = 1000.0
    wall_ns: int = 1_750_000_000_000_000_000

    def monotonic(self) -> float:
        return self.monotonic_s

    def time_ns(self) -> int:
        return self.wall_ns

    def advance(self, seconds: float) -> None:
        self.monotonic_s += seconds
        self.wall_ns += round(seconds * 1e9)

    def set_wall(self, wall_ns: int) -> None:
        """Let the wall clock jump, as after a time correction; monotonic time does not notice."""
        self.wall_ns = wall_ns


def make_image(
    width: int = 64,
    height: int = 48,
    *,
    image_format: str = "JPEG",
    mode: str = "RGB",
    seed: int = 0,
    orientation: int | None = None,
    frames: int = 1,
    **options: Any,
) -> bytes:
    """Return the bytes of a picture in a Pillow format: gradients, the same for the same arguments.

    `seed` (0 to 255) changes the colour, `orientation` writes the EXIF tag, `options` go to Pillow's save.
    """
    from PIL import Image

    pictures = [_picture(width, height, mode, seed + number * 16) for number in range(frames)]
    if orientation is not None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        options["exif"] = exif
    if frames > 1:
        options |= {"save_all": True, "append_images": pictures[1:]}
    buffer = io.BytesIO()
    pictures[0].save(buffer, image_format, **options)
    return buffer.getvalue()


def _picture(width: int, height: int, mode: str, seed: int) -> Any:
    from PIL import Image

    down = Image.linear_gradient("L").resize((width, height))
    across = Image.linear_gradient("L").rotate(90).resize((width, height))
    flat = Image.new("L", (width, height), seed % 256)
    picture = Image.merge("RGB", (across, down, flat))
    if mode in {"RGBA", "LA"}:
        picture.putalpha(across)
    return picture.convert(mode)
