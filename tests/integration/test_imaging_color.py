"""Colour: every mode and profile ends as the sRGB that a person expects."""

import struct
from pathlib import Path

import pytest
from PIL import Image, ImageCms

from procwatch.imaging.color import to_resampleable, to_srgb
from procwatch.imaging.recipe import BUILTIN_RECIPES
from tests.support.corpus import corpus
from tests.support.pictures import encoded, fit, gradient, mean_difference, one_output, picture, render_bytes

pytestmark = pytest.mark.integration

WEB = BUILTIN_RECIPES["web"]


def grey_ramp_16(mode: str) -> Image.Image:
    code = ">" if mode == "I;16B" else "<"
    values = [min(65_535, column * 257) for column in range(256)]
    return Image.frombytes(mode, (256, 2), struct.pack(f"{code}256H", *values) * 2)


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_16_bit_grey_is_scaled_not_clipped(mode: str) -> None:
    assert to_resampleable(grey_ramp_16(mode)).tobytes() == bytes(range(256)) * 2


def test_16_bit_grey_files_keep_their_shades(tmp_path: Path) -> None:
    for format_name in ("PNG", "TIFF"):
        render_bytes(encoded(grey_ramp_16("I;16"), format_name), one_output(), tmp_path / format_name)
        assert picture(tmp_path / format_name).convert("L").tobytes() == bytes(range(256)) * 2


def test_32_bit_integers_and_floats_are_scaled_by_their_range() -> None:
    floats = Image.frombytes("F", (3, 1), struct.pack("<3f", 0.0, 0.5, 1.0))
    assert to_resampleable(floats).tobytes() == bytes((0, 128, 255))
    integers = Image.frombytes("I", (3, 1), struct.pack("<3i", 0, 32_768, 65_535))
    assert to_resampleable(integers).tobytes() == bytes((0, 128, 255))
    huge = Image.frombytes("I", (2, 1), struct.pack("<2i", 0, 2**31 - 1))
    assert to_resampleable(huge).tobytes() == bytes((0, 255))


def test_a_palette_with_transparency_becomes_alpha(tmp_path: Path) -> None:
    source = Image.new("P", (40, 40), 1)
    source.putpalette([0, 0, 0, 200, 100, 50])
    source.paste(0, (0, 0, 20, 40))
    for name, transparency in (("one", 0), ("many", bytes((0, 128)))):
        render_bytes(encoded(source, "PNG", transparency=transparency), one_output(fit(20)), tmp_path / name)
        made = picture(tmp_path / name)
        assert made.mode == "RGBA"
        left, right = made.getpixel((2, 2)), made.getpixel((17, 17))
        assert isinstance(left, tuple)
        assert left[3] == 0
        assert right == ((200, 100, 50, 255) if name == "one" else pytest.approx((200, 100, 50, 128), abs=1))


def test_transparent_colours_of_grey_and_16_bit_pngs_become_alpha(tmp_path: Path) -> None:
    grey = Image.new("L", (4, 4), 9)
    grey.putpixel((0, 0), 77)
    render_bytes(encoded(grey, "PNG", transparency=9), one_output(), tmp_path / "grey")
    made = picture(tmp_path / "grey").convert("RGBA")
    assert made.getpixel((0, 0)) == (77, 77, 77, 255)
    assert made.getpixel((1, 1))[3] == 0  # type: ignore[index]
    wide = grey_ramp_16("I;16")
    wide.info["transparency"] = 514
    alpha = to_resampleable(wide).getchannel("A")
    assert [column for column in range(256) if alpha.getpixel((column, 0)) == 0] == [2]


def test_one_bit_scans_become_smooth_grey(tmp_path: Path) -> None:
    stripes = Image.new("1", (100, 100))
    stripes.paste(1, (0, 0, 51, 100))
    render_bytes(encoded(stripes, "TIFF", compression="group4"), one_output(fit(10)), tmp_path / "s")
    made = picture(tmp_path / "s")
    assert made.mode == "L"
    assert made.getpixel((0, 5)) == 255
    assert 10 < made.getpixel((5, 5)) < 80  # type: ignore[operator]


