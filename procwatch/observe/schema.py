"""What an event and a field of the log are, and how one value is checked against a field."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

Type = Literal[
    "string", "integer", "number", "boolean", "strings", "object",
    "relative path", "absolute path", "relative paths",
]  # fmt: skip

_JSON_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "strings": (list,),
    "object": (dict,),
    "relative path": (str,),
    "absolute path": (str,),
    "relative paths": (list,),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """One key of a log line. A field with a unit is never negative; `choices` lists all values where they are few."""

    name: str
    type: Type
    unit: str = ""
    meaning: str
    example: object
    required: bool = True
    nullable: bool = False
    choices: tuple[str, ...] = ()

    @property
    def optional(self) -> "Field":
        """The same field where it may be absent."""
        return replace(self, required=False)

    def problem(self, value: object) -> str | None:
        """Return what is wrong with a value, or None."""
        if value is None:
            return None if self.nullable else f"{self.name} is null"
        wrong = self._type_problem(value)
        if wrong is not None:
            return wrong
        if self.choices and value not in self.choices:
            return f"{self.name} is {value!r}, not one of {', '.join(self.choices)}"
        if self.unit and isinstance(value, int | float) and value < 0:
            return f"{self.name} is {value!r}, but counts {self.unit}"
        return None

    def _type_problem(self, value: object) -> str | None:
        is_bool = isinstance(value, bool)  # which Python counts as an integer
        if not isinstance(value, _JSON_TYPES[self.type]) or is_bool != (self.type == "boolean"):
            return f"{self.name} is {value!r}, not of type {self.type}"
        items = value if isinstance(value, list) else [value]
        if isinstance(value, list) and not all(isinstance(item, str) for item in items):
            return f"{self.name} is {value!r}, not a list of strings"
        if self.type.startswith("relative") and any(_leaves(item) for item in items):
            return f"{self.name} is {value!r}, not below its folder"
        if self.type == "absolute path" and not str(value).startswith("/"):
            return f"{self.name} is {value!r}, not absolute"
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One kind of log line. `also` names further levels at which it may come; `meaning` says when and why."""

    name: str
    level: str
    meaning: str
    fields: tuple[Field, ...] = ()
    also: tuple[str, ...] = ()
    values: Mapping[str, object] = field(default_factory=dict)

    @property
    def example(self) -> dict[str, object]:
        """A line as it could stand in the log: the required fields, and the optional ones that `values` gives."""
        line: dict[str, object] = {
            "timestamp": "2027-03-14T09:26:53.589Z",
            "level": self.level,
            "event": self.name,
        }
        for each in self.fields:
            if each.required or each.name in self.values:
                line[each.name] = self.values.get(each.name, each.example)
        return line


def _leaves(path: object) -> bool:
    text = str(path)
    return not text or text.startswith("/") or ".." in text.split("/")
