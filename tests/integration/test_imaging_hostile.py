"""What must fail, and with which stable code."""

import io
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from procwatch.errors import ImageError
from procwatch.imaging.decode import tiff_pages
from procwatch.imaging.recipe import BUILTIN_RECIPES
from procwatch.model import Limits
from tests.support.corpus import corpus
from tests.support.pictures import encoded, gradient, one_output, render_bytes

pytestmark = pytest.mark.integration

WEB = BUILTIN_RECIPES["web"]
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)


def code_and_reason(data: bytes, folder: Path, limits: Limits | None = None) -> tuple[str, str]:
    with pytest.raises(ImageError) as caught:
        render_bytes(data, WEB, folder, limits)
    assert list(folder.iterdir()) == [], (
        "nothing may be left in staging by what fails before its first output"
    )
    return caught.value.code, caught.value.message


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (b"", "not-an-image", "the file is empty"),
        (b"hello", "not-an-image", "not of any image format"),
        (b"<!doctype html><html></html>", "not-an-image", "not of any image format"),
        (b"PK\3\4" + bytes(100), "not-an-image", "not of any image format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n", "unsupported-format", "EPS"),
        (b"%PDF-1.7\n", "unsupported-format", "PDF"),
        (b"8BPS\0\1" + bytes(100), "unsupported-format", "PSD"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported-format", "SVG"),
        (b"P6\n1 1\n255\nabc", "unsupported-format", "PPM"),
        (b"\xff\xd8\xff\xe0", "truncated", ""),
        (b"\x89PNG\r\n\x1a\n", "truncated", ""),
        (b"GIF89a", "truncated", ""),
        (b"RIFF\xff\0\0\0WEBPVP8 ", "truncated", ""),
        (b"II*\0\x08\0\0\0", "truncated", ""),
    ],
)
def test_what_is_not_a_picture_says_what_it_is(data: bytes, code: str, reason: str, tmp_path: Path) -> None:
    told = code_and_reason(data, tmp_path / "s")
    assert told[0] == code
    assert reason in told[1]


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_truncated_wherever_it_ends(
    format_name: str, share: float, tmp_path: Path
) -> None:
    data = encoded(gradient(300, 200), format_name)
    assert code_and_reason(data[: int(len(data) * share)], tmp_path / "s")[0] == "truncated"


def test_too_many_bytes_are_refused_before_they_are_read(tmp_path: Path) -> None:
    told = code_and_reason(encoded(gradient(50, 50), "PNG"), tmp_path / "s", Limits(max_bytes=100))
    assert told[0] == "too-large"
    assert "allowed are 100 B" in told[1]


@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP"])
@pytest.mark.parametrize("pixels", [10_000, 19_999])
def test_too_many_pixels_are_refused_at_the_limit_and_at_twice_of_it(
    format_name: str, pixels: int, tmp_path: Path
) -> None:
    """Pillow alone would only warn below twice the limit."""
    data = encoded(gradient(200, 100), format_name)
    told = code_and_reason(data, tmp_path / "s", Limits(max_pixels=pixels))
    assert told[0] == "too-many-pixels"
    assert f"allowed are {pixels:,}" in told[1]
    assert render_bytes(data, WEB, tmp_path / "ok", Limits(max_pixels=20_000)).width == 200


def test_a_header_of_a_billion_pixels_costs_nothing(tmp_path: Path) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    assert code_and_reason(data + bytes(4) + b"IDAT" + bytes(4), tmp_path / "s")[0] == "too-many-pixels"


def test_too_many_frames_are_refused(tmp_path: Path) -> None:
    frames = [Image.new("L", (8, 8), shade) for shade in range(0, 250, 25)]
    for format_name in ("GIF", "TIFF", "WEBP", "PNG"):
        data = encoded(frames[0], format_name, save_all=True, append_images=frames[1:])
        told = code_and_reason(data, tmp_path / format_name, Limits(max_frames=9))
        assert told[0] == "too-many-frames"
        assert "allowed are 9" in told[1]
        assert render_bytes(data, WEB, tmp_path / f"ok {format_name}", Limits(max_frames=10)).frames == 10


def test_a_list_of_pages_that_bites_its_tail_is_counted_once() -> None:
    one_entry = struct.pack("<HHHII", 1, 256, 4, 1, 1)
    assert (
        tiff_pages(io.BytesIO(b"II*\0" + struct.pack("<I", 8) + one_entry + struct.pack("<I", 8)), 100) == 1
    )
    assert tiff_pages(io.BytesIO(b"II*\0" + struct.pack("<I", 8) + one_entry), 100) == 1
    data = encoded(gradient(4, 4), "TIFF", save_all=True, append_images=[gradient(4, 4)] * 6, big_tiff=True)
    assert (tiff_pages(io.BytesIO(data), 100), tiff_pages(io.BytesIO(data), 3)) == (7, 3)


