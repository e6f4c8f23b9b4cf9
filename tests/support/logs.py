"""Read the program's JSON log lines and judge them as a whole."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from procwatch.observe import events

Line = dict[str, Any]

TERMINAL = frozenset({"job.done", "job.failed"})
#: What is promised about log lines, written out again here, so that a change of the catalogue cannot change the promise.
TERMINAL_FIELDS: Mapping[str, tuple[type, ...]] = {
    "job": (str,),
    "inbox": (str,),
    "path": (str,),
    "worker_pid": (int, type(None)),
    "slot": (int, type(None)),
    "attempt": (int,),
    "recipe": (str,),
    "outputs": (list,),
    "bytes_in": (int,),
    "bytes_out": (int,),
    "wait_s": (int, float, type(None)),
    "run_s": (int, float, type(None)),
}
ERROR_CODES = frozenset(
    {
        "truncated",
        "not-an-image",
        "unsupported-format",
        "format-not-enabled",
        "too-many-pixels",
        "too-many-frames",
        "too-large",
        "timeout",
        "worker-crashed",
        "out-of-memory",
        "over-memory-budget",
        "not-readable",
        "name-conflict",
        "internal-error",
    }
)


def parse(text: str) -> list[Line]:
    """Return the complete lines of `text` as objects; an AssertionError shows the first that is not one."""
    return [_parse_line(line) for line in text.split("\n")[:-1]]


def _parse_line(line: str) -> Line:
    try:
        value = json.loads(line)
    except ValueError as error:
        raise AssertionError(f"not a JSON line: {line!r}") from error
    assert isinstance(value, dict), line
    assert line.isascii(), f"log lines are ASCII: {line!r}"
    return value


def read(path: Path) -> list[Line]:
    """Return every complete line of a log file."""
    return parse(path.read_text(encoding="ascii"))


def select(lines: Iterable[Line], event: str, **fields: object) -> list[Line]:
    """Return the lines of one event whose fields have these values."""
    return [
        line
        for line in lines
        if line.get("event") == event and all(line.get(name) == value for name, value in fields.items())
    ]


def terminal(lines: Iterable[Line], path: str | None = None) -> list[Line]:
    """Return the `job.done` and `job.failed` lines, of all files or of one."""
    return [line for line in lines if line["event"] in TERMINAL and path in (None, line["path"])]


def done_pids(lines: Iterable[Line]) -> Counter[int]:
    """Return how many files each worker process finished."""
    return Counter(line["worker_pid"] for line in select(lines, "job.done"))


def judge(lines: Sequence[Line], *, orderly: bool) -> None:
    """Fail unless the log of one run keeps every promise about logs. `orderly`: the run was not killed."""
    found = [f"{problem} in {line}" for line in lines for problem in problems(line)]
    assert not found, "\n".join(found)
    twice = {job: n for job, n in Counter(line["job"] for line in terminal(lines)).items() if n > 1}
    assert not twice, f"more than one terminal line for {twice}"
    if orderly:
        started = {line["job"] for line in lines if line["event"] == "job.started"}
        ended = {
            line["job"]
            for line in lines
            if line["event"] in TERMINAL or line["event"] in {"job.retrying", "job.vanished"}
        }
        assert started <= ended, f"jobs that started and never ended: {started - ended}"


def problems(line: Line) -> list[str]:
    """Return what is wrong with one line by the catalogue and by what is promised."""
    found = list(events.problems(line))
    stamp = line.get("timestamp")
    try:
        if datetime.fromisoformat(str(stamp)).utcoffset() != timedelta(0):
            found.append(f"the timestamp {stamp} is not UTC")
    except ValueError:
        found.append(f"the timestamp {stamp!r} is not ISO 8601")
    if line.get("event") in TERMINAL:
        found += _terminal_problems(line)
    return found


def _terminal_problems(line: Line) -> list[str]:
    found = [
        f"{name} is {line.get(name, 'missing')!r}"
        for name, types in TERMINAL_FIELDS.items()
        if name not in line or not isinstance(line[name], types) or isinstance(line[name], bool)
    ]
    if line.get("worker_pid") and line.get("run_s") is None and not line.get("recovered"):
        found.append("a worker ran, but run_s is null")
    if line["event"] == "job.failed":
        if line.get("error") not in ERROR_CODES:
            found.append(f"error {line.get('error')!r} is not a documented code")
        if not line.get("reason"):
            found.append("a failure without a reason")
    return found
