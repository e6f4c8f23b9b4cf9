"""render() on the corpus of real images."""

from pathlib import Path

import pytest
from PIL import Image

from procwatch.imaging.recipe import BUILTIN_RECIPES
from tests.support.corpus import corpus, listed
from tests.support.pictures import fit, mean_difference, one_output, picture, render_bytes

pytestmark = pytest.mark.integration

WEB = BUILTIN_RECIPES["web"]


@pytest.mark.parametrize("orientation", range(9))
@pytest.mark.parametrize("name", ["Landscape", "Portrait"])
def test_all_orientations_make_the_same_picture(name: str, orientation: int, tmp_path: Path) -> None:
    """The files differ in a digit in their middle and in their own compression, by up to 4 of 255; turned wrongly it would be 40 and more."""
    for number in (1, orientation):
        if not (tmp_path / str(number)).exists():
            render_bytes(
                corpus("orientation", f"{name}_{number}.jpg").read_bytes(), WEB, tmp_path / str(number)
            )
    for file in ("0.jpg", "1.jpg"):
        reference, made = picture(tmp_path / "1", file), picture(tmp_path / str(orientation), file)
        assert made.size == reference.size
        assert mean_difference(made, reference) < 5


@pytest.mark.parametrize(
    ("name", "size", "ext", "frames"),
    [
        ("16-bit-grey-alpha.png", (109, 96), "webp", 1),
        ("5_webp_a.webp", (300, 300), "webp", 1),
        ("8bit-srgb.avif", (1617, 1080), "jpg", 1),
        ("Channel_digital_image_CMYK_color.jpg", (500, 333), "jpg", 1),
        ("Channel_digital_image_CMYK_color_no_profile.jpg", (500, 333), "jpg", 1),
        ("Crash_test.gif", (800, 533), "jpg", 1),
        ("Flag_of_the_Netherlands-16bit.png", (900, 600), "jpg", 1),
        ("G31D_MULTI.TIF", (1554, 2048), "jpg", 2),
        ("alpha-premultiply-1024x768-paper.png", (1024, 768), "webp", 1),
        ("animated-loop-3.gif", (370, 285), "jpg", 10),
        ("animated-loop-3.webp", (370, 285), "jpg", 10),
        ("denali.webp", (600, 315), "jpg", 1),
        ("grey-8bit-alpha.png", (400, 300), "webp", 1),
        ("p3.png", (8, 8), "jpg", 1),
        ("prophoto.png", (1, 1), "jpg", 1),
        ("tbgn2c16.png", (32, 32), "webp", 1),
        ("uncompressed_tiff.tiff", (246, 345), "jpg", 1),
        ("with-alpha.png", (256, 192), "webp", 1),
    ],
)
def test_every_format_of_the_corpus_is_rendered(
    name: str, size: tuple[int, int], ext: str, frames: int, tmp_path: Path
) -> None:
    result = render_bytes(corpus("formats", name).read_bytes(), WEB, tmp_path / "s")
    web = result.renditions[0]
    assert ((web.width, web.height), web.ext, result.frames) == (size, ext, frames)
    assert result.notes == {}


def test_heic_is_read_where_its_extra_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("pi_heif")
    result = render_bytes(corpus("formats", "IMG_2682.heic").read_bytes(), WEB, tmp_path / "s")
    assert (result.format, result.width, result.height) == ("HEIF", 4032, 3024)
    assert (result.renditions[0].width, result.renditions[0].height) == (2048, 1536)


@pytest.mark.parametrize("side", [320, 1600])
@pytest.mark.parametrize(
    "name",
    ["2569067123_aca715a2ee_o.jpg", "japanese-shop.jpg", "sunset-by-the-pier.jpg", "prairie-falcon.jpg"],
)
def test_shrinking_on_decoding_is_hardly_visible(name: str, side: int, tmp_path: Path) -> None:
    """Against full decode and Pillow's Lanczos; japanese-shop shifts visibly if the box of draft() is not used."""
    source = corpus("photos", name)
    render_bytes(source.read_bytes(), one_output(fit(side)), tmp_path / "s")
    made = picture(tmp_path / "s")
    with Image.open(source) as full:
        expected = full.convert("RGB").resize(made.size, Image.Resampling.LANCZOS)
    assert mean_difference(made, expected) < 1.6


def test_every_photo_fits(tmp_path: Path) -> None:
    for photo in listed("photos"):
        result = render_bytes(photo.read_bytes(), WEB, tmp_path / photo.stem)
        for rendition, side in zip(result.renditions, (2048, 400), strict=True):
            assert max(rendition.width, rendition.height) == min(side, max(result.width, result.height))
            assert rendition.width / rendition.height == pytest.approx(result.width / result.height, rel=0.01)
