"""What the comparison with peers measures by: similarity of pictures, and bars."""

import xml.etree.ElementTree as ET

import pytest
from PIL import Image, ImageFilter

from tests.bench.peers.chart import bars
from tests.bench.peers.quality import similarity, ssim
from tests.support.pictures import gradient

pytestmark = pytest.mark.unit


def photo() -> Image.Image:
    return Image.blend(gradient(400, 300), Image.effect_noise((400, 300), 60).convert("RGB"), 0.3)


def test_a_picture_is_like_itself() -> None:
    same = photo()
    assert ssim(same, same) == pytest.approx(1.0, abs=1e-6)


def test_the_more_a_picture_is_blurred_the_less_it_is_like_itself() -> None:
    sharp = photo()
    values = [ssim(sharp, sharp.filter(ImageFilter.GaussianBlur(radius))) for radius in (0.5, 1, 2, 4)]
    assert values == sorted(values, reverse=True)
    assert values[0] < 1.0


def test_a_shrunk_picture_is_compared_with_lanczos() -> None:
    full = photo()
    assert similarity(full.resize((100, 75), Image.Resampling.LANCZOS), full) == pytest.approx(1.0)
    assert similarity(full.resize((100, 75), Image.Resampling.NEAREST), full) < 0.9


def test_pictures_of_other_sizes_are_not_compared() -> None:
    with pytest.raises(ValueError, match="not the same size"):
        ssim(photo(), photo().crop((0, 0, 399, 300)))


def test_the_chart_is_well_formed_and_bars_are_in_proportion() -> None:
    groups = [("a < b & c", "images/s", [("procwatch", 20.0, 19.0, 21.0), ("other", 10.0, 9.0, 11.0)])]
    root = ET.fromstring(bars(groups))
    space = "{http://www.w3.org/2000/svg}"
    ours, theirs = root.findall(f"{space}rect")
    assert float(ours.attrib["width"]) == pytest.approx(2 * float(theirs.attrib["width"]), abs=0.2)
    assert ours.attrib["fill"] != theirs.attrib["fill"]
    assert "20.0 images/s" in {text.text for text in root.findall(f"{space}text")}
