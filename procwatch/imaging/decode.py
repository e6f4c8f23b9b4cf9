"""Opening: from bytes of unknown origin to a header that passed every limit, then to pixels."""

import functools
import importlib
import os
import struct
from dataclasses import dataclass
from typing import BinaryIO, Final

from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from procwatch.errors import ImageError
from procwatch.imaging import sniff
from procwatch.imaging.failures import guarded
from procwatch.imaging.geometry import Size
from procwatch.imaging.jpeg import open_plain
from procwatch.imaging.memory import codec_has_headroom
from procwatch.imaging.metadata import orientation_of, upright_size
from procwatch.imaging.scans import MAX_SCANS, has_more_scans
from procwatch.model import Limits
from procwatch.units import format_size

#: What Pillow calls a JPEG with several pictures, which its JPEG plug-in turns into by itself.
_ALSO: Final = {"JPEG": ("MPO",)}

#: Modules that Pillow's preinit() does not import; a worker imports them before it locks itself up.
_PLUGINS: Final = {
    "AVIF": "PIL.AvifImagePlugin",
    "TIFF": "PIL.TiffImagePlugin",
    "WEBP": "PIL.WebPImagePlugin",
    "JPEG2000": "PIL.Jpeg2KImagePlugin",
}


#: How much of a JPEG Pillow hands to libjpeg at once, instead of 64 KiB: saves 0.1 to 0.15 ms of 8 to 14 for 800 KB.
_JPEG_BLOCK_BYTES: Final = 4 * 1024**2


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """An opened picture, not yet decoded. `size` is upright."""

    image: Image.Image
    format: str
    frames: int
    orientation: int
    size: Size
    profile: bytes | None


@functools.lru_cache(maxsize=8)
def load_plugins(formats: tuple[str, ...]) -> None:
    """Import what reads these formats. HEIF stays unknown where its extra is not installed."""
    Image.preinit()
    for name in formats:
        if name == "HEIF":
            _load_heif()
        elif name in _PLUGINS:
            importlib.import_module(_PLUGINS[name])
        elif name not in Image.OPEN:
            Image.init()


def _load_heif() -> None:
    if "HEIF" in Image.OPEN:
        return
    try:
        import pi_heif
    except ImportError:
        return
    # One thread: there is a worker for each CPU already.
    pi_heif.register_heif_opener(thumbnails=False, decode_threads=1)


def open_header(source: BinaryIO, formats: tuple[str, ...], limits: Limits) -> Header:
    """Read the header and check every limit. Raises ImageError."""
    prefix = _checked_prefix(source, limits)
    load_plugins(formats)
    readable = [name for name in formats if name in Image.OPEN]
    with guarded(source, prefix, formats, limits):
        image: Image.Image | None = (
            open_plain(source) if "JPEG" in readable and prefix.startswith(b"\xff\xd8") else None
        )
        if image is None:
            image = Image.open(source, formats=readable)
        else:
            check_pixels(image.size, limits)
        pillow_format = str(image.format)
        if pillow_format not in {*readable, *(also for name in readable for also in _ALSO.get(name, ()))}:
            raise ImageError("unsupported-format", f"{pillow_format} is not among the formats allowed here")
        frames = _frames(image, source, limits)
        _check_scans(image, source)
        orientation = orientation_of(image)
        return Header(
            image=image,
            format=pillow_format,
            frames=frames,
            orientation=orientation,
            size=upright_size(image.size, orientation),
            profile=image.info.get("icc_profile") or None,
        )


def _check_scans(image: Image.Image, source: BinaryIO) -> None:
    """Refuse a JPEG that would be decoded thousands of times over: 187 KB took 25 s."""
    if image.info.get("progressive") and has_more_scans(source, MAX_SCANS):
        raise ImageError(
            "unsupported-format", f"a JPEG with more than {MAX_SCANS} scans, which no program writes"
        )


