"""How much memory a picture will take, from its header and the plan alone: pure numbers, no PIL.

Fitted to the peaks of address space of 30 kinds of 24 megapixel files, rendered by the recipe `web`. Measured bytes
for each pixel of the source: JPEG 2.6, progressive 4.0 to 7.0, CMYK progressive 9.0; PNG RGB 6.3, RGBA 10.5,
palette 7.3, keyed 11.5, LA 14.5, 16 bits 5.2, keyed 18.5; WebP 16.1, lossless 17.7, RGBA 19.3; GIF 7.3; BMP 6.3;
TIFF 6.3 to 10.5, float 9.0; AVIF 9.4, RGBA 14.7. The estimate is 1.2 to 2.9 times that, more for grey ones.
A test renders each kind under a limit of exactly the estimate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from procwatch.imaging.geometry import Size

#: What allocators round up, and whatever does not grow with the picture.
_CONSTANT_BYTES: Final = 24 * 1024**2
#: libaom's threads and tables, whatever the size (measured: about 64 MiB of address space a thread).
_AVIF_ENCODER_BYTES: Final = 128 * 1024**2
#: A finished picture, a step's copy of it, what its encoder works in, and the file in memory.
_OUTPUT_BYTES_PER_PIXEL: Final = 20
_PIXEL_BYTES: Final = 4  # Pillow's RGB, RGBA and CMYK alike

#: Lanczos3 looks at six pixels of the source for each of the smaller picture, times the scale: six weights for each pixel
#: of a side, as floating-point numbers and again as integers. Nothing for a photo, gigabytes for 100,000,000 x 1 pixels.
WEIGHTS_BYTES: Final = 6 * (8 + 4)

#: What a decoder takes beside the picture, for each pixel of the header: these hold whole frames of their own.
_DECODER_BYTES: Final = {"WEBP": 12, "AVIF": 8, "HEIF": 8, "TIFF": 4}
#: These read the whole file, and keep a copy of it for the library.
READ_WHOLE: Final = frozenset(("WEBP", "AVIF", "HEIF"))
#: Coefficients of a progressive JPEG are all kept, whatever the size that is asked for.
_COEFFICIENT_BYTES: Final = 2
_BANDS: Final = {"L": 1, "CMYK": 4}

#: The decoded picture together with what it is converted to before it can be resampled.
_CONVERTED_BYTES: Final = {
    "1": 3, "L": 1, "P": 5, "PA": 8, "LA": 8, "La": 8, "LAB": 8, "YCbCr": 8, "HSV": 8,
    "I": 10, "F": 10, "I;16": 5, "I;16L": 9, "I;16B": 9, "I;16N": 9,
}  # fmt: skip
#: 16 bits with a transparent value are compared as integers, above and below.
_WIDE_KEYED_BYTES: Final = 18


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """What the header says."""

    format: str
    mode: str  # Pillow's
    size: Size
    has_alpha: bool
    is_progressive: bool = False
    file_bytes: int = 0


def estimate_bytes(source: Source, *, draft: int, outputs: Sequence[tuple[Size, str]]) -> int:
    """Return the bytes that rendering will take at its peak; outputs are their sizes and formats, as configured."""
    pixels = source.size[0] * source.size[1]
    decoded = pixels // draft**2
    return (
        _CONSTANT_BYTES
        + pixels * _decoder_bytes_per_pixel(source)
        + decoded * _picture_bytes_per_pixel(source)
        + (2 * source.file_bytes if source.format in READ_WHOLE else 0)
        + _narrowed_bytes(source, draft, [size for size, _ in outputs])
        + sum(width * height * _OUTPUT_BYTES_PER_PIXEL for (width, height), _ in outputs)
        + (_AVIF_ENCODER_BYTES if any(name == "avif" for _, name in outputs) else 0)
    )


def _decoder_bytes_per_pixel(source: Source) -> int:
    if source.is_progressive:
        return _COEFFICIENT_BYTES * _BANDS.get(source.mode, 3)
    return _DECODER_BYTES.get(source.format, 0)


def _picture_bytes_per_pixel(source: Source) -> int:
    if source.mode.startswith("I;16") and source.has_alpha:
        return _WIDE_KEYED_BYTES + _PIXEL_BYTES
    converted = _CONVERTED_BYTES.get(source.mode, _PIXEL_BYTES)
    if not source.has_alpha:
        return converted
    keyed = _PIXEL_BYTES if source.mode in {"L", "RGB"} else 0  # a copy with the key as alpha
    return converted + keyed + _PIXEL_BYTES  # and one premultiplied by it


def _narrowed_bytes(source: Source, draft: int, sizes: Sequence[Size]) -> int:
    """Return what the resampler's first pass makes, all rows, each already as narrow as the output; and its weights.

    Of the stored picture, which may lie on its side.
    """
    width, height = (side // draft + 1 for side in source.size)
    most = max((max(across * height, down * width) for across, down in sizes), default=0)
    return most * _PIXEL_BYTES + (width + height) * WEIGHTS_BYTES
