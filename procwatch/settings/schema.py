"""The words of a configuration file and the values that each may have, as pydantic models.

The description of a field completes "must be ..." in error messages, and says what is allowed.
"""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from procwatch.imaging.recipe import ResamplerChoice
from procwatch.model import InboxSpec, Limits, ObserverKind, OnConflict, OnSuccess
from procwatch.settings.values import (
    HooksSpec,
    LogFormat,
    LogLevel,
    LogSpec,
    MetricsSpec,
    PoolSpec,
    SandboxMode,
    Settings,
)
from procwatch.units import parse_duration, parse_size

MAX_DURATION_S: Final = 366 * 86400.0
MAX_WORKERS: Final = 256
MAX_PORT: Final = 65535
_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


def _duration(at_least_s: float) -> Callable[[Any], float]:
    def convert(value: Any) -> float:
        if not isinstance(value, str):
            raise ValueError("text with a unit")  # noqa: TRY004 (pydantic turns ValueError into a report)
        seconds = parse_duration(value)
        if not at_least_s <= seconds <= MAX_DURATION_S:
            raise ValueError("out of range")
        return seconds

    return convert


def _size(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError("text with a unit")  # noqa: TRY004
    try:
        size = parse_size(value) if isinstance(value, str) else value
    except OverflowError as error:
        raise ValueError("too large") from error
    if size < 1:
        raise ValueError("out of range")
    return size


def _duration_or_forever(value: Any) -> float | None:
    return None if value == "forever" else _duration(1.0)(value)


def _listen(value: Any) -> tuple[str, int] | None:
    if value == "off":
        return None
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not host or not port.isascii() or not port.isdigit() or not 0 <= int(port) <= MAX_PORT:
        raise ValueError("not an address")
    return host.strip("[]"), int(port)


def _size_or_off(value: Any) -> int | None:
    return None if value == "off" else _size(value)


def _auto_size(value: Any) -> int | None:
    return None if value == "auto" else _size(value)


def _workers(value: Any) -> int | None:
    if value == "auto":
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_WORKERS:
        raise ValueError("out of range")
    return value


def _path(value: str) -> str:
    if not value.strip() or "\0" in value:
        raise ValueError("empty")
    return value


def _inbox_name(value: str) -> str:
    if not value.strip() or "/" in value or not value.isprintable():
        raise ValueError("not a name")
    return value


def _mode(owner_needs: int, at_most: int) -> Callable[[int], int]:
    def check(value: int) -> int:
        if not 0 <= value <= at_most or value & owner_needs != owner_needs:
            raise ValueError("not a mode")
        return value

    return check


Duration = Annotated[float, BeforeValidator(_duration(0.0))]
PositiveDuration = Annotated[float, BeforeValidator(_duration(0.001))]
SecondOrMore = Annotated[float, BeforeValidator(_duration(1.0))]
Listen = Annotated[tuple[str, int] | None, BeforeValidator(_listen)]
DurationOrForever = Annotated[float | None, BeforeValidator(_duration_or_forever)]
SizeOrOff = Annotated[int | None, BeforeValidator(_size_or_off)]
Size = Annotated[int, BeforeValidator(_size)]
AutoSize = Annotated[int | None, BeforeValidator(_auto_size)]
Workers = Annotated[int | None, BeforeValidator(_workers)]
FolderPath = Annotated[str, AfterValidator(_path)]
Name = Annotated[str, Field(pattern=_NAME)]
InboxName = Annotated[str, AfterValidator(_inbox_name)]
Count = Annotated[int, Field(ge=1)]
# A decimal 664 or 775 is a common slip; the owner's bits and the upper bound catch it.
FileMode = Annotated[int, AfterValidator(_mode(0o400, 0o777))]
DirMode = Annotated[int, AfterValidator(_mode(0o700, 0o7777))]


def _defaults(values: type[Any]) -> dict[str, Any]:
    """Return the defaults of a dataclass, so that each stands in one place only."""
    return {field.name: field.default for field in dataclasses.fields(values)}


_inbox = _defaults(InboxSpec)
_pool = _defaults(PoolSpec)
_limits = _defaults(Limits)
_log = _defaults(LogSpec)
_hooks = _defaults(HooksSpec)
_metrics = _defaults(MetricsSpec)
_settings = _defaults(Settings)


class Table(BaseModel):
    """A TOML table: unknown keys are mistakes, and nothing is converted behind the writer's back."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class InboxTable(Table):
    """[[inbox]]"""

    path: FolderPath = Field(description="a folder to watch")
    name: InboxName | None = Field(default=None, description='a name for logs and commands, without "/"')
    outbox: FolderPath | None = Field(default=None, description="a folder for results")
    archive: FolderPath | None = Field(default=None, description="a folder for originals that are done")
    failed: FolderPath | None = Field(default=None, description="a folder for originals that failed")
    recipe: str = Field(default="web", description="the name of a recipe")
    recursive: bool = Field(default=_inbox["recursive"], description="true or false")
    on_success: OnSuccess = Field(default=_inbox["on_success"], description='"archive", "delete" or "keep"')
    on_conflict: OnConflict = Field(
        default=_inbox["on_conflict"], description='"suffix", "overwrite" or "fail"'
    )
    settle: Duration = Field(default=_inbox["settle_s"], description='a time such as "2s" or "500ms"')
    incomplete_after: Duration = Field(
        default=_inbox["incomplete_after_s"], description='a time such as "60s" or "5m"'
    )
    rescan: SecondOrMore = Field(
        default=_inbox["rescan_s"], description='a time of at least "1s", such as "30s"'
    )
    include: list[str] = Field(default=[], description='a list of name patterns such as ["*.jpg"]')
    ignore: list[str] = Field(default=[], description='a list of name patterns such as ["*.bak"]')
    observer: ObserverKind = Field(default=_inbox["observer"], description='"auto", "native" or "polling"')
    output_mode: FileMode = Field(
        default=_inbox["output_mode"],
        description="an octal number from 0o400 to 0o777 that lets the owner read",
    )
    dir_mode: DirMode = Field(
        default=_inbox["dir_mode"],
        description="an octal number from 0o700 to 0o7777 with all rights for the owner",
    )
    archive_keep: DurationOrForever = Field(
        default=_inbox["archive_keep_s"], description='"forever" or a time such as "30d"'
    )
    failed_keep: DurationOrForever = Field(
        default=_inbox["failed_keep_s"], description='"forever" or a time such as "30d"'
    )
    min_free: SizeOrOff = Field(
        default=_inbox["min_free_bytes"], description='"off" or a size such as "1 GiB"'
    )


class OutputTable(Table):
    """[recipe.NAME.output.NAME]; steps, format, quality and options are checked by the imaging room."""

    steps: list[dict[str, Any]] = Field(
        default=[], description='a list of steps such as [{ op = "fit", width = 2048, height = 2048 }]'
    )
    format: str = Field(default="auto", description='"auto" or the name of an output format')
    quality: int | None = Field(default=None, description="a whole number from 1 to 100")
    options: dict[str, Any] = Field(default={}, description="a table of options of the format")
    template: str = Field(default="", description='a file name with placeholders such as "{stem}-web.{ext}"')


class RecipeTable(Table):
    """[recipe.NAME]"""

    output: dict[Name, OutputTable] = Field(
        description="tables [recipe.NAME.output.NAME], one for each file to make, named by letters, digits, . _ -",
        min_length=1,
    )
    formats: list[str] | None = Field(
        default=None, description='a list of formats to read such as ["JPEG", "PNG"]'
    )
    resampler: ResamplerChoice = Field(default="auto", description='"auto", "simd" or "pillow"')


class PoolTable(Table):
    """[pool]"""

    workers: Workers = Field(default=None, description=f'"auto" or a whole number from 1 to {MAX_WORKERS}')
    timeout: PositiveDuration = Field(default=_pool["timeout_s"], description='a time such as "120s" or "5m"')
    recycle_after: Count = Field(
        default=_pool["recycle_after_jobs"], description="a number of jobs, at least 1"
    )
    max_rss_growth: Size = Field(
        default=_pool["max_rss_growth_bytes"], description='a size such as "300 MiB" or "2 GiB"'
    )
    sandbox: SandboxMode = Field(default=_pool["sandbox"], description='"require", "prefer" or "off"')


class LimitsTable(Table):
    """[limits]"""

    max_pixels: Count = Field(default=_limits["max_pixels"], description="a number of pixels, at least 1")
    max_bytes: Size = Field(default=_limits["max_bytes"], description='a size such as "512 MiB" or "2 GiB"')
    max_frames: Count = Field(
        default=_limits["max_frames"], description="a number of frames or pages, at least 1"
    )
    memory: AutoSize = Field(default=None, description='"auto" or a size such as "4 GiB"')
    worker_memory: AutoSize = Field(default=None, description='"auto" or a size such as "512 MiB"')


class StateTable(Table):
    """[state]"""

    dir: FolderPath | None = Field(default=None, description="a folder for the ledger")
    keep: DurationOrForever = Field(
        default=_settings["ledger_keep_s"], description='"forever" or a time such as "90d"'
    )


class LogTable(Table):
    """[log]"""

    file: FolderPath | None = Field(default=None, description="a file for JSON lines")
    format: LogFormat = Field(default=_log["format"], description='"auto", "json" or "console"')
    level: LogLevel = Field(default=_log["level"], description='"debug", "info", "warning" or "error"')


class HooksTable(Table):
    """[hooks]"""

    done: list[str] = Field(
        default=[], description='a command and its arguments such as ["/usr/bin/notify", "-q"]'
    )
    failed: list[str] = Field(
        default=[], description='a command and its arguments such as ["/usr/bin/notify"]'
    )
    drained: list[str] = Field(
        default=[], description='a command and its arguments such as ["/usr/bin/notify"]'
    )
    timeout: PositiveDuration = Field(default=_hooks["timeout_s"], description='a time such as "30s"')


class MetricsTable(Table):
    """[metrics]"""

    textfile: FolderPath = Field(default="auto", description='"auto", "off" or a file')
    listen: Listen = Field(
        default=_metrics["listen"], description='"off" or an address such as "127.0.0.1:9750"'
    )


class ConfigTable(Table):
    """The whole file."""

    stop_timeout: Duration = Field(default=_settings["stop_timeout_s"], description='a time such as "20s"')
    inbox: list[InboxTable] = Field(description="tables [[inbox]], at least one", min_length=1)
    recipe: dict[Name, RecipeTable] = Field(
        default={}, description="tables [recipe.NAME], named by letters, digits, . _ -"
    )
    pool: PoolTable = Field(default_factory=PoolTable, description="a table [pool]")
    limits: LimitsTable = Field(default_factory=LimitsTable, description="a table [limits]")
    state: StateTable = Field(default_factory=StateTable, description="a table [state]")
    log: LogTable = Field(default_factory=LogTable, description="a table [log]")
    hooks: HooksTable = Field(default_factory=HooksTable, description="a table [hooks]")
    metrics: MetricsTable = Field(default_factory=MetricsTable, description="a table [metrics]")
