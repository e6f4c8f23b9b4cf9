"""Recipes: what to make of a picture, as frozen values that the daemon validates and a worker follows; no PIL here."""

import hashlib
import json
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Any, Final, Literal

from procwatch.imaging.codecs import CODECS, FORMAT_NAMES
from procwatch.imaging.operation import Param, allowed_names, did_you_mean, param_problems
from procwatch.imaging.operations import OPERATIONS

#: Pillow's names of the formats that are read unless a recipe says otherwise; content decides, not the extension.
#: HEIF needs the extra `heic`. JPEG includes MPO, a JPEG with more pictures behind the first.
DEFAULT_FORMATS: Final = ("JPEG", "PNG", "WEBP", "AVIF", "GIF", "TIFF", "BMP", "HEIF")

#: Part of every recipe's hash: raise it when a change of this package makes other pixels from the same recipe.
PIXELS_VERSION: Final = 1

ResamplerChoice = Literal["auto", "simd", "pillow"]
Value = int | float | str | bool
Pairs = tuple[tuple[str, Value], ...]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One operation with its parameters."""

    op: str
    params: Pairs = ()


@dataclass(frozen=True, kw_only=True)
class Output:
    """One file to make. `template` is relative and may contain "/"; {dir} is implied in front when it is not used.

    Placeholders: {dir} {stem} {ext} {width} {height} {recipe}. An empty template becomes "{stem}-NAME.{ext}".
    """

    name: str
    steps: tuple[Step, ...] = ()
    format: str = "auto"  # auto: JPEG for opaque pictures, WebP where there is transparency
    quality: int | None = None  # 1 to 100; None: the format's default
    options: Pairs = ()
    template: str = ""

    def __post_init__(self) -> None:
        if not self.template:
            object.__setattr__(self, "template", f"{{stem}}-{self.name}.{{ext}}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A named list of outputs, the formats that may be read (Pillow's names), and who resamples."""

    name: str
    outputs: tuple[Output, ...]
    formats: tuple[str, ...] = DEFAULT_FORMATS
    resampler: ResamplerChoice = "auto"

    @cached_property
    def hash(self) -> str:
        """16 hex digits of everything that changes pixels or names; the order of parameters does not matter."""
        text = json.dumps(_essence(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]

    @cached_property
    def _pickled(self) -> bytes:
        return pickle.dumps((self.name, self.outputs, self.formats, self.resampler))

    def __reduce__(self) -> Any:
        return _unpickled, (self._pickled,)


@lru_cache(maxsize=16)
def _unpickled(data: bytes) -> Recipe:
    """Return the recipe; a worker gets the same one with every task."""
    name, outputs, formats, resampler = pickle.loads(data)  # noqa: S301 (the daemon made it, as the task around it)
    return Recipe(name=name, outputs=outputs, formats=formats, resampler=resampler)


def _essence(recipe: Recipe) -> dict[str, Any]:
    outputs = [
        {
            "name": output.name,
            "steps": [[step.op, dict(step.params)] for step in output.steps],
            "format": output.format,
            "quality": output.quality,
            "options": dict(output.options),
            "template": output.template,
        }
        for output in recipe.outputs
    ]
    return {"pixels": PIXELS_VERSION, "name": recipe.name, "resampler": recipe.resampler, "outputs": outputs}


def step_problems(op: str, params: Mapping[str, object] | Iterable[tuple[str, object]]) -> list[str]:
    """Return every mistake in a step, each with what is allowed; an empty list means that it can run."""
    operation = OPERATIONS.get(op)
    if operation is None:
        return [f"no operation {op!r}{did_you_mean(op, OPERATIONS)}{allowed_names(OPERATIONS)}"]
    values = dict(params)
    problems = param_problems(operation.params, values, where=op)
    return problems or operation.check(values)  # type: ignore[arg-type]  # every type was just checked


def output_problems(
    format_name: str, quality: int | None, options: Mapping[str, object] | Iterable[tuple[str, object]]
) -> list[str]:
    """Return every mistake in an output's format, quality and options."""
    if format_name not in FORMAT_NAMES:
        return [
            f"no output format {format_name!r}{did_you_mean(format_name, FORMAT_NAMES)}{allowed_names(FORMAT_NAMES)}"
        ]
    if format_name == "auto":
        problems = [
            f"format auto takes no option {name!r}; name a format to set it" for name in dict(options)
        ]
        has_quality = True
    else:
        codec = CODECS[format_name]
        problems = param_problems(codec.options, dict(options), where=format_name)
        has_quality = codec.quality is not None
    if quality is not None and not has_quality:
        problems.append(f"{format_name} has no quality: it is lossless")
    elif quality is not None:
        wrong = Param(name="quality", kind="int", meaning="", low=1, high=100).problem(quality)
        problems += [wrong] if wrong else []
    return problems


def _fit(side: int) -> tuple[Step, ...]:
    return (Step(op="fit", params=(("width", side), ("height", side))),)


BUILTIN_RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "web": Recipe(
            name="web",
            outputs=(
                Output(name="web", steps=_fit(2048), quality=82),
                Output(name="thumb", steps=_fit(400), quality=80),
            ),
        )
    }
)
