"""The one piece of metadata that changes pixels, the EXIF orientation, and what upright means for sizes and boxes."""

import struct
from typing import Final

from PIL import ExifTags, Image

from procwatch.imaging.geometry import Box, Size

_UPRIGHT: Final = 1
_BYTE_ORDERS: Final = {b"II*\0": "<", b"MM\0*": ">"}
_ONE_SHORT: Final = (3, 1)
_METHODS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def orientation_of(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; absent, out of range or unreadable means 1 (upright).

    Pillow turns TIFF pages itself when it loads them (their `size` is upright already), so they count as upright.
    """
    if image.format == "TIFF":
        return _UPRIGHT
    value = _plain_orientation(image.info.get("exif"), image.info.get("xmp"))
    if value is None:
        try:
            value = image.getexif().get(ExifTags.Base.Orientation, _UPRIGHT)
        except Exception:  # noqa: BLE001 (damaged EXIF raises nearly anything and is no reason to refuse a picture)
            return _UPRIGHT
    return value if value in _METHODS else _UPRIGHT


def _plain_orientation(exif: object, xmp: object) -> object:
    """Read the orientation where it lies open: Pillow reads all tags first, 20 us and, cold, five times that.

    EXIF 2.32, section 4.6.2: a TIFF header, the offset of a directory, its number of entries, the entries of 12 bytes.
    None is for Pillow to look at.
    """
    if not isinstance(exif, bytes):
        return None
    tiff = exif.removeprefix(b"Exif\0\0")
    order = _BYTE_ORDERS.get(tiff[:4])
    if order is None:
        return None
    try:
        (begin,) = struct.unpack_from(f"{order}L", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, begin)
        entries = struct.iter_unpack(f"{order}HHLHH", tiff[begin + 2 : begin + 2 + 12 * count])
        for tag, kind, values, value, _ in entries:
            if tag == ExifTags.Base.Orientation:
                return value if (kind, values) == _ONE_SHORT else None
    except struct.error:
        return None
    return None if isinstance(xmp, bytes) and b"tiff:Orientation" in xmp else _UPRIGHT


def swaps_sides(orientation: int) -> bool:
    return orientation >= 5  # noqa: PLR2004 (5 to 8 are the ones that turn by a quarter, EXIF 2.32 §4.6.4)


def upright_size(size: Size, orientation: int) -> Size:
    """Return the size of the upright picture from the stored one, and the other way round."""
    return (size[1], size[0]) if swaps_sides(orientation) else size


def stored_box(box: Box, upright: Size, orientation: int) -> Box:
    """Return where a box of the upright picture lies in the picture as it is stored."""
    left, top, right, bottom = box
    width, height = upright
    return {
        2: (width - right, top, width - left, bottom),
        3: (width - right, height - bottom, width - left, height - top),
        4: (left, height - bottom, right, height - top),
        5: (top, left, bottom, right),
        6: (top, width - right, bottom, width - left),
        7: (height - bottom, width - right, height - top, width - left),
        8: (height - bottom, left, height - top, right),
    }.get(orientation, box)


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    method = _METHODS.get(orientation)
    return image if method is None else image.transpose(method)
