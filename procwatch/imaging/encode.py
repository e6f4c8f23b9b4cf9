"""Encoding: from upright sRGB pixels to the bytes of one format, without any metadata."""

import io
from typing import Any, Final

from PIL import Image

from procwatch.errors import ImageError
from procwatch.imaging.codecs import Codec
from procwatch.imaging.color import flattened
from procwatch.imaging.geometry import Size
from procwatch.imaging.memory import codec_has_headroom
from procwatch.imaging.operation import Params, with_defaults
from procwatch.imaging.recipe import Output

# The defaults in codecs.py, measured on eight photos at 1000 px on one core, milliseconds / kB / SSIM of luma:
#   JPEG q82  baseline 1.6/95.8 (default)   Huffman tables optimised 3.3/93.5   progressive 7.7/89.7 (both are options)
#             at 2048 px: 6.1/282, 11.4/272, 26.0/262: 4 % fewer bytes would make the whole job a fifth longer
#   WebP q80  method 0 12/81.5   2 18/65.8/.973 (default)   4 43/63.9/.975   6 90/61.3/.973
#   AVIF q63  speed 6 291/50.1/.976   7 149/51.0/.975   8 88/52.2/.973 (default)   9 26/56.0/.972
#   PNG       photo: level 1 37/878   3 50/835   6 127/792      scan: 3 42/177   4 49/132 (default)   6 58/120   9 295/113

#: A JPEG of at most so many pixels gets Huffman tables of its own unless its output says otherwise. They cost time for
#: each pixel and save most where the standard tables weigh much. Measured on 15 photos at q80, ms / kB saved / kB a ms:
#:   160 px .02/.34/22 (8.8 %)   240 px .07/.38/5.3 (5.2 %)   320 px .17/.44/2.7 (3.7 %)   400 px .27/.54/2.0 (3.0 %)
#:   720 px .84/1.1/1.3 (2.2 %)   1600 px 3.7/4.9/1.3 (2.6 %); a lone file finds cold caches, and 320 px take .2 to .3.
OPTIMIZE_PIXELS: Final = 65_536

_TIFF_COMPRESSION: Final = {"deflate": "tiff_adobe_deflate", "lzw": "tiff_lzw", "none": None}


def encode(image: Image.Image, output: Output, codec: Codec) -> bytes:
    """Return the file's bytes. Raises ImageError where the format cannot hold the picture."""
    if max(image.size) > codec.max_side:
        raise ImageError(
            "too-many-pixels",
            f"output {output.name}: {codec.name} holds at most {codec.max_side} pixels a side, not {max(image.size)}; "
            "add a step such as fit",
        )
    options = with_defaults(codec.options, output.options)
    quality = output.quality if output.quality is not None else codec.quality
    clean = image.copy() if image.info else image
    clean.info = {}
    buffer = io.BytesIO()
    if not codec.alpha:
        clean = flattened(clean)
    try:
        clean.save(buffer, codec.pillow, **_arguments(codec.name, quality, options, clean.size))
    except (OSError, RuntimeError, ValueError) as error:
        if not codec_has_headroom(clean.size):
            raise MemoryError from error
        raise ImageError("internal-error", f"output {output.name}: {codec.name}: {error}") from error
    return buffer.getvalue()


def _arguments(name: str, quality: int | None, options: Params, size: Size) -> dict[str, Any]:
    match name:
        case "jpeg":
            return {
                "quality": quality,
                "subsampling": options["subsampling"],
                "progressive": options["progressive"],
                "optimize": options.get("optimize", size[0] * size[1] <= OPTIMIZE_PIXELS),
            }
        case "webp":
            return {"quality": quality, "method": options["method"], "lossless": options["lossless"]}
        case "png":
            return {"compress_level": options["compress_level"]}
        case "avif":
            # A thread takes about 64 MiB of address space, and there is a worker for each CPU already.
            return {
                "quality": quality,
                "speed": options["speed"],
                "subsampling": options["subsampling"],
                "max_threads": 1,
            }
        case "tiff":
            return {"compression": _TIFF_COMPRESSION[str(options["compression"])]}
        case _:
            return {}
