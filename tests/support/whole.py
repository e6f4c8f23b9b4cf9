"""Tell from an output whether it was made from the whole picture, and make pictures of which that can be told."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops, ImageDraw

#: Colours far from the black, grey and white that decoders leave where a file has no data.
_STRIPES = ("#d02020", "#20a020", "#2030d0", "#d0a000", "#a020a0", "#008a9a")
_GRID = (12, 24)
#: Of 255, in the worst cell. JPEG at quality 80 and resampling stay below 15; a stripe that is missing is above 60.
_TOLERANCE = 30


def striped(seed: int, size: tuple[int, int] = (640, 480), *, detail: bool = False) -> Image.Image:
    """Return a picture of horizontal stripes, another for each seed; `detail` makes it compress badly."""
    width, height = size
    image = Image.new("RGB", size)
    draw = ImageDraw.Draw(image)
    for stripe in range(12):
        top = height * stripe // 12
        draw.rectangle((0, top, width, height), fill=_STRIPES[(stripe + seed + stripe * seed // 6) % 6])
    draw.text((4, 4), f"picture {seed}", fill="white")
    if detail:
        noise = Image.effect_noise(size, 70).convert("RGB")
        image = Image.blend(image, noise, 0.25)
    return image


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def picture_of(kind: str, seed: int, size: tuple[int, int] = (640, 480), *, detail: bool = False) -> bytes:
    """Return a striped picture in a format: JPEG, PNG, WEBP, BMP, TIFF (raw), GIF; PNG is half transparent."""
    image = striped(seed, size, detail=detail)
    if kind == "PNG":
        image.putalpha(Image.linear_gradient("L").resize(size).point(lambda value: 255 - value // 2))
    return encoded(image, kind, **({"quality": 92} if kind in ("JPEG", "WEBP") else {}))


def assert_whole(data: bytes, renditions: Sequence[Path]) -> None:
    """Fail unless each rendition shows all of the picture in `data`, cell by cell."""
    with Image.open(io.BytesIO(data)) as image:
        wanted = _cells(image)
    for rendition in renditions:
        with Image.open(rendition) as image:
            differences = ImageChops.difference(wanted, _cells(image))
        worst = max(high for _low, high in differences.getextrema())  # type: ignore[misc]
        assert worst < _TOLERANCE, f"{rendition} differs by {worst} of 255 from what was sent"


def _cells(image: Image.Image) -> Image.Image:
    flat = Image.new("RGBA", image.size, "white")
    flat.alpha_composite(image.convert("RGBA"))
    return flat.convert("RGB").resize(_GRID, Image.Resampling.BOX)
