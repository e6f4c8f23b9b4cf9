"""Make pictures, render them in a folder, compare the results."""

import io
from pathlib import Path
from typing import Any

from PIL import Image, ImageChops, ImageStat

from procwatch.imaging.recipe import Output, Recipe, Step
from procwatch.imaging.render import render
from procwatch.model import Limits, Rendered


def encoded(image: Image.Image, format_name: str, **options: Any) -> bytes:
    """Return a picture as a file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format_name, **options)
    return buffer.getvalue()


def gradient(width: int, height: int) -> Image.Image:
    """Return an RGB picture in which every corner, row and column is different."""
    across = Image.linear_gradient("L").rotate(90).resize((width, height))
    down = Image.linear_gradient("L").resize((width, height))
    return Image.merge("RGB", (across, down, ImageChops.invert(across)))


def one_output(*steps: Step, format_name: str = "png", **more: Any) -> Recipe:
    """Return a recipe with one output, lossless unless said otherwise."""
    return Recipe(name="test", outputs=(Output(name="out", steps=steps, format=format_name),), **more)


def fit(side: int) -> Step:
    return Step(op="fit", params=(("width", side), ("height", side)))


def render_bytes(data: bytes, recipe: Recipe, folder: Path, limits: Limits | None = None) -> Rendered:
    """Render into a new folder."""
    folder.mkdir(parents=True)
    return render(io.BytesIO(data), recipe, limits or Limits(), str(folder))


def picture(folder: Path, name: str = "0.png") -> Image.Image:
    """Return an output, loaded, its file closed."""
    with Image.open(folder / name) as image:
        image.load()
        return image


def mean_difference(one: Image.Image, other: Image.Image) -> float:
    """Return the mean difference of two pictures of the same size, of 255."""
    assert one.size == other.size
    difference = ImageChops.difference(one.convert("RGBA"), other.convert("RGBA"))
    return max(ImageStat.Stat(difference).mean)
