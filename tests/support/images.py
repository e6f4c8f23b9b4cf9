"""Make small pictures, each different from the others, and some that are slow or broken."""

import functools
import io
import os
import struct
import zlib
from pathlib import Path

from PIL import Image, ImageDraw


def picture(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """Return an RGB picture whose colours and pattern tell its seed."""
    image = Image.new("RGB", size, (37 * seed % 256, 101 * seed % 256, 59 * seed % 256))
    draw = ImageDraw.Draw(image)
    width, height = size
    for step in range(8):
        left, top = width * step // 10, height * step // 12
        colour = ((seed * 91 + step * 31) % 256, (step * 53) % 256, (seed * 17) % 256)
        draw.ellipse((left, top, left + width // 6, top + height // 4), fill=colour)
    draw.text((4, 4), f"picture {seed}", fill="white")
    return image


def jpeg(seed: int = 1, size: tuple[int, int] = (320, 240)) -> bytes:
    """Return a JPEG; its comment makes the bytes of every seed different."""
    buffer = io.BytesIO()
    picture(seed, size).save(buffer, "JPEG", quality=85, comment=f"seed {seed}")
    return buffer.getvalue()


def webp(seed: int, size: tuple[int, int] = (320, 240)) -> bytes:
    """Return a WebP, whose end cannot be told from its content."""
    buffer = io.BytesIO()
    picture(seed, size).save(buffer, "WEBP", quality=80)
    return buffer.getvalue()


def bmp(seed: int, size: tuple[int, int] = (320, 240)) -> bytes:
    buffer = io.BytesIO()
    picture(seed, size).save(buffer, "BMP")
    return buffer.getvalue()


def size(path: Path) -> tuple[int, int]:
    """Return width and height of a picture in a file."""
    with Image.open(path) as image:
        return image.size


@functools.cache
def _noise(size: tuple[int, int]) -> Image.Image:
    return Image.effect_noise(size, 60).convert("RGB")


def noisy_jpeg(seed: int, size: tuple[int, int] = (1600, 1200)) -> bytes:
    """Return a JPEG with much detail, that keeps a worker busy for some tens of milliseconds."""
    buffer = io.BytesIO()
    noise = _noise(size).copy()
    noise.paste(picture(seed), (10, 10))
    noise.save(buffer, "JPEG", quality=90, comment=f"seed {seed}")
    return buffer.getvalue()


def transparent_png(seed: int = 1, size: tuple[int, int] = (320, 240)) -> bytes:
    """Return a PNG that is transparent on its right half."""
    image = picture(seed, size).convert("RGBA")
    image.paste((0, 0, 0, 0), (size[0] // 2, 0, *size))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def slow_png(side: int = 12_000) -> bytes:
    """Return 144 megapixels in 220 KB, made in 0.1 s: decoding and shrinking take about 4 s.

    One block of rows is compressed once, ended by a full flush, and repeated as it stands.
    """
    rows = 64
    pixels = bytes([4, *bytes(side * 3)]) * rows  # filter 4, Paeth, is the slowest to undo
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
    block = compressor.compress(pixels) + compressor.flush(zlib.Z_FULL_FLUSH)
    count = side // rows
    checksum = 1
    for _ in range(count):
        checksum = zlib.adler32(pixels, checksum)
    data = b"\x78\x01" + block * count + b"\x03\x00" + struct.pack(">I", checksum)
    header = struct.pack(">IIBBBBB", side, count * rows, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write(path: Path, data: bytes) -> Path:
    """Write as `cp` does: create, write, close. Folders above are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def move_in(path: Path, data: bytes, *, outside: Path) -> Path:
    """Write outside of the inbox and rename into it, as `mv` does."""
    source = write(outside / f"move-in-{path.name}", data)
    os.rename(source, path)
    return path
