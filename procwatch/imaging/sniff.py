"""What the first bytes say a file is, for clear reasons when Pillow may not or cannot open it; no PIL here."""

#: Enough for every signature below and for the canvas size of a WebP.
PREFIX_BYTES = 512

HEIF_BRANDS = frozenset(
    (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1", b"mif2")
)
_AVIF_BRANDS = frozenset((b"avif", b"avis"))

#: Formats by signature, Pillow's name or ours. The order matters: longer and surer signatures first.
_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"II+\x00", "TIFF"),
    (0, b"MM\x00+", "TIFF"),
    (0, b"\x00\x00\x00\x0cjP  \r\n\x87\n", "JPEG2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG2000"),
    (0, b"\x00\x00\x00\x0cJXL \r\n\x87\n", "JPEG XL"),
    (0, b"8BPS", "PSD"),
    (0, b"%!PS", "EPS"),
    (0, b"\xc5\xd0\xd3\xc6", "EPS"),
    (0, b"%PDF", "PDF"),
    (0, b"icns", "ICNS"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "FPX"),
    (0, b"\xd7\xcd\xc6\x9a", "WMF"),
    (40, b" EMF", "WMF"),
    (0, b"DDS ", "DDS"),
    (0, b"qoif", "QOI"),
    (0, b"v/1\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (0, b"gimp xcf", "XCF"),
    (0, b"FUJIFILMCCD-RAW", "camera raw"),
    (0, b"IIRO", "camera raw"),
    (0, b"IIU\x00", "camera raw"),
    (0, b"FOVb", "camera raw"),
    (0, b"\x00\x00\x01\x00", "ICO"),
    (0, b"\x00\x00\x02\x00", "CUR"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\x01\xda", "SGI"),
    (0, b"\x59\xa6\x6a\x95", "SUN"),
    (0, b"/* XPM */", "XPM"),
)

_MIN_BMP = 18


def kind_of(prefix: bytes) -> str | None:
    """Return the format that the first bytes announce, as Pillow calls it, or None for nothing that we know."""
    if prefix[4:8] == b"ftyp":
        return _iso_media_kind(prefix)
    if prefix[:4] == b"RIFF" and prefix[8:12] == b"WEBP":
        return "WEBP"
    for offset, signature, kind in _SIGNATURES:
        if prefix.startswith(signature, offset):
            return kind
    if prefix[:2] == b"BM" and len(prefix) >= _MIN_BMP and prefix[14] in {12, 16, 40, 52, 56, 64, 108, 124}:
        return "BMP"
    if prefix[:1] == b"P" and prefix[1:2] in b"1234567" and prefix[2:3].isspace():
        return "PPM"
    return "SVG" if _is_svg(prefix) else None


def _iso_media_kind(prefix: bytes) -> str | None:
    box_bytes = int.from_bytes(prefix[:4], "big")
    brands = [prefix[8:12]] + [prefix[at : at + 4] for at in range(16, min(box_bytes, len(prefix)), 4)]
    if any(brand in _AVIF_BRANDS for brand in brands):
        return "AVIF"
    if any(brand in HEIF_BRANDS for brand in brands):
        return "HEIF"
    return "camera raw" if brands[0] == b"crx " else None


def _is_svg(prefix: bytes) -> bool:
    text = prefix.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return text.startswith(b"<svg") or (
        text.startswith((b"<?xml", b"<!doctype svg", b"<!--")) and b"<svg" in text
    )


def webp_canvas(prefix: bytes) -> tuple[int, int] | None:
    """Return the size that a WebP's first chunk declares.

    libwebp's animation decoder allocates two canvases as soon as it is made, so Pillow's own check comes too late.
    https://developers.google.com/speed/webp/docs/riff_container
    """
    chunk, data = prefix[12:16], prefix[20:30]
    if len(data) < 10:  # noqa: PLR2004 (the longest of the three headers)
        return None
    if chunk == b"VP8X":
        return 1 + int.from_bytes(data[4:7], "little"), 1 + int.from_bytes(data[7:10], "little")
    if chunk == b"VP8L":
        bits = int.from_bytes(data[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if chunk == b"VP8 ":
        return int.from_bytes(data[6:8], "little") & 0x3FFF, int.from_bytes(data[8:10], "little") & 0x3FFF
    return None
