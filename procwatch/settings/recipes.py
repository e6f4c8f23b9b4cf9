"""Recipes as they are written in a configuration: their mistakes, and the values made of them."""

import importlib.util
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

from procwatch.delivery.naming import PLACEHOLDERS, template_problems
from procwatch.imaging.codecs import FORMAT_NAMES
from procwatch.imaging.recipe import DEFAULT_FORMATS, Output, Recipe, Step, output_problems, step_problems
from procwatch.settings.document import Mistake
from procwatch.settings.locate import Path
from procwatch.settings.mistakes import did_you_mean

if TYPE_CHECKING:
    from procwatch.settings.schema import OutputTable, RecipeTable

#: Formats that may be listed beside the usual ones. Pillow reads more, but through decoders that start other
#: programs or that nobody has hardened (EPS, PSD, WMF, FPX, ICNS, HDF5 ...): those are never read.
MORE_FORMATS: Final = ("JPEG2000", "PPM", "TGA", "ICO", "QOI", "DDS", "PCX", "SGI")
_STEP_FORM: Final = '{ op = "fit", width = 2048, height = 2048 }'


def recipe_mistakes(data: Mapping[str, Any]) -> Iterator[Mistake]:
    """Yield what is wrong inside recipes; what the schema reports (a wrong type) is passed over in silence."""
    for name, recipe in _tables(data.get("recipe")):
        yield from _format_mistakes(("recipe", name, "formats"), recipe.get("formats"))
        if recipe.get("resampler") == "simd" and not _has_simd():
            yield Mistake(
                path=("recipe", name, "resampler"),
                message='"simd" needs the package cykooz-resizer, which is not installed: install it, or use "auto"',
            )
        same_names: dict[tuple[str, str], str] = {}
        for output_name, output in _tables(recipe.get("output")):
            path: Path = ("recipe", name, "output", output_name)
            yield from _step_mistakes(path, output.get("steps"))
            yield from _encoding_mistakes(path, output)
            template = output.get("template") or f"{{stem}}-{output_name}.{{ext}}"
            if isinstance(template, str):
                yield from _template_mistakes((*path, "template"), template)
                other = same_names.setdefault((template, str(output.get("format", "auto"))), output_name)
                if other != output_name and not {"{width}", "{height}"} & set(re.findall(r"{\w+}", template)):
                    yield Mistake(
                        path=(*path, "template"),
                        message=f'output "{other}" has the same one; give each its own',
                    )


def _has_simd() -> bool:
    """Whether the resampler could be imported; only a worker imports it, and checks it."""
    return importlib.util.find_spec("cykooz_resizer") is not None


def _template_mistakes(path: Path, template: str) -> Iterator[Mistake]:
    for problem in template_problems(template):
        unknown = re.match(r"\{([^{}]*)\}", problem)
        guess = did_you_mean(unknown[1], PLACEHOLDERS) if unknown else ""
        yield Mistake(path=path, message=problem + guess)


def build_recipe(name: str, table: "RecipeTable") -> Recipe:
    """Return the value of a recipe table that has no mistakes."""
    return Recipe(
        name=name,
        outputs=tuple(_build_output(output_name, output) for output_name, output in table.output.items()),
        formats=DEFAULT_FORMATS if table.formats is None else tuple(table.formats),
        resampler=table.resampler,
    )


def _build_output(name: str, table: "OutputTable") -> Output:
    return Output(
        name=name,
        steps=tuple(
            Step(op=step["op"], params=tuple((key, value) for key, value in step.items() if key != "op"))
            for step in table.steps
        ),
        format=table.format,
        quality=table.quality,
        options=tuple(table.options.items()),
        template=table.template,
    )


def _step_mistakes(path: Path, steps: object) -> Iterator[Mistake]:
    for index, step in enumerate(steps if isinstance(steps, list) else []):
        if not isinstance(step, dict):
            continue
        where = (*path, "steps", index)
        op = step.get("op")
        if not isinstance(op, str):
            yield Mistake(path=where, message=f"a step needs `op`, as in {_STEP_FORM}")
            continue
        params = {key: value for key, value in step.items() if key != "op"}
        for problem in step_problems(op, params):
            yield Mistake(path=where, message=problem)


def _encoding_mistakes(path: Path, output: Mapping[str, Any]) -> Iterator[Mistake]:
    name, quality, options = output.get("format", "auto"), output.get("quality"), output.get("options", {})
    if not isinstance(name, str) or not isinstance(options, dict):
        return
    if isinstance(quality, bool) or not isinstance(quality, int | None):
        quality = None  # the schema reports it
    problems = output_problems(name, quality, options)
    if name not in FORMAT_NAMES:
        problems += output_problems("auto", quality, {})  # an unknown format does not excuse the quality
    for problem in problems:
        about_quality = problem.startswith("quality") or "has no quality" in problem
        key = "quality" if about_quality else "format" if "output format" in problem else "options"
        yield Mistake(path=(*path, key), message=problem)


def _format_mistakes(path: Path, formats: object) -> Iterator[Mistake]:
    known = (*DEFAULT_FORMATS, *MORE_FORMATS)
    if formats == []:
        yield Mistake(path=path, message=f"must name at least one format; known: {', '.join(known)}")
    for index, name in enumerate(formats if isinstance(formats, list) else []):
        if isinstance(name, str) and name not in known:
            upper = {known_name.lower(): known_name for known_name in known}
            guess = did_you_mean(name, upper).upper().replace("DID YOU MEAN", "did you mean")
            yield Mistake(
                path=(*path, index), message=f'no format "{name}"{guess}; known: {", ".join(known)}'
            )


def _tables(value: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, table in value.items() if isinstance(value, dict) else ():
        if isinstance(table, dict):
            yield name, table