def test_heic_without_its_extra_says_what_to_install(tmp_path: Path) -> None:
    """In a process of its own: a plug-in that is registered once stays."""
    code = """
import io, sys
sys.modules["pi_heif"] = None
from procwatch.errors import ImageError
from procwatch.imaging.decode import tiff_pages
from procwatch.imaging.recipe import BUILTIN_RECIPES
from procwatch.imaging.render import render
from procwatch.model import Limits
try:
    render(io.BytesIO(sys.stdin.buffer.read()), BUILTIN_RECIPES["web"], Limits(), "/nowhere")
except ImageError as error:
    print(error.code, error.message)
"""
    ran = subprocess.run(
        [sys.executable, "-c", code], input=HEIC, capture_output=True, timeout=60, check=True
    )
    assert ran.stdout.startswith(b"format-not-enabled ")
    assert b"pip install '.[heic]'" in ran.stdout


def test_a_format_that_a_recipe_does_not_allow_is_not_read(tmp_path: Path) -> None:
    recipe = one_output(formats=("PNG",))
    for data, code in ((encoded(gradient(9, 9), "JPEG"), "unsupported-format"), (HEIC, "format-not-enabled")):
        with pytest.raises(ImageError) as caught:
            render_bytes(data, recipe, tmp_path / code)
        assert caught.value.code == code


def test_the_extension_does_not_matter_and_eps_is_never_run(tmp_path: Path) -> None:
    """Pillow hands an EPS to Ghostscript whatever its name is."""
    assert code_and_reason(b"%!PS-Adobe-3.0 EPSF-3.0\n", tmp_path / "s")[0] == "unsupported-format"
    assert "EPS" not in set(WEB.formats)


def test_a_text_bomb_in_a_png_is_too_large(tmp_path: Path) -> None:
    plain = encoded(gradient(9, 9), "PNG")
    chunk = b"zTXt" + b"bomb\0\0" + zlib.compress(bytes(3_000_000))
    bomb = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    assert code_and_reason(plain[:33] + bomb + plain[33:], tmp_path / "s")[0] == "too-large"


def test_a_failing_medium_is_not_the_pictures_fault(tmp_path: Path) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 1000:
                raise OSError(5, "Input/output error")
            return super().read(2000 if size is None or size < 0 else min(size, 2000))  # as far as it goes

    from procwatch.imaging.render import render

    with pytest.raises(ImageError) as caught:
        render(Failing(encoded(gradient(900, 900), "JPEG", quality=95)), WEB, Limits(), str(tmp_path))
    assert (caught.value.code, caught.value.message) == ("not-readable", "reading failed: Input/output error")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("65536-uint32-limit.png", "too-many-pixels"),
        ("check.svg", "unsupported-format"),
        ("corrupt-header.jpg", "truncated"),
        ("giant-image.jpg", "too-many-pixels"),
        ("invalid-illuminant.icc", "not-an-image"),
        ("pillow-broken.png", "truncated"),
        ("pillow-decompression_bomb.gif", "too-many-pixels"),
        ("pillow-truncated_jpeg.jpg", "truncated"),
        ("truncated.gif", "truncated"),
        ("truncated.jpg", "truncated"),
        ("truncated.png", "truncated"),
    ],
)
def test_the_hostile_corpus_has_stable_codes(name: str, code: str, tmp_path: Path) -> None:
    assert code_and_reason(corpus("hostile", name).read_bytes(), tmp_path / "s")[0] == code


SEEDS = [encoded(gradient(40, 30), name) for name in ("JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP", "AVIF")]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.sampled_from(SEEDS),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
    end=st.floats(0, 1),
)
def test_damage_is_never_our_defect(
    seed: bytes, flips: list[tuple[float, int]], end: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever is done to the bytes: a picture, or an ImageError that does not blame procwatch, and no warning."""
    data = bytearray(seed[: max(1, int(len(seed) * min(1.0, end * 1.5)))])
    for place, value in flips:
        data[int(place * len(data))] = value
    limits = Limits(max_pixels=1_000_000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            render_bytes(bytes(data), WEB, tmp_path_factory.mktemp("fuzz") / "s", limits)
            code = ""
        except ImageError as error:
            code = error.code
    assert code != "internal-error"
