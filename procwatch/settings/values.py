"""What was asked, as frozen values: everything the rest of procwatch needs to know of a configuration."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from procwatch.model import InboxSpec, Limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from procwatch.imaging.recipe import Recipe

LogFormat = Literal["auto", "json", "console"]
SandboxMode = Literal["require", "prefer", "off"]
LogLevel = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolSpec:
    """The pool of worker processes."""

    workers: int
    timeout_s: float = 120.0  # a file that renders longer is killed and fails
    recycle_after_jobs: int = 2000  # a worker is replaced while idle after so many jobs
    max_rss_growth_bytes: int = 300 * 1024**2  # or when its resident memory grew by more than this
    memory_bytes: int = 2 * 1024**3  # all running jobs together may take so much
    worker_memory_bytes: int = 512 * 1024**2  # and each so much without being granted more
    sandbox: SandboxMode = "prefer"  # what happens where the kernel lacks a protection of the workers


@dataclass(frozen=True, kw_only=True, slots=True)
class LogSpec:
    """Where log lines go. `file` is absolute and always gets JSON; None writes to stdout alone."""

    file: str | None = None
    format: LogFormat = "auto"
    level: LogLevel = "info"


@dataclass(frozen=True, kw_only=True, slots=True)
class HooksSpec:
    """Commands to run when a file is done or failed and when an inbox is drained, as argv; empty: none."""

    done: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    drained: tuple[str, ...] = ()
    timeout_s: float = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class MetricsSpec:
    """Where metrics go: a text file (None: none; "auto": in the state folder) and an address to listen on."""

    textfile: str | None = "auto"
    listen: tuple[str, int] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """One whole configuration. Folders are absolute; `source` is the file it came from, None for zero-config."""

    source: str | None
    state_dir: str
    inboxes: tuple[InboxSpec, ...]
    recipes: "Mapping[str, Recipe]"
    pool: PoolSpec
    limits: Limits
    log: LogSpec
    hooks: HooksSpec = HooksSpec()
    metrics: MetricsSpec = MetricsSpec()
    stop_timeout_s: float = 20.0
    ledger_keep_s: float | None = 90 * 86400.0  # ended jobs are forgotten after this; None: never
