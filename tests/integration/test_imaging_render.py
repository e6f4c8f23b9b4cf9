"""render(): generated pictures of every kind come out right."""

import io
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import ExifTags, Image, ImageDraw

from procwatch.errors import ImageError
from procwatch.imaging import memory
from procwatch.imaging.codecs import CODECS
from procwatch.imaging.recipe import BUILTIN_RECIPES, Output, Recipe, Step
from procwatch.imaging.render import render, warm_up
from procwatch.imaging.resample import Resampler
from procwatch.model import Limits
from tests.support.pictures import encoded, fit, gradient, mean_difference, one_output, picture, render_bytes

pytestmark = pytest.mark.integration

WEB = BUILTIN_RECIPES["web"]


def test_both_outputs_of_web_are_made_and_described_as_they_are_on_disk(tmp_path: Path) -> None:
    result = render_bytes(encoded(gradient(3000, 1500), "JPEG"), WEB, tmp_path / "s")
    assert (result.width, result.height, result.format, result.frames) == (3000, 1500, "JPEG", 1)
    assert [(r.output, r.file, r.ext, r.width, r.height) for r in result.renditions] == [
        ("web", "0.jpg", "jpg", 2048, 1024),
        ("thumb", "1.jpg", "jpg", 400, 200),
    ]
    assert sorted(os.listdir(tmp_path / "s")) == ["0.jpg", "1.jpg"]
    for rendition in result.renditions:
        status = os.stat(tmp_path / "s" / rendition.file)
        assert (status.st_size, status.st_ino, stat.S_IMODE(status.st_mode)) == (
            rendition.size,
            rendition.inode,
            0o600,
        )
        assert picture(tmp_path / "s", rendition.file).size == (rendition.width, rendition.height)


def test_a_small_picture_is_never_enlarged(tmp_path: Path) -> None:
    result = render_bytes(encoded(gradient(50, 30), "PNG"), WEB, tmp_path / "s")
    assert {(r.width, r.height) for r in result.renditions} == {(50, 30)}


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP"])
def test_every_input_format_is_read(format_name: str, tmp_path: Path) -> None:
    source = gradient(200, 120)
    result = render_bytes(encoded(source, format_name), one_output(fit(100)), tmp_path / "s")
    assert result.format == format_name
    # GIF has 256 colours; everything else is near.
    assert mean_difference(picture(tmp_path / "s"), source.resize((100, 60))) < (
        9 if format_name == "GIF" else 3
    )


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
@pytest.mark.parametrize("name", sorted(CODECS))
def test_every_output_format_is_written_from_every_mode(name: str, mode: str, tmp_path: Path) -> None:
    source = gradient(90, 60).convert(mode)
    if mode == "RGBA":
        source.putalpha(Image.linear_gradient("L").resize((90, 60)))
    result = render_bytes(encoded(source, "PNG"), one_output(fit(45), format_name=name), tmp_path / "s")
    (rendition,) = result.renditions
    made = picture(tmp_path / "s", rendition.file)
    assert (made.format, made.size, rendition.ext) == (CODECS[name].pillow, (45, 30), CODECS[name].ext)
    assert made.has_transparency_data == (mode == "RGBA" and CODECS[name].alpha)


