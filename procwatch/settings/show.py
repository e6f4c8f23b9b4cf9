"""The effective configuration as TOML that reads back equal."""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from procwatch.units import format_size, parse_size

if TYPE_CHECKING:
    from procwatch.imaging.recipe import Output, Recipe
    from procwatch.model import InboxSpec
    from procwatch.settings.values import Settings

_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_SIZES = (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024))


#: "120s" is easier to read than "2m", "900s" is not.
_MINUTES_FROM_S = 600
_DURATIONS = (("d", 86400), ("h", 3600), ("m", 60))
#: Above this many of a unit nobody counts in it.
_LONG = 10_000


class Literally(str):
    """Text that is a TOML value already."""

    __slots__ = ()


def to_toml(settings: "Settings") -> str:
    """Return every setting with its resolved value, folders absolute."""
    lines = [f"stop_timeout = {toml_value(_duration(settings.stop_timeout_s))}"]
    for inbox in settings.inboxes:
        lines += ["", "[[inbox]]", *_pairs(_inbox(inbox))]
    for recipe in settings.recipes.values():
        lines += _recipe(recipe)
    pool, limits, log = settings.pool, settings.limits, settings.log
    hooks, metrics = settings.hooks, settings.metrics
    sections: dict[str, dict[str, Any]] = {
        "pool": {
            "workers": pool.workers,
            "timeout": _duration(pool.timeout_s),
            "recycle_after": pool.recycle_after_jobs,
            "max_rss_growth": _size(pool.max_rss_growth_bytes),
            "sandbox": pool.sandbox,
        },
        "limits": {
            "max_pixels": Literally(f"{limits.max_pixels:_}"),
            "max_bytes": _size(limits.max_bytes),
            "max_frames": limits.max_frames,
            "memory": _size(pool.memory_bytes),
            "worker_memory": _size(pool.worker_memory_bytes),
        },
        "state": {"dir": settings.state_dir, "keep": _keep(settings.ledger_keep_s)},
        "log": {"file": log.file, "format": log.format, "level": log.level},
        "hooks": {
            "done": hooks.done,
            "failed": hooks.failed,
            "drained": hooks.drained,
            "timeout": _duration(hooks.timeout_s),
        },
        "metrics": {
            "textfile": metrics.textfile or "off",
            "listen": f"{metrics.listen[0]}:{metrics.listen[1]}" if metrics.listen else "off",
        },
    }
    for name, values in sections.items():
        lines += ["", f"[{name}]", *_pairs(values)]
    return "\n".join(lines) + "\n"


def toml_value(value: Any) -> str:
    """Return a value as TOML writes it; keys of inline tables keep their order."""
    if isinstance(value, Literally):
        return str(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + "".join(_escaped(character) for character in value) + '"'
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml_value, value)) + "]"
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(key)} = {toml_value(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    return str(value)


def _inbox(inbox: "InboxSpec") -> dict[str, Any]:
    return {
        "name": inbox.name,
        "path": inbox.path,
        "outbox": inbox.outbox,
        "archive": inbox.archive,
        "failed": inbox.failed,
        "recipe": inbox.recipe,
        "recursive": inbox.recursive,
        "on_success": inbox.on_success,
        "on_conflict": inbox.on_conflict,
        "settle": _duration(inbox.settle_s),
        "incomplete_after": _duration(inbox.incomplete_after_s),
        "rescan": _duration(inbox.rescan_s),
        "include": inbox.include,
        "ignore": inbox.ignore,
        "observer": inbox.observer,
        "output_mode": Literally(f"0o{inbox.output_mode:o}"),
        "dir_mode": Literally(f"0o{inbox.dir_mode:o}"),
        "archive_keep": _keep(inbox.archive_keep_s),
        "failed_keep": _keep(inbox.failed_keep_s),
        "min_free": "off" if inbox.min_free_bytes is None else _size(inbox.min_free_bytes),
    }


def _keep(seconds: float | None) -> str:
    return "forever" if seconds is None else _duration(seconds)


def _recipe(recipe: "Recipe") -> Iterator[str]:
    yield from ("", f"[recipe.{_key(recipe.name)}]")
    yield from _pairs({"formats": recipe.formats, "resampler": recipe.resampler})
    for output in recipe.outputs:
        yield from ("", f"[recipe.{_key(recipe.name)}.output.{_key(output.name)}]")
        yield from _pairs(_output(output))


def _output(output: "Output") -> dict[str, Any]:
    return {
        "steps": [{"op": step.op, **dict(step.params)} for step in output.steps],
        "format": output.format,
        "quality": output.quality,
        "options": dict(output.options),
        "template": output.template,
    }


def _pairs(values: Mapping[str, Any]) -> Iterator[str]:
    """TOML has no null: what is not set is not written."""
    return (f"{_key(key)} = {toml_value(value)}" for key, value in values.items() if value is not None)


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if bare else toml_value(name)


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if character.isprintable():
        return character
    return f"\\u{ord(character):04x}" if ord(character) <= 0xFFFF else f"\\U{ord(character):08x}"  # noqa: PLR2004


def _duration(seconds: float) -> str:
    """Return a duration that reads back as exactly this number: no exponent, no rounding; "90s", "15m", "90d"."""
    for unit, size in _DURATIONS:
        if seconds >= _MINUTES_FROM_S and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    text = f"{Decimal(repr(seconds)):f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) + "s"


def _size(count: int) -> int | str:
    """Return a size that reads back as exactly this number; one that nobody would write so is said as well."""
    for unit, size in _SIZES:
        if not size <= count < _LONG * size:
            continue
        tenths = f"{count / size:.1f} {unit}"
        if count % size == 0 or parse_size(tenths) == count:
            return tenths.replace(".0 ", " ")
    return count if count < _LONG else Literally(f"{count}  # {format_size(count)}")
