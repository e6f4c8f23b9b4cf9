"""The quick reader of ordinary JPEG headers against Pillow's: what it takes it reads alike, the rest it leaves to Pillow."""

import io
import random
import warnings
from typing import Any

import pytest
from PIL import ExifTags, Image, ImageCms

from procwatch.errors import ImageError
from procwatch.imaging.decode import open_header
from procwatch.imaging.jpeg import PlainJpeg, open_plain, plain_header
from procwatch.imaging.metadata import orientation_of
from procwatch.model import Limits
from tests.support.pictures import encoded

pytestmark = pytest.mark.integration

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif(**tags: Any) -> bytes:
    written = Image.Exif()
    written[0x0132] = "2026:11:28 10:00:00"
    for name, value in tags.items():
        written[ExifTags.Base[name].value] = value
    return written.tobytes()


def jpeg(mode: str = "RGB", size: tuple[int, int] = (40, 30), **options: Any) -> bytes:
    return encoded(Image.effect_noise(size, 60).convert(mode), "JPEG", **options)


def segment(marker: int, data: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(data) + 2).to_bytes(2) + data


def behind_start(picture: bytes, *segments: bytes) -> bytes:
    return picture[:2] + b"".join(segments) + picture[2:]


XMP = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta tiff:Orientation="6"/>'
PLAIN = {
    "baseline": jpeg(),
    "grey": jpeg("L"),
    "progressive": jpeg(progressive=True),
    "restarts": jpeg(restart_marker_rows=1),
    "profile": jpeg(icc_profile=SRGB),
    "profile-in-pieces": jpeg(icc_profile=SRGB + bytes(150_000)),
    "turned": jpeg(exif=exif(Orientation=6, Make="procwatch")),
    "turned-by-xmp": behind_start(jpeg(), segment(0xE1, XMP)),
    "xmp-beside-exif": behind_start(jpeg(exif=exif(Orientation=3)), segment(0xE1, XMP)),
    "large-exif": jpeg(exif=exif(Orientation=8, ImageDescription="a" * 60_000)),
    "comment": jpeg(comment=b"a comment"),
    "photoshop": behind_start(jpeg(), segment(0xED, b"Photoshop 3.0\0" + bytes(40))),
    "unoptimised-tables-in-one": jpeg(quality=95, subsampling=0),
}
NOT_PLAIN = {
    "cmyk": jpeg("CMYK"),
    "several-pictures": behind_start(jpeg(), segment(0xE2, b"MPF\0" + bytes(40))),
    "exif-in-pieces": behind_start(jpeg(exif=exif(Orientation=6)), segment(0xE1, b"Exif\0\0more")),
    "profile-without-its-first-piece": behind_start(jpeg(), segment(0xE2, b"ICC_PROFILE\0\2\2" + SRGB)),
    "profile-in-more-pieces-than-can-be-counted": behind_start(
        jpeg(), *[segment(0xE2, b"ICC_PROFILE\0\1\1x")] * 256
    ),
    "junk-between-segments": behind_start(jpeg(), b"\0\0"),
    "fill-bytes": behind_start(jpeg(), b"\xff\xff"),
    "lossless": jpeg().replace(b"\xff\xc0", b"\xff\xc3"),
    "segment-of-one-byte": behind_start(jpeg(), b"\xff\xe5\0\1"),
    "no-frame": jpeg().replace(b"\xff\xc0", b"\xff\xe9"),
    "another-kind": b"\x89PNG\r\n\x1a\n" + bytes(40),
    "header-beyond-what-is-read": behind_start(jpeg(), *[segment(0xE5, bytes(65_000))] * 5),
}


def seen(image: Image.Image) -> dict[str, object]:
    """What a rendering takes from a header."""
    info = {key: image.info.get(key) for key in ("icc_profile", "exif", "xmp")}
    described = {"mode": image.mode, "size": image.size, "tile": getattr(image, "tile", None)}
    return {**info, **described, "progressive": bool(image.info.get("progressive"))}


def by_pillow(data: bytes) -> Image.Image | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return Image.open(io.BytesIO(data), formats=["JPEG"])
        except (OSError, Image.DecompressionBombError):
            return None


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_header_reads_as_with_pillow(name: str) -> None:
    quick, pillow = open_plain(io.BytesIO(PLAIN[name])), by_pillow(PLAIN[name])
    assert quick is not None
    assert pillow is not None
    assert seen(quick) == seen(pillow)
    assert orientation_of(quick) == pillow.getexif().get(0x0112, 1)


