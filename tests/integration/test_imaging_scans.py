"""A JPEG of many scans is refused before it is decoded; ordinary ones are counted right."""

import io
import time
from pathlib import Path

import pytest
from PIL import Image

from procwatch.errors import ImageError
from procwatch.imaging.recipe import BUILTIN_RECIPES
from procwatch.imaging.scans import _BLOCK_BYTES, MAX_SCANS, has_more_scans, jpeg_scans
from procwatch.testing import make_image
from tests.support.pictures import render_bytes

pytestmark = pytest.mark.integration

PROGRESSIVE = make_image(64, 48, progressive=True)


def with_scans(count: int, side: int = 64) -> bytes:
    """Return a progressive JPEG that repeats its last scan until it has so many."""
    picture = make_image(side, side, progressive=True)
    last = picture[picture.rindex(b"\xff\xda") : -2]
    return picture[:-2] + last * (count - scans(picture)) + picture[-2:]


def scans(data: bytes, at_most: int = 10_000) -> int:
    return jpeg_scans(io.BytesIO(data), at_most)


def test_scans_are_counted() -> None:
    assert scans(make_image(64, 48)) == 1
    assert scans(PROGRESSIVE) == 10
    assert scans(with_scans(137)) == 137
    assert scans(with_scans(137), 20) == 20


def test_what_looks_like_a_scan_elsewhere_does_not_count() -> None:
    """In a comment, in an embedded thumbnail, and behind the end, where phones put a film."""
    noise = b"\xff\xda\x00\x08" * 1000
    commented = make_image(64, 48, progressive=True, comment=noise)
    assert scans(commented) == 10
    exif = Image.Exif()
    exif[0x010E] = "x"
    assert scans(make_image(64, 48, progressive=True, exif=exif.tobytes() + PROGRESSIVE)) == 10
    assert scans(PROGRESSIVE + noise) == 10


def test_what_looks_like_scans_makes_nobody_refuse() -> None:
    commented = make_image(64, 48, progressive=True, comment=b"\xff\xda\x00\x08" * 1000)
    assert not has_more_scans(io.BytesIO(commented), 10)
    assert has_more_scans(io.BytesIO(commented), 9)


@pytest.mark.parametrize("edge", range(3))
def test_a_scan_that_begins_at_the_edge_of_a_block_counts(edge: int) -> None:
    first = PROGRESSIVE.index(b"\xff\xda")
    padding = _BLOCK_BYTES - first - edge
    # Fill bytes may stand before any marker: T.81, B.1.1.2.
    padded = io.BytesIO(PROGRESSIVE[:first] + b"\xff" * padding + PROGRESSIVE[first:])
    padded.seek(5)
    assert has_more_scans(padded, 9)
    assert not has_more_scans(padded, 10)
    assert padded.tell() == 5


@pytest.mark.parametrize("cut", [0, 1, 2, 3, 20, 200, 500, -1])
def test_a_damaged_file_ends_the_count(cut: int) -> None:
    assert scans(PROGRESSIVE[:cut]) <= 10
    assert scans(b"\xff\xd8" + b"\xff\xda\x00\x00" * 5) == 5


def test_too_many_are_refused_at_once_and_the_limit_is_not(tmp_path: Path) -> None:
    web = BUILTIN_RECIPES["web"]
    bomb = with_scans(3000, side=1024)
    began_s = time.process_time()
    with pytest.raises(ImageError, match="more than 500 scans") as refused:
        render_bytes(bomb, web, tmp_path / "many")
    assert refused.value.code == "unsupported-format"
    assert time.process_time() - began_s < 1, "it is refused before it is decoded"
    assert render_bytes(with_scans(MAX_SCANS), web, tmp_path / "some").width == 64
