"""Recipes, their hash, and what is said about mistakes in them."""

import pickle
import subprocess
import sys
from dataclasses import replace

import pytest

from procwatch.imaging.codecs import codec_for
from procwatch.imaging.operations import OPERATIONS
from procwatch.imaging.recipe import (
    BUILTIN_RECIPES,
    DEFAULT_FORMATS,
    Output,
    Recipe,
    Step,
    output_problems,
    step_problems,
)

pytestmark = pytest.mark.unit

WEB = BUILTIN_RECIPES["web"]


def test_recipes_and_operations_are_imported_without_pil() -> None:
    """The daemon validates with them and must never load a decoder."""
    code = (
        "import sys, procwatch.imaging.recipe, procwatch.imaging.operations, procwatch.imaging.plan, "
        "procwatch.imaging.formats; sys.exit('PIL' in sys.modules or 'cykooz_resizer' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_every_built_in_recipe_is_valid() -> None:
    for recipe in BUILTIN_RECIPES.values():
        for output in recipe.outputs:
            assert output_problems(output.format, output.quality, output.options) == []
            assert [p for step in output.steps for p in step_problems(step.op, step.params)] == []


def test_web_is_what_the_design_says() -> None:
    web, thumb = WEB.outputs
    assert dict(web.steps[0].params) == {"width": 2048, "height": 2048}
    assert dict(thumb.steps[0].params) == {"width": 400, "height": 400}
    assert (web.quality, thumb.quality) == (82, 80)
    assert (web.template, thumb.template) == ("{stem}-web.{ext}", "{stem}-thumb.{ext}")
    assert not {"EPS", "PSD", "FPX", "MIC", "WMF", "PDF", "FITS", "ICNS"} & set(DEFAULT_FORMATS)


def test_the_hash_is_stable_across_processes_and_releases() -> None:
    """A changed hash makes `rebuild --stale` redo everything: change this number only together with PIXELS_VERSION."""
    assert WEB.hash == "655ac83609b56da5"
    assert pickle.loads(pickle.dumps(WEB)).hash == WEB.hash


def test_a_worker_gets_the_same_recipe_with_every_task() -> None:
    first, second = pickle.loads(pickle.dumps(WEB)), pickle.loads(pickle.dumps(WEB))
    assert first == WEB
    assert first is second


def test_the_hash_ignores_the_order_of_parameters_and_what_may_be_read() -> None:
    def recipe(*params: tuple[str, int]) -> Recipe:
        return Recipe(name="r", outputs=(Output(name="o", steps=(Step(op="fit", params=params),)),))

    assert recipe(("width", 1), ("height", 2)).hash == recipe(("height", 2), ("width", 1)).hash
    assert replace(WEB, formats=("PNG",)).hash == WEB.hash


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "other"},
        {"template": "{stem}.{ext}"},
        {"quality": 81},
        {"format": "webp"},
        {"options": (("progressive", True),)},
        {"steps": (Step(op="fit", params=(("width", 2047),)),)},
    ],
)
def test_the_hash_changes_with_everything_that_changes_pixels_or_names(changed: dict[str, object]) -> None:
    other = replace(WEB, outputs=(replace(WEB.outputs[0], **changed), WEB.outputs[1]))  # type: ignore[arg-type]
    assert other.hash != WEB.hash


@pytest.mark.parametrize(
    ("op", "params", "expected"),
    [
        ("fitt", {}, "did you mean 'fit'?"),
        ("fit", {}, "fit needs width, height or both"),
        ("fit", {"widht": 3}, "did you mean 'width'?"),
        ("fit", {"width": "3"}, "a whole number from 1 to 65535, not '3'"),
        ("fit", {"width": True}, "not True"),
        ("fit", {"width": 0}, "not 0"),
        ("fit", {"width": 1.5}, "not 1.5"),
        ("fill", {"width": 3}, "fill needs height"),
        ("fill", {"width": 3, "height": 3, "gravity": "centre"}, "did you mean 'center'?"),
        ("crop", {"width": 3, "height": 3, "left": -1}, "at least 0"),
    ],
)
def test_a_mistake_in_a_step_is_told_with_what_is_allowed(
    op: str, params: dict[str, object], expected: str
) -> None:
    assert expected in " ".join(step_problems(op, params))


def test_all_mistakes_of_a_step_are_told_at_once() -> None:
    assert len(step_problems("fill", {"width": "x", "height": 0, "gravity": 1, "colour": "red"})) == 4


@pytest.mark.parametrize(
    ("format_name", "quality", "options", "expected"),
    [
        ("jpg", None, {}, "did you mean 'jpeg'?"),
        ("jpeg", 0, {}, "quality must be a whole number from 1 to 100"),
        ("png", 80, {}, "png has no quality"),
        ("webp", 80, {"methode": 3}, "did you mean 'method'?"),
        ("avif", 80, {"speed": 11}, "from 0 to 10"),
        ("auto", 80, {"method": 3}, "name a format"),
    ],
)
def test_a_mistake_in_an_output_is_told(
    format_name: str, quality: int | None, options: dict[str, object], expected: str
) -> None:
    assert expected in " ".join(output_problems(format_name, quality, options))


def test_every_operation_says_what_it_is_for_and_names_itself_like_its_file() -> None:
    for name, operation in OPERATIONS.items():
        assert name == operation.name
        assert operation.summary
        assert operation.apply.__module__ == f"procwatch.imaging.operations.{name}"
        assert all(param.meaning for param in operation.params)


def test_auto_is_jpeg_for_opaque_and_webp_or_for_very_long_pictures_png_for_transparent() -> None:
    assert codec_for("auto", has_alpha=False, size=(9, 9)).name == "jpeg"
    assert codec_for("auto", has_alpha=True, size=(9, 9)).name == "webp"
    assert codec_for("auto", has_alpha=True, size=(20_000, 9)).name == "png"