def test_grey_with_alpha_keeps_both(tmp_path: Path) -> None:
    source = Image.merge("LA", (Image.new("L", (40, 40), 90), Image.linear_gradient("L").resize((40, 40))))
    render_bytes(encoded(source, "PNG"), one_output(fit(20)), tmp_path / "s")
    made = picture(tmp_path / "s").convert("RGBA")
    middle = made.getpixel((10, 10))
    assert isinstance(middle, tuple)
    assert middle[:3] == pytest.approx((90, 90, 90), abs=2)
    assert 110 < middle[3] < 145


def test_lab_becomes_srgb() -> None:
    lab = ImageCms.applyTransform(
        gradient(60, 40),
        ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"),
    )
    assert lab is not None
    assert mean_difference(to_resampleable(lab), gradient(60, 40)) < 3


def test_cmyk_without_a_profile_has_the_right_hues(tmp_path: Path) -> None:
    source = Image.new("CMYK", (64, 32), (0, 255, 255, 0))
    source.paste((255, 0, 0, 0), (32, 0, 64, 32))
    for format_name in ("JPEG", "TIFF"):
        render_bytes(encoded(source, format_name), one_output(), tmp_path / format_name)
        made = picture(tmp_path / format_name)
        assert made.mode == "RGB"
        red, cyan = made.getpixel((5, 5)), made.getpixel((60, 5))
        assert red == pytest.approx((255, 0, 0), abs=6)
        assert cyan == pytest.approx((0, 255, 255), abs=6)


@pytest.mark.parametrize("garbage", [b"nonsense", b"\0" * 200, b"\0\0\2\x0clcms" + bytes(516)])
def test_a_bad_profile_is_ignored_and_told(garbage: bytes, tmp_path: Path) -> None:
    result = render_bytes(encoded(gradient(60, 40), "PNG", icc_profile=garbage), one_output(), tmp_path / "s")
    assert result.notes["profile"].startswith("ignored: ")
    assert mean_difference(picture(tmp_path / "s"), gradient(60, 40)) == 0


def test_an_srgb_profile_changes_nothing() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    source = gradient(60, 40)
    assert to_srgb(source, profile) == (source, "")


@pytest.mark.parametrize(
    ("name", "colour"),
    [
        ("p3.png", (255, 0, 0)),  # Display P3 red lies outside sRGB and is clipped
        ("prophoto.png", (117, 160, 210)),
        ("with-alpha.png", None),
    ],
)
def test_wide_gamuts_are_brought_into_srgb(name: str, colour: tuple[int, ...] | None, tmp_path: Path) -> None:
    source = corpus("formats", name)
    render_bytes(source.read_bytes(), one_output(), tmp_path / "s")
    made = picture(tmp_path / "s")
    with Image.open(source) as stored:
        profile = stored.info.get("icc_profile")
        assert (made.convert("RGB").tobytes() != stored.convert("RGB").tobytes()) == bool(profile)
    if colour:
        assert made.convert("RGB").getpixel((0, 0)) == pytest.approx(colour, abs=12)


def test_cmyk_with_its_profile_is_softer_than_without(tmp_path: Path) -> None:
    """The naive formula is garish; the profile knows the inks."""
    for name in ("Channel_digital_image_CMYK_color.jpg", "Channel_digital_image_CMYK_color_no_profile.jpg"):
        render_bytes(corpus("formats", name).read_bytes(), one_output(), tmp_path / name)
        assert picture(tmp_path / name).mode == "RGB"
    with_profile, without = (picture(folder) for folder in sorted(tmp_path.iterdir()))
    assert 4 < mean_difference(with_profile, without) < 60


def test_a_grey_profile_on_a_picture_that_decodes_to_rgba_is_used(tmp_path: Path) -> None:
    result = render_bytes(
        corpus("formats", "16-bit-grey-alpha.png").read_bytes(), one_output(), tmp_path / "s"
    )
    assert result.notes == {}
    assert picture(tmp_path / "s").mode == "RGBA"