@pytest.mark.parametrize("name", PLAIN)
def test_the_pixels_are_the_same_drafted_or_whole(name: str) -> None:
    for size in (None, (10, 8)):
        quick, pillow = open_plain(io.BytesIO(PLAIN[name])), by_pillow(PLAIN[name])
        assert quick is not None
        assert pillow is not None
        for image in (quick, pillow):
            image.draft(None, size)
        assert quick.tobytes() == pillow.tobytes()


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_what_is_out_of_the_ordinary_is_left_to_pillow(name: str) -> None:
    assert open_plain(io.BytesIO(NOT_PLAIN[name])) is None


@pytest.mark.parametrize(
    "name",
    ["cmyk", "fill-bytes", "header-beyond-what-is-read", "profile-in-more-pieces-than-can-be-counted"],
)
def test_what_pillow_can_read_is_opened_all_the_same(name: str) -> None:
    header = open_header(io.BytesIO(NOT_PLAIN[name]), ("JPEG", "PNG"), Limits())
    assert header.size == (40, 30)
    assert not isinstance(header.image, PlainJpeg)


def test_metadata_that_no_rendering_needs_refuses_no_picture() -> None:
    cut = behind_start(jpeg(), segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed"))
    assert by_pillow(cut) is None
    assert open_header(io.BytesIO(cut), ("JPEG",), Limits()).size == (40, 30)


def test_the_limit_on_pixels_holds_before_anything_is_decoded() -> None:
    with pytest.raises(ImageError, match=r"40 x 30 are 1,200 pixels, allowed are 1,199"):
        open_header(io.BytesIO(PLAIN["baseline"]), ("JPEG",), Limits(max_pixels=1_199))


def test_a_format_that_is_not_allowed_is_not_opened() -> None:
    with pytest.raises(ImageError, match="JPEG is not among the formats allowed here"):
        open_header(io.BytesIO(PLAIN["baseline"]), ("PNG",), Limits())


@pytest.mark.parametrize("name", PLAIN)
def test_a_header_that_is_cut_off_is_no_header(name: str) -> None:
    data = PLAIN[name]
    scan = data.index(b"\xff\xda")
    for length in random.Random(name).sample(range(3, scan), k=min(200, scan - 3)):
        with pytest.raises(IndexError):
            plain_header(data[:length])
        assert open_plain(io.BytesIO(data[:length])) is None


@pytest.mark.parametrize("name", [name for name in PLAIN if name not in {"large-exif", "profile-in-pieces"}])
def test_a_damaged_header_reads_as_with_pillow_or_not_at_all(name: str) -> None:
    """Every byte of the header changed in turn. Pillow refuses some for what nobody needs, a comment's or a table's."""
    data, chance = PLAIN[name], random.Random(name)
    for at in range(data.index(b"\xff\xda") + 4):
        damaged = data[:at] + bytes((data[at] ^ chance.randrange(1, 256),)) + data[at + 1 :]
        quick = open_plain(io.BytesIO(damaged))
        if quick is None:
            continue
        pillow = by_pillow(damaged)
        assert pillow is not None, f"byte {at}"
        assert seen(quick) == seen(pillow), f"byte {at}"


def test_exif_that_is_damaged_is_read_as_pillow_reads_it() -> None:
    data = exif(Orientation=6, Make="procwatch", XResolution=72.0)
    chance = random.Random(2)
    for _ in range(3_000):
        damaged = bytearray(data)
        for _ in range(chance.randrange(1, 4)):
            damaged[chance.randrange(len(data))] = chance.randrange(256)
        quick, pillow = Image.new("L", (1, 1)), Image.new("L", (1, 1))
        quick.info["exif"] = pillow.info["exif"] = bytes(damaged)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                expected = pillow.getexif().get(0x0112, 1)
            except Exception:  # noqa: BLE001 (Pillow raises nearly anything there)
                expected = None
        if expected is not None and not said:
            assert orientation_of(quick) == (expected if expected in range(2, 9) else 1), bytes(damaged)
