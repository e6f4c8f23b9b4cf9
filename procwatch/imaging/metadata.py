"""The one piece of metadata that changes pixels, the EXIF orientation, and what upright means for sizes and boxes."""

from typing import Final

from PIL import ExifTags, Image

from procwatch.imaging.geometry import Box, Size

_UPRIGHT: Final = 1
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
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, _UPRIGHT)
    except Exception:  # noqa: BLE001 (damaged EXIF raises nearly anything and is no reason to refuse a picture)
        return _UPRIGHT
    return value if value in _METHODS else _UPRIGHT


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
