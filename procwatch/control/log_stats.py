"""Figures from log lines: how many files, how fast, what failed, who did it."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from procwatch.observe.console import safe_text
from procwatch.units import format_duration, format_size


class LogStats:
    """Counts the terminal lines; a line that a crash wrote twice counts once."""

    def __init__(self) -> None:
        self._seen: set[tuple[object, object]] = set()
        self._run_s: list[float] = []
        self._wait_s: list[float] = []
        self.done = self.failed = self.bytes_in = self.bytes_out = self.retries = 0
        self.errors: Counter[str] = Counter()
        self.by_pid: Counter[int] = Counter()
        self.by_inbox: Counter[str] = Counter()
        self.first = self.last = ""

    def add_all(self, lines: Iterable[Mapping[str, Any]]) -> None:
        for line in lines:
            self.add(line)

    def add(self, line: Mapping[str, Any]) -> None:
        event = line.get("event")
        if event == "job.retrying" and line.get("level") != "debug":
            self.retries += 1
        if event not in ("job.done", "job.failed"):
            return
        key = (line.get("job"), line.get("attempt"))
        if key in self._seen:
            return
        self._seen.add(key)
        stamp = str(line.get("timestamp", ""))
        self.first, self.last = self.first or stamp, stamp
        self._count(line, failed=event == "job.failed")

    def _count(self, line: Mapping[str, Any], *, failed: bool) -> None:
        if failed:
            self.failed += 1
            self.errors[str(line.get("error"))] += 1
        else:
            self.done += 1
        self.by_inbox[str(line.get("inbox"))] += 1
        if isinstance(line.get("worker_pid"), int):
            self.by_pid[line["worker_pid"]] += 1
        self.bytes_in += line.get("bytes_in") or 0
        self.bytes_out += line.get("bytes_out") or 0
        for values, name in ((self._run_s, "run_s"), (self._wait_s, "wait_s")):
            if isinstance(line.get(name), int | float):
                values.append(float(line[name]))

    def to_json(self) -> dict[str, Any]:
        return {
            "first": self.first or None,
            "last": self.last or None,
            "done": self.done,
            "failed": self.failed,
            "retries": self.retries,
            "errors": dict(self.errors.most_common()),
            "inboxes": dict(self.by_inbox.most_common()),
            "workers": {str(pid): count for pid, count in self.by_pid.most_common()},
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "run_s": percentiles(self._run_s),
            "wait_s": percentiles(self._wait_s),
        }

    def text(self) -> str:
        if not self.done + self.failed:
            return "no file ended in these lines"
        lines = [
            f"{self.done} done, {self.failed} failed, {self.retries} retries; {self.first} to {self.last}",
            f"read {format_size(self.bytes_in)}, written {format_size(self.bytes_out)}",
            *(
                _times(name, percentiles(values))
                for name, values in (("ran", self._run_s), ("waited", self._wait_s))
            ),
        ]
        lines += [f"  {count:>8}  failed as {safe_text(error)}" for error, count in self.errors.most_common()]
        lines += [f"  {count:>8}  in inbox {safe_text(name)}" for name, count in self.by_inbox.most_common()]
        lines += [f"  {count:>8}  by worker {pid}" for pid, count in self.by_pid.most_common(20)]
        return "\n".join(lines)


def percentiles(values: list[float]) -> dict[str, float] | None:
    """Return median, 95th percentile and maximum in seconds (nearest rank); None without values."""
    if not values:
        return None
    ranked = sorted(values)
    last = len(ranked) - 1
    return {"p50": ranked[round(last * 0.5)], "p95": ranked[round(last * 0.95)], "max": ranked[-1]}


def _times(name: str, found: Mapping[str, float] | None) -> str:
    if found is None:
        return f"{name}: unknown"
    shown = (
        format_duration(found[key]) if found[key] >= 1 else f"{found[key] * 1000:.0f} ms" for key in found
    )
    median, p95, maximum = shown
    return f"{name}: half within {median}, 95 % within {p95}, at most {maximum}"
