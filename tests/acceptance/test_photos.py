"""Real photos come out upright, in size, and the same as other programs would make them."""

from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from tests.support import images, logs
from tests.support.corpus import corpus, listed
from tests.support.daemon import Daemon, procwatch
from tests.support.oracle import Oracle
from tests.support.places import Places

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(110)]


def fill(places: Places, oracle: Oracle, folder: str) -> list[str]:
    names = [file.name for file in listed(folder)]
    for name in names:
        images.write(places.make().inbox / name, oracle.expect(name, corpus(folder, name).read_bytes()))
    return names


def difference(one: Path, other: Path) -> float:
    """Return the mean difference of two pictures in steps of 255; AssertionError when their sizes differ."""
    with Image.open(one) as first, Image.open(other) as second:
        assert first.size == second.size, f"{one} is {first.size}, {other} is {second.size}"
        bands = ImageStat.Stat(ImageChops.difference(first.convert("RGB"), second.convert("RGB"))).mean
    return sum(bands) / len(bands)


def test_every_photo_is_done_by_more_than_one_process(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    names = fill(places, oracle, "photos")
    with Daemon(places.root, cwd=tmp_path) as daemon:
        lines = daemon.wait_for_ends(len(names), 90)
        assert {line["event"] for line in lines} == {"job.done"}
        if len(daemon.worker_pids()) >= 2:
            assert len(logs.done_pids(lines)) >= 2
        oracle.eventually(archive=len(names))
    for name in names:
        with Image.open(corpus("photos", name)) as source:
            upright = source.size if source.getexif().get(0x0112, 1) < 5 else source.size[::-1]
        for output, file in oracle.renditions(name).items():
            side = oracle.outputs[output]
            scale = min(1.0, side / max(upright))
            wanted = tuple(max(1, round(length * scale)) for length in upright)
            got = images.size(file)
            assert max(abs(a - b) for a, b in zip(got, wanted, strict=True)) <= 1, (
                f"{file}: {got}, not {wanted}"
            )


def test_a_photo_looks_like_the_one_that_was_dropped(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    """The thumbnail differs little from Pillow's own Lanczos reduction of the same picture."""
    name = "2569067123_aca715a2ee_o.jpg"
    images.write(places.make().inbox / name, oracle.expect(name, corpus("photos", name).read_bytes()))
    assert procwatch("once", "-c", places.write_config(), cwd=tmp_path).returncode == 0
    thumb = oracle.renditions(name)["thumb"]
    reference = tmp_path / "reference.png"
    with Image.open(corpus("photos", name)) as source:
        source.convert("RGB").resize(images.size(thumb), Image.Resampling.LANCZOS).save(reference)
    assert difference(thumb, reference) < 4


def test_all_orientations_come_out_as_the_same_picture(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    names = fill(places, oracle, "orientation")
    assert len(names) == 18
    ended = procwatch("once", "-c", places.write_config(), cwd=tmp_path)
    assert ended.returncode == 0, ended
    oracle.check(archive=18)
    for kind in ("Landscape", "Portrait"):
        wanted = oracle.renditions(f"{kind}_1.jpg")
        landscape = kind == "Landscape"
        for number in range(9):
            got = oracle.renditions(f"{kind}_{number}.jpg")
            for output in ("web", "thumb"):
                width, height = images.size(got[output])
                assert (width > height) is landscape, f"{kind}_{number} {output} is {width}x{height}"
                assert difference(got[output], wanted[output]) < 6, f"{kind}_{number} {output}"


def test_outputs_carry_no_orientation_and_no_place(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    """Pixels are upright, so the EXIF that turned them must not be there to turn them again; nor is GPS."""
    image = images.picture(1)
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "Camera maker"
    exif.get_ifd(0x8825)[1] = "N"
    source = tmp_path / "source.jpg"
    image.save(source, exif=exif)
    images.write(places.make().inbox / "turned.jpg", oracle.expect("turned.jpg", source.read_bytes()))
    assert procwatch("once", "-c", places.write_config(), cwd=tmp_path).returncode == 0
    for file in oracle.renditions("turned.jpg").values():
        with Image.open(file) as output:
            assert output.size == (240, 320)
            assert not dict(output.getexif())
            assert "icc_profile" not in output.info or output.info["icc_profile"]


@pytest.mark.parametrize(
    "name",
    [
        "8bit-srgb.avif",
        "5_webp_a.webp",
        "animated-loop-3.gif",
        "animated-loop-3.webp",
        "G31D_MULTI.TIF",
        "16-bit-grey-alpha.png",
        "Channel_digital_image_CMYK_color.jpg",
        "Channel_digital_image_CMYK_color_no_profile.jpg",
        "tbgn2c16.png",
        "p3.png",
        "prophoto.png",
    ],
)
def test_every_kind_of_image_is_done(name: str, places: Places, oracle: Oracle, tmp_path: Path) -> None:
    images.write(places.make().inbox / name, oracle.expect(name, corpus("formats", name).read_bytes()))
    ended = procwatch("once", "-c", places.write_config(), cwd=tmp_path)
    assert ended.returncode == 0, ended
    oracle.check(archive=1)
    for file in oracle.renditions(name).values():
        with Image.open(file) as output:
            assert output.format in {"JPEG", "WEBP"}
            assert output.mode in {"L", "RGB", "RGBA"}
    frames = [line["frames"] for line in logs.terminal(logs.parse(ended.stdout)) if "frames" in line]
    if name.startswith("animated") or "MULTI" in name:
        assert frames, "the line says that there was more than one frame"
        assert frames[0] > 1


@pytest.mark.parametrize("name", ["relax.jp2", "cielab-dagams.tiff"])
def test_what_cannot_be_read_says_so_with_a_stable_code(
    name: str, places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    """JPEG 2000 is not on the list of formats; 16-bit Lab is a TIFF that Pillow does not know."""
    images.write(places.make().inbox / name, oracle.expect(name, corpus("formats", name).read_bytes()))
    ended = procwatch("once", "-c", places.write_config(), cwd=tmp_path)
    assert ended.returncode == 1, ended
    oracle.check(failed=1)
    assert oracle.error_file(name)["code"] in {"unsupported-format", "format-not-enabled", "not-an-image"}
