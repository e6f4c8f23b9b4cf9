"""Opening ordinary JPEGs: the few fields of a header that a rendering needs, and nothing that is out of the ordinary.

A lone photo finds none of our code in the CPU's caches, and Pillow's own readers of headers and EXIF are the most of
the Python that runs before the decoder. Whatever this one does not know at a glance is left to Pillow's.
"""

from dataclasses import dataclass, field
from typing import BinaryIO, Final

from PIL import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

#: How much is read for the header: at first, and where that is not all of it (a thumbnail in the EXIF, a large profile).
_HEAD_BYTES: Final = (6 * 1024, 256 * 1024)

#: Markers of ITU-T T.81, table B.1: Huffman-coded DCT frames; segments that libjpeg alone has to know.
_PROGRESSIVE: Final = 0xC2
_FRAMES: Final = frozenset({0xC0, 0xC1, _PROGRESSIVE})
_SCAN, _QUANTIZATION, _APP1, _APP2 = 0xDA, 0xDB, 0xE1, 0xE2
_SKIPPED: Final = frozenset({0xC4, 0xDD, 0xFE, 0xE0, *range(0xE3, 0xF0)})

_MARK, _LENGTH_BYTES = 0xFF, 2
_TABLE_BYTES, _MAX_8_BIT_TABLE = 1 + 64, 15
_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_ICC, _SEVERAL_PICTURES = b"ICC_PROFILE\0", b"MPF\0"
_ICC_DATA: Final = len(_ICC) + 2
#: Length of a frame's header, bits of a sample and number of components, T.81 B.2.2, to Pillow's mode.
_MODES: Final = {(9, b"\x08", b"\1"): "L", (15, b"\x08", b"\3"): "RGB"}


@dataclass(slots=True)
class PlainHeader:
    """What a rendering has to know of one picture. `info` is as Pillow's, `pieces` are those of the colour profile."""

    mode: str = ""
    size: tuple[int, int] = (0, 0)
    info: dict[str | tuple[int, int], object] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)


def plain_header(head: bytes) -> PlainHeader | None:
    """Read the segments up to that of the first scan. None is for what is not plain; raises IndexError where `head` ends before that."""
    if not head.startswith(b"\xff\xd8\xff"):
        return None
    header, at = PlainHeader(), 2
    while head[at] == _MARK:
        marker, length = head[at + 1], head[at + 2] << 8 | head[at + 3]
        end = at + 2 + length
        if end > len(head):
            raise IndexError(end)
        if marker == _SCAN:
            return header if header.mode else None
        if length < _LENGTH_BYTES:
            return None
        if marker not in _SKIPPED and not _noted(header, marker, head[at + 4 : end]):
            return None
        at = end
    return None


def _noted(header: PlainHeader, marker: int, data: bytes) -> bool:
    """Note what a segment says; False where that is not plain."""
    if marker == _QUANTIZATION:
        return not len(data) % _TABLE_BYTES and all(each <= _MAX_8_BIT_TABLE for each in data[::_TABLE_BYTES])
    if marker in _FRAMES:
        return not header.mode and _noted_frame(header, marker, data)
    if marker == _APP1:
        if data.startswith(_XMP):
            header.info["xmp"] = data[len(_XMP) :]
        elif data.startswith(_EXIF):
            if "exif" in header.info:
                return False  # in several pieces, which Pillow puts together
            header.info["exif"] = data
        return True
    if marker == _APP2:
        if data.startswith(_ICC):
            header.pieces.append(data)
        return not data.startswith(_SEVERAL_PICTURES)
    return False


def _noted_frame(header: PlainHeader, marker: int, data: bytes) -> bool:
    header.mode = _MODES.get((len(data), data[:1], data[5:6]), "")
    header.size = int.from_bytes(data[3:5]), int.from_bytes(data[1:3])
    if not header.mode or 0 in header.size:
        return False
    if marker == _PROGRESSIVE:
        header.info["progressive"] = 1
    return not header.pieces or _noted_profile(header)


def _noted_profile(header: PlainHeader) -> bool:
    """Put the profile together, ICC.1:2022 annex B.4; incomplete ones are Pillow's to judge."""
    pieces = sorted(header.pieces)
    count = len(pieces)
    header.info["icc_profile"] = b"".join(piece[_ICC_DATA:] for piece in pieces)
    numbers = [tuple(piece[len(_ICC) : _ICC_DATA]) for piece in pieces]
    return numbers == [(number, count) for number in range(1, count + 1)]


class PlainJpeg(JpegImageFile):
    """A JPEG that Pillow decodes and whose header it did not read: `info` has only what a rendering asks for."""

    def _open(self) -> None:
        """Raise SyntaxError, as plug-ins do, for what is not plain."""
        assert self.fp is not None
        head = self.fp.read(_HEAD_BYTES[0])
        try:
            header = plain_header(head)
        except IndexError:
            header = plain_header(head + self.fp.read(_HEAD_BYTES[1]))
        if header is None:
            raise SyntaxError("not a plain JPEG")
        self._mode, self._size = header.mode, header.size
        self.info.update(header.info)
        tile = ImageFile._Tile("jpeg", (0, 0, *header.size), 0, (header.mode, ""))  # noqa: SLF001 (as documented)
        self.tile = [tile]


def open_plain(source: BinaryIO) -> PlainJpeg | None:
    """Open a JPEG at a glance, or say that it is not plain and leave it to Pillow."""
    source.seek(0)
    try:
        return PlainJpeg(source)
    except SyntaxError:
        return None