def load_pixels(
    header: Header, source: BinaryIO, formats: tuple[str, ...], limits: Limits, *, draft: int
) -> float:
    """Decode, JPEG by `draft` smaller. Return how many decoded pixels there are for one of the header's."""
    image = header.image
    if isinstance(image, JpegImageFile):
        image.decodermaxblock = _JPEG_BLOCK_BYTES
    scale = 1
    with guarded(source, b"", formats, limits):
        if draft > 1:
            # Floor: a ceiling would let draft() pick the next smaller factor on sizes that do not divide evenly.
            drafted = image.draft(None, (max(1, image.width // draft), max(1, image.height // draft)))
            scale = _scale(drafted, header)
        try:
            image.load()
        except OSError as error:
            if error.errno is None and not codec_has_headroom(image.size):
                raise MemoryError from error
            raise
    return 1 / scale


def _scale(drafted: tuple[str, tuple[int, int, float, float]] | None, header: Header) -> int:
    """Read the factor off the box that draft() returns: the decoded picture may be up to a pixel larger than the box."""
    if drafted is None:
        return 1
    stored = upright_size(header.size, header.orientation)
    return round(stored[0] / drafted[1][2])


def _checked_prefix(source: BinaryIO, limits: Limits) -> bytes:
    size = source.seek(0, os.SEEK_END)
    source.seek(0)
    if size > limits.max_bytes:
        raise ImageError("too-large", f"{format_size(size)}, allowed are {format_size(limits.max_bytes)}")
    prefix = source.read(sniff.PREFIX_BYTES)
    source.seek(0)
    if not prefix:
        raise ImageError("not-an-image", "the file is empty")
    canvas = sniff.webp_canvas(prefix) if sniff.kind_of(prefix) == "WEBP" else None
    if canvas is not None:
        check_pixels(canvas, limits)
    return prefix


def check_pixels(size: Size, limits: Limits) -> None:
    """Raise too-many-pixels for a size beyond the limit."""
    if size[0] * size[1] > limits.max_pixels:
        raise ImageError(
            "too-many-pixels",
            f"{size[0]} x {size[1]} are {size[0] * size[1]:,} pixels, allowed are {limits.max_pixels:,}",
        )


def _frames(image: Image.Image, source: BinaryIO, limits: Limits) -> int:
    """Count the frames or pages. Raises too-many-frames."""
    try:
        if image.format == "TIFF":
            frames = tiff_pages(source, limits.max_frames + 1)
        else:
            frames = int(getattr(image, "n_frames", 1))
    except (OSError, ValueError, SyntaxError, EOFError):
        return 1  # damaged behind the first frame, which is the one that is used
    if frames > limits.max_frames:
        counted = f"more than {limits.max_frames}" if image.format == "TIFF" else str(frames)
        raise ImageError("too-many-frames", f"{counted} frames, allowed are {limits.max_frames}")
    return frames


def tiff_pages(source: BinaryIO, at_most: int) -> int:
    """Count the pages of a TIFF or BigTIFF, up to a number, by walking its list of directories.

    Pillow takes 50 us a page and counts them all: minutes for a file full of empty ones. TIFF 6.0, section 2.
    """
    at = source.tell()
    source.seek(0)
    header = source.read(16)
    order, big = ("<" if header[:2] == b"II" else ">"), header[2:4] in {b"+\0", b"\0+"}
    count_format, entry_bytes, link_format = ("Q", 20, "Q") if big else ("H", 12, "I")
    count_bytes, link_bytes = struct.calcsize(order + count_format), struct.calcsize(order + link_format)
    (link,) = struct.unpack_from(order + link_format, header, 8 if big else 4)
    seen: set[int] = set()
    try:
        while link and link not in seen and len(seen) < at_most:
            source.seek(link)
            (entries,) = struct.unpack(order + count_format, source.read(count_bytes))
            seen.add(link)
            source.seek(link + count_bytes + entries * entry_bytes)
            (link,) = struct.unpack(order + link_format, source.read(link_bytes))
    except (struct.error, OverflowError):
        pass  # cut off or damaged: count what is there
    finally:
        source.seek(at)
    return max(1, len(seen))
