"""Encoding: from upright sRGB pixels to the bytes of one format, without any metadata."""

import io
from typing import Any, Final

from PIL import Image

from procwatch.errors import ImageError
from procwatch.imaging.codecs import Codec
from procwatch.imaging.color import flattened
from procwatch.imaging.operation import Params, with_defaults
from procwatch.imaging.recipe import Output

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
    clean.save(buffer, codec.pillow, **_arguments(codec.name, quality, options))
    return buffer.getvalue()


def _arguments(name: str, quality: int | None, options: Params) -> dict[str, Any]:
    match name:
        case "jpeg":
            progressive = bool(options["progressive"])
            return {
                "quality": quality,
                "subsampling": options["subsampling"],
                "progressive": progressive,
                "optimize": True,
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