def test_nothing_of_the_metadata_survives(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "somebody"
    data = encoded(gradient(40, 30), "JPEG", exif=exif, comment=b"secret", dpi=(300, 300), xmp=b"<x/>")
    for name in ("jpeg", "webp", "png", "tiff"):
        render_bytes(data, one_output(format_name=name), tmp_path / name)
        (file,) = (tmp_path / name).iterdir()
        assert b"somebody" not in file.read_bytes()
        assert b"secret" not in file.read_bytes()
        assert not {"exif", "comment", "xmp", "icc_profile"} & set(picture(tmp_path / name, file.name).info)


def oriented(upright: Image.Image, orientation: int) -> tuple[Image.Image, Image.Exif]:
    """Return the picture as a camera that was held this way stores it."""
    inverse = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return (upright.transpose(inverse[orientation]) if orientation in inverse else upright), exif


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_pictures_come_out_upright(format_name: str, orientation: int, tmp_path: Path) -> None:
    upright = gradient(121, 80)
    stored, exif = oriented(upright, orientation)
    result = render_bytes(encoded(stored, format_name, exif=exif), one_output(), tmp_path / "s")
    assert (result.width, result.height) == (121, 80)
    assert mean_difference(picture(tmp_path / "s"), upright) < 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_crop_means_the_upright_picture(orientation: int, tmp_path: Path) -> None:
    upright = gradient(400, 260)
    stored, exif = oriented(upright, orientation)
    steps = (
        Step(op="crop", params=(("width", 200), ("height", 100), ("left", 20), ("top", 30))),
        Step(op="fill", params=(("width", 50), ("height", 40), ("gravity", "right"))),
    )
    render_bytes(encoded(stored, "PNG", exif=exif), one_output(*steps), tmp_path / "s")
    expected = upright.resize((50, 40), Image.Resampling.LANCZOS, box=(95, 30, 220, 130))
    assert mean_difference(picture(tmp_path / "s"), expected) < 0.7


def test_damaged_exif_counts_as_upright(tmp_path: Path) -> None:
    data = encoded(gradient(40, 30), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff garbage")
    assert render_bytes(data, WEB, tmp_path / "s").width == 40


def test_odd_sizes_do_not_shift_when_a_jpeg_shrinks_on_decoding(tmp_path: Path) -> None:
    """The scaled picture is up to a pixel larger than what it covers; without its box it would shift."""
    source = gradient(1601, 1201)
    for x in range(0, 1601, 64):
        ImageDraw.Draw(source).rectangle((x, 0, x + 31, 1200), fill="white")
    render_bytes(encoded(source, "JPEG", quality=95), one_output(fit(140)), tmp_path / "s")
    expected = source.resize((140, 105), Image.Resampling.LANCZOS)
    assert mean_difference(picture(tmp_path / "s"), expected) < 2


@pytest.mark.parametrize("engine", ["simd", "pillow"])
def test_transparent_colours_leave_no_fringes(engine: str, tmp_path: Path) -> None:
    """A white disc on transparent black: what is visible of it must stay white at its edge."""
    source = Image.new("RGBA", (300, 300), (0, 0, 0, 0))
    ImageDraw.Draw(source).ellipse((20, 20, 280, 280), fill=(255, 255, 255, 255))
    render_bytes(encoded(source, "PNG"), one_output(fit(60), resampler=engine), tmp_path / "s")
    made = picture(tmp_path / "s")
    assert made.mode == "RGBA"
    # Nearly invisible pixels are left out: eight bits do not hold their colour.
    visible = [p for p in made.get_flattened_data() if isinstance(p, tuple) and p[3] > 16]
    assert any(p[3] < 200 for p in visible)
    assert min(min(p[:3]) for p in visible) > 240


def test_an_alpha_channel_without_transparency_counts_as_opaque(tmp_path: Path) -> None:
    source = gradient(60, 40).convert("RGBA")
    assert render_bytes(encoded(source, "PNG"), WEB, tmp_path / "a").renditions[0].ext == "jpg"
    source.putpixel((3, 3), (0, 0, 0, 0))
    assert render_bytes(encoded(source, "PNG"), WEB, tmp_path / "b").renditions[0].ext == "webp"


def test_transparency_becomes_white_where_the_format_has_none(tmp_path: Path) -> None:
    render_bytes(encoded(Image.new("RGBA", (9, 9)), "PNG"), one_output(format_name="jpeg"), tmp_path / "s")
    assert picture(tmp_path / "s", "0.jpg").getpixel((4, 4)) == (255, 255, 255)


def test_only_the_first_frame_is_used_and_the_number_is_told(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("red", "green", "blue")]
    for format_name, loss in (("GIF", 0), ("TIFF", 0), ("WEBP", 4), ("PNG", 0), ("MPO", 4)):
        data = encoded(frames[0], format_name, save_all=True, append_images=frames[1:])
        result = render_bytes(data, one_output(), tmp_path / format_name)
        assert (result.format, result.frames) == (format_name, 3)
        assert mean_difference(picture(tmp_path / format_name), frames[0]) <= loss


def test_steps_after_each_other_make_one_output_each_with_its_own_options(tmp_path: Path) -> None:
    outputs = (
        Output(name="a", steps=(fit(100),), format="jpeg", options=(("progressive", True),)),
        Output(name="b", steps=(fit(100),), format="webp", options=(("lossless", True),)),
        Output(name="c", steps=(fit(50),), format="tiff", options=(("compression", "none"),)),
    )
    result = render_bytes(
        encoded(gradient(300, 300), "PNG"), Recipe(name="r", outputs=outputs), tmp_path / "s"
    )
    assert [r.file for r in result.renditions] == ["0.jpg", "1.webp", "2.tif"]
    assert picture(tmp_path / "s", "0.jpg").info["progressive"]
    assert picture(tmp_path / "s", "2.tif").info["compression"] == "raw"
    assert mean_difference(picture(tmp_path / "s", "1.webp"), gradient(300, 300).resize((100, 100))) < 1.5


def test_a_picture_too_long_for_its_format_says_what_to_do(tmp_path: Path) -> None:
    data = encoded(Image.new("L", (16_400, 1)), "PNG")
    with pytest.raises(ImageError, match="add a step such as fit") as caught:
        render_bytes(data, one_output(format_name="webp"), tmp_path / "s")
    assert caught.value.code == "too-many-pixels"


def test_a_name_already_taken_in_staging_is_an_oserror_not_a_fault_of_the_picture(tmp_path: Path) -> None:
    data = encoded(gradient(20, 20), "PNG")
    render_bytes(data, one_output(), tmp_path / "s")
    with pytest.raises(FileExistsError):
        render(io.BytesIO(data), one_output(), Limits(), str(tmp_path / "s"))


def test_the_source_stays_open_and_is_the_callers_to_close(tmp_path: Path) -> None:
    """The worker asks its descriptor once more whether the file has changed."""
    (tmp_path / "a.jpg").write_bytes(encoded(gradient(60, 40), "JPEG"))
    (tmp_path / "s").mkdir()
    with open(tmp_path / "a.jpg", "rb") as source:
        render(source, WEB, Limits(), str(tmp_path / "s"))
        assert os.fstat(source.fileno()).st_size > 0


def test_both_engines_make_the_same_picture() -> None:
    simd, pillow = Resampler("simd"), Resampler("pillow")
    assert (simd.engine, simd.note, pillow.engine) == ("simd", "", "pillow")
    source = gradient(400, 300)
    source.putalpha(Image.radial_gradient("L").resize((400, 300)))
    for mode in ("L", "RGB", "CMYK", "RGBA"):
        image = source.convert(mode)
        box, size = (10.5, 20.25, 390.0, 280.75), (83, 61)
        one, other = simd.resample(image, box, size), pillow.resample(image, box, size)
        assert one.mode == other.mode == mode
        # RGBA differs most where it is nearly invisible.
        assert mean_difference(one, other) < (1 if mode == "RGBA" else 0.4)


def test_a_resampler_that_differs_or_is_missing_is_replaced_by_pillow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Resampler, "_simd", lambda self, image, box, size: Image.new(image.mode, size))
    broken = Resampler("auto")
    assert broken.engine == "pillow"
    assert "differs from Pillow" in broken.note
    monkeypatch.setitem(sys.modules, "cykooz_resizer", None)
    missing = Resampler("auto")
    assert missing.engine == "pillow"
    assert "cykooz_resizer" in missing.note


def test_warm_up_tells_the_engine() -> None:
    assert warm_up([WEB]) == {"resampler": "simd"}


def test_a_memory_limit_is_an_error_of_one_file_and_never_an_abort(tmp_path: Path) -> None:
    """The SIMD resampler aborts the process where memory ends: close to the limit Pillow does the work."""
    (tmp_path / "big.png").write_bytes(
        encoded(Image.new("RGB", (4500, 3000), "red"), "PNG", compress_level=1)
    )
    code = """
import os, resource, sys
from procwatch.errors import ImageError
from procwatch.imaging.recipe import *
from procwatch.imaging.render import render, warm_up
from procwatch.model import Limits
recipe = Recipe(name="r", outputs=(Output(name="o", steps=(Step(op="fit", params=(("width", 4000),)),)),))
warm_up([recipe])
base = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
for extra in range(20, 320, 15):
    resource.setrlimit(resource.RLIMIT_AS, (base + extra * 2**20, resource.RLIM_INFINITY))
    os.mkdir(f"{sys.argv[1]}/{extra}")
    try:
        with open(sys.argv[1] + "/big.png", "rb") as source:
            render(source, recipe, Limits(), f"{sys.argv[1]}/{extra}")
        print("ok")
    except ImageError as error:
        print(error.code)
"""
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=110, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert set(ran.stdout.split()) == {"ok", "out-of-memory"}


def test_memory_is_still_measured_when_proc_cannot_be_opened_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sandbox closes /proc after warm_up()."""
    warm_up([WEB])

    def refuse(*args: object, **options: object) -> int:
        raise PermissionError(13, "Permission denied")

    limit = (1 << 40, resource.RLIM_INFINITY)
    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: limit)
    assert memory.has_headroom(1 << 30)
    assert not memory.has_headroom(1 << 40)
