"""Metrics in the Prometheus text format: counted on the loop, written to a file for the node exporter's textfile
collector, or served on a port when the extra `metrics` is installed.

Format: https://prometheus.io/docs/instrumenting/exposition_formats/ (version 0.0.4). Names and units follow its
naming rules: base units, `_total` for counters.
"""

import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

#: Seconds; a thumbnail takes tens of milliseconds, a scanned book page seconds, the default timeout is 120.
BUCKETS_S: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)

#: name → (type, help). Every metric that there is; the documentation is made from it.
METRICS: Final[dict[str, tuple[str, str]]] = {
    "procwatch_files_total": ("counter", "Files that ended, by inbox and outcome."),
    "procwatch_errors_total": ("counter", "Failed files by inbox and error code."),
    "procwatch_read_bytes_total": ("counter", "Size of ended files, by inbox."),
    "procwatch_written_bytes_total": ("counter", "Size of published outputs, by inbox."),
    "procwatch_wait_seconds": (
        "histogram",
        "From noticing a file to the start of its last attempt, by inbox.",
    ),
    "procwatch_run_seconds": ("histogram", "Run of the last attempt in its worker, by inbox."),
    "procwatch_waiting_files": ("gauge", "Files noticed whose job has not started, by inbox."),
    "procwatch_oldest_waiting_seconds": ("gauge", "Age of the longest waiting job, by inbox."),
    "procwatch_inbox_watched": ("gauge", "1 while the inbox is watched, by inbox."),
    "procwatch_missed_events_total": ("counter", "Files that only a rescan found, by inbox."),
    "procwatch_running_jobs": ("gauge", "Jobs in a worker."),
    "procwatch_workers": ("gauge", "Worker processes that are up."),
    "procwatch_workers_lost_total": (
        "counter",
        "Worker processes that died or were stopped over their timeout.",
    ),
    "procwatch_ledger_commits_total": ("counter", "Commits of the ledger."),
    "procwatch_ledger_commit_seconds_total": ("counter", "Time spent in commits of the ledger."),
    "procwatch_hooks_failed_total": ("counter", "Hook commands that failed."),
    "procwatch_log_lines_lost_total": ("counter", "Log lines that a full disk or a gone reader cost."),
}

Labels = tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Histogram:
    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    total_s: float = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.total_s += seconds

    def samples(self) -> Iterator[tuple[str, Labels, float]]:
        """Yield (suffix, extra labels, value), cumulative as the format wants it."""
        so_far = 0
        for bound, count in zip((*BUCKETS_S, None), self.counts, strict=True):
            so_far += count
            yield "_bucket", (("le", "+Inf" if bound is None else f"{bound:g}"),), so_far
        yield "_sum", (), self.total_s
        yield "_count", (), so_far


class Metrics:
    """Counters and histograms; gauges are set before each rendering. Safe to render on another thread."""

    def __init__(self) -> None:
        self._values: dict[str, dict[Labels, float]] = {}
        self._histograms: dict[str, dict[Labels, _Histogram]] = {}
        self._lock = threading.Lock()

    def count(self, name: str, amount: float = 1, **labels: str) -> None:
        """Add to a counter."""
        with self._lock:
            values = self._values.setdefault(_known(name), {})
            key = tuple(labels.items())
            values[key] = values.get(key, 0) + amount

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge, or a counter that somebody else counts."""
        with self._lock:
            self._values.setdefault(_known(name), {})[tuple(labels.items())] = value

    def observe(self, name: str, seconds: float, **labels: str) -> None:
        with self._lock:
            family = self._histograms.setdefault(_known(name), {})
            family.setdefault(tuple(labels.items()), _Histogram()).observe(seconds)

    def forget(self, name: str) -> None:
        """Drop all values of a gauge, so that inboxes that are gone disappear."""
        with self._lock:
            self._values.pop(name, None)

    def ended(self, event: str, line: Mapping[str, Any]) -> None:
        """Take the terminal line of a file."""
        inbox = str(line["inbox"])
        self.count("procwatch_files_total", inbox=inbox, outcome=event.removeprefix("job."))
        self.count("procwatch_read_bytes_total", line["bytes_in"], inbox=inbox)
        self.count("procwatch_written_bytes_total", line["bytes_out"], inbox=inbox)
        if "error" in line:
            self.count("procwatch_errors_total", inbox=inbox, error=str(line["error"]))
        for key in ("wait_s", "run_s"):
            if line.get(key) is not None:
                self.observe(f"procwatch_{key.removesuffix('_s')}_seconds", line[key], inbox=inbox)

    def render(self) -> str:
        """Return everything in the text format."""
        with self._lock:
            return "\n".join(self._lines()) + "\n"

    def _lines(self) -> Iterator[str]:
        for name, (kind, text) in METRICS.items():
            samples = list(self._samples(name))
            if samples:
                yield f"# HELP {name} {text}"
                yield f"# TYPE {name} {kind}"
                yield from samples

    def _samples(self, name: str) -> Iterator[str]:
        for labels, value in self._values.get(name, {}).items():
            yield f"{name}{_braces(labels)} {_number(value)}"
        for labels, histogram in self._histograms.get(name, {}).items():
            for suffix, extra, value in histogram.samples():
                yield f"{name}{suffix}{_braces((*labels, *extra))} {_number(value)}"


def metrics_markdown() -> str:
    """Return the table for the documentation."""
    rows = (f"| `{name}` | {kind} | {text} |" for name, (kind, text) in METRICS.items())
    return "\n".join(("| metric | type | meaning |", "|---|---|---|", *rows, ""))


def _known(name: str) -> str:
    METRICS[name]  # a typo must not make a metric of its own
    return name


def _braces(labels: Iterable[tuple[str, str]]) -> str:
    inner = ",".join(f'{key}="{_escaped(value)}"' for key, value in labels)
    return f"{{{inner}}}" if inner else ""


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(round(value, 6))
