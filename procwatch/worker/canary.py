"""The canary: a picture made of code, taken through decoder, resampler and encoder, in memory.

Where it renders, the installation works, and whatever workers died of was in their files.
"""

import io
import struct
import zlib
from typing import Final

from procwatch.imaging.codecs import codec_for
from procwatch.imaging.decode import load_pixels, open_header
from procwatch.imaging.encode import encode
from procwatch.imaging.recipe import Output
from procwatch.imaging.render import resampler_for
from procwatch.model import Limits

_SIDE: Final = 16
_SMALL: Final = 5
_FORMATS: Final = ("PNG",)


def render() -> str:
    """Return an empty text, or what is wrong. May raise, and may die: that is what it is for."""
    source, limits = io.BytesIO(picture()), Limits()
    header = open_header(source, _FORMATS, limits)
    with header.image:
        load_pixels(header, source, _FORMATS, limits, draft=1)
        whole = (0.0, 0.0, float(_SIDE), float(_SIDE))
        small = resampler_for("auto").resample(header.image, whole, (_SMALL, _SMALL))
    data = encode(small, Output(name="canary", steps=()), codec_for("auto", has_alpha=False, size=small.size))
    if small.size != (_SMALL, _SMALL) or not data:
        return f"the canary image came out as {small.size} in {len(data)} bytes"
    return ""


def picture() -> bytes:
    """Return the bytes of a tiny PNG (RFC 2083): a gradient."""
    rows = b"".join(b"\0" + bytes(16 * (x ^ y) for x in range(_SIDE) for _ in range(3)) for y in range(_SIDE))
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
