"""What an operation is: a name, typed parameters and a pure function; the files in operations/ each define one."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from procwatch.imaging.geometry import Geometry

if TYPE_CHECKING:
    from PIL import Image

Value = int | float | str | bool
Params = Mapping[str, Value]


@dataclass(frozen=True, kw_only=True, slots=True)
class Param:
    """One parameter. `choices` for words, `low` and `high` (inclusive) for numbers; no `default` means None."""

    name: str
    kind: Literal["int", "float", "str", "bool"]
    meaning: str
    required: bool = False
    default: Value | None = None
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    def problem(self, value: object) -> str | None:
        """Say what is wrong with a value, or None."""
        if not self._has_type(value):
            return f"{self.name} must be {self.allowed()}, not {value!r}"
        if self.choices and value not in self.choices:
            return (
                f"{self.name} must be {self.allowed()}, not {value!r}{did_you_mean(str(value), self.choices)}"
            )
        if isinstance(value, int | float) and not isinstance(value, bool):
            too_low = self.low is not None and value < self.low
            too_high = self.high is not None and value > self.high
            if too_low or too_high or value != value:  # noqa: PLR0124 (not a number)
                return f"{self.name} must be {self.allowed()}, not {value!r}"
        return None

    def _has_type(self, value: object) -> bool:
        if isinstance(value, bool) or self.kind == "bool":
            return isinstance(value, bool) and self.kind == "bool"
        if self.kind == "float":
            return isinstance(value, int | float)
        return isinstance(value, int if self.kind == "int" else str)

    def allowed(self) -> str:
        """Return the values that are allowed, in words."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        words = {"int": "a whole number", "float": "a number", "str": "text", "bool": "true or false"}[
            self.kind
        ]
        if self.low is not None and self.high is not None:
            return f"{words} from {self.low:g} to {self.high:g}"
        if self.low is not None:
            return f"{words}, at least {self.low:g}"
        return words


def no_more_problems(_params: Params) -> list[str]:
    """Return nothing: the default for operations whose parameters do not depend on each other."""
    return []


@dataclass(frozen=True, kw_only=True, slots=True)
class GeometryOperation:
    """Numbers in, numbers out: all geometry of an output composes into one resample in upright coordinates."""

    name: str
    summary: str
    params: tuple[Param, ...]
    apply: Callable[[Geometry, Params], Geometry]
    check: Callable[[Params], list[str]] = no_more_problems  # called when every single parameter is right


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelOperation:
    """Pixels in, pixels out, after resampling, on upright sRGB (L, LA, RGB or RGBA). The module imports PIL lazily."""

    name: str
    summary: str
    params: tuple[Param, ...]
    apply: Callable[["Image.Image", Params], "Image.Image"]
    check: Callable[[Params], list[str]] = no_more_problems


Operation = GeometryOperation | PixelOperation


def with_defaults(params: tuple[Param, ...], given: Iterable[tuple[str, Value]]) -> dict[str, Value]:
    """Return the given values and the defaults of those that were not given."""
    values = {param.name: param.default for param in params if param.default is not None}
    return values | dict(given)


def param_problems(params: tuple[Param, ...], given: Mapping[str, object], *, where: str) -> list[str]:
    """Return every mistake in the given values: unknown names, missing ones, wrong types and ranges."""
    known = {param.name: param for param in params}
    problems = [
        f"{where} has no parameter {name!r}{did_you_mean(name, known) or allowed_names(known)}"
        for name in given
        if name not in known
    ]
    problems += [
        f"{where} needs {param.name}: {param.meaning}"
        for param in params
        if param.required and param.name not in given
    ]
    found = (known[name].problem(value) for name, value in given.items() if name in known)
    return problems + [f"{where}: {problem}" for problem in found if problem]


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" or nothing."""
    close = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def allowed_names(known: Iterable[str]) -> str:
    """Return "; known: a, b" for a message."""
    return "; known: " + (", ".join(sorted(known)) or "none")
