"""What first bytes say."""

import pytest

from procwatch.imaging.sniff import kind_of, webp_canvas

pytestmark = pytest.mark.unit


def ftyp(*brands: bytes) -> bytes:
    body = b"ftyp" + brands[0] + b"\0\0\0\0" + b"".join(brands[1:])
    return (len(body) + 4).to_bytes(4, "big") + body + b"mdat" * 8


@pytest.mark.parametrize(
    ("prefix", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "JPEG"),
        (b"\x89PNG\r\n\x1a\n", "PNG"),
        (b"GIF89a", "GIF"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "WEBP"),
        (b"RIFF\0\0\0\0WAVEfmt ", None),
        (ftyp(b"avif", b"mif1"), "AVIF"),
        (ftyp(b"mif1", b"avif"), "AVIF"),
        (ftyp(b"heic", b"mif1"), "HEIF"),
        (ftyp(b"mif1", b"heic"), "HEIF"),
        (ftyp(b"crx "), "camera raw"),
        (ftyp(b"isom", b"mp41"), None),
        (b"8BPS\0\1", "PSD"),
        (b"%!PS-Adobe", "EPS"),
        (b"%PDF-1.7", "PDF"),
        (b"<?xml version='1.0'?>\n<svg xmlns=", "SVG"),
        (b"  <svg>", "SVG"),
        (b"<!doctype html><svg>", None),
        (b"P6\n3 3", "PPM"),
        (b"PK\3\4", None),
        (b"BM" + bytes(12) + b"\x28\0\0\0", "BMP"),
        (b"BM is how this text starts", None),
        (b"", None),
        (b"hello", None),
    ],
)
def test_the_kind_is_known_by_its_first_bytes(prefix: bytes, kind: str | None) -> None:
    assert kind_of(prefix) == kind


def test_a_webp_tells_its_size_in_its_first_chunk() -> None:
    head = b"RIFF\0\0\0\0WEBP"
    assert webp_canvas(head + b"VP8X\x0a\0\0\0" + bytes(4) + b"\xff\x3f\0\xff\x3f\0") == (16384, 16384)
    assert webp_canvas(head + b"VP8 \0\0\0\0\0\0\0\x9d\x01\x2a\x40\x01\xf0\x00") == (320, 240)
    assert webp_canvas(head + b"VP8L\0\0\0\0\x2f\x3f\xc1\x3b\x00" + bytes(5)) == (320, 240)
    assert webp_canvas(head + b"VP8X") is None
