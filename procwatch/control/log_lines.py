"""Lines of the JSON log for people: from the file, followed over rotations, or from the journal, and filtered."""

import json
import os
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO, Final

from procwatch.errors import ProcwatchError

#: How often a followed file is asked for more.
_POLL_S: Final = 0.2
_BLOCK_BYTES: Final = 256 * 1024
_JOURNAL_PREFIX: Final = (
    b"<"  # sd-daemon(3) levels that reach us only where the journal did not take them off
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """Which lines are wanted; None or False: no matter."""

    failed: bool = False
    inbox: str | None = None
    slow_s: float | None = None
    since: str | None = None  # UTC, ISO 8601 with milliseconds and Z, as the log writes it

    def takes(self, line: Mapping[str, Any]) -> bool:
        if self.since is not None and str(line.get("timestamp", "")) < self.since:
            return False
        if self.failed and line.get("event") != "job.failed":
            return False
        if self.inbox is not None and line.get("inbox") != self.inbox:
            return False
        return self.slow_s is None or _seconds(line) >= self.slow_s


def _seconds(line: Mapping[str, Any]) -> float:
    """Return how long a job ran, less than nothing for lines that are not about that."""
    run_s = line.get("run_s")
    ended = line.get("event") in ("job.done", "job.failed", "job.retrying")
    return float(run_s) if ended and isinstance(run_s, int | float) else -1.0


def since(seconds: float, wall_s: float) -> str:
    """Return the timestamp of that long ago, in the form that sorts as the log's own."""
    moment = datetime.fromtimestamp(max(wall_s - seconds, 0.0), UTC)
    return moment.isoformat(timespec="milliseconds")[:-6] + "Z"


def parsed(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the events; what is no JSON object (a message of the service manager) is left out."""
    for raw in lines:
        text = raw[3:] if raw.startswith(_JOURNAL_PREFIX) else raw
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, dict) and "event" in line:
            yield line


def read_file(
    path: str,
    *,
    start: str | None = None,
    follow: bool = False,
    last: int | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[bytes]:
    """Yield the lines of a log file, from the timestamp `start` on, or the `last` ones, then what is added.

    Follows by name: after a rotation the rest of the old file is read, then the new one from its beginning. A follower
    waits for a file that is not there yet, as between a rotation and the next line. Raises ProcwatchError otherwise.
    Not seen: a file that is renamed within the 0.2 s after its first line.
    """
    file = _opened(path, sleep if follow else None)
    try:
        if start is not None:
            file.seek(_offset_of(file, start))
        yield from deque(_complete_lines(file), maxlen=last) if last is not None else _complete_lines(file)
        while follow:
            sleep(_POLL_S)
            yield from _complete_lines(file)
            fresh = _rotated(path, file)
            if fresh is not None:
                yield from _complete_lines(file)  # what was written between the last look and the rotation
                file.close()
                file = fresh
                yield from _complete_lines(file)
    finally:
        file.close()


def _opened(path: str, sleep: Callable[[float], None] | None) -> BinaryIO:
    while True:
        try:
            return open(path, "rb")
        except OSError as error:
            waits = isinstance(error, FileNotFoundError) and os.path.isdir(os.path.dirname(path) or ".")
            if sleep is None or not waits:
                raise ProcwatchError(f"cannot read the log {path!a}: {error.strerror}") from error
        sleep(_POLL_S)


def _complete_lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield the lines that are whole; the rest of a line that is being written stays for the next time."""
    while True:
        at = file.tell()
        line = file.readline()
        if not line.endswith(b"\n"):
            file.seek(at)
            return
        yield line


def _rotated(path: str, file: BinaryIO) -> BinaryIO | None:
    """Return the file that has the name now, None when it is still the same; a cut file is read from its start."""
    try:
        named, opened = os.stat(path), os.fstat(file.fileno())
        if (named.st_dev, named.st_ino) != (opened.st_dev, opened.st_ino):
            return open(path, "rb")
    except OSError:
        return None  # between the renaming and the new file
    if opened.st_size < file.tell():
        file.seek(0)
    return None


def _offset_of(file: BinaryIO, start: str) -> int:
    """Return where lines from `start` on begin, by bisection: a log of gigabytes is not read for its last hour."""
    low, high = 0, file.seek(0, os.SEEK_END)
    while high - low > _BLOCK_BYTES:
        middle = (low + high) // 2
        stamp = _stamp_after(file, middle)
        if stamp is None or stamp >= start:
            high = middle
        else:
            low = middle
    file.seek(low)
    if low:
        file.readline()
    return file.tell()


def _stamp_after(file: BinaryIO, offset: int) -> str | None:
    """Return the timestamp of the first whole line after the offset that has one."""
    file.seek(offset)
    file.readline()
    for _ in range(100):
        line = file.readline()
        if not line:
            return None
        for event in parsed([line]):
            return str(event.get("timestamp", ""))
    return None


def read_journal(
    unit: str, *, start: str | None = None, follow: bool = False, last: int | None = None
) -> Iterator[bytes]:
    """Yield the messages of a unit by journalctl. Raises ProcwatchError where that does not work.

    With `last`, `start` is left to the caller: journalctl shows the *first* lines after --since (systemd 252).
    """
    # Not --quiet: it would not say that a user sees only messages of his own. What systemd says of the unit is no event.
    command = ["journalctl", "--output=cat", f"--unit={unit}", "_TRANSPORT=stdout", "--no-pager"]
    if last is not None:
        command.append(f"--lines={last}")
    else:
        command.append("--lines=all")
        command += [f"--since={start.replace('T', ' ').replace('Z', ' UTC')}"] if start is not None else []
    command += ["--follow"] if follow else []
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    except OSError as error:
        raise ProcwatchError(
            f"cannot run journalctl: {error.strerror}", hint="--file reads a log file instead"
        ) from error
    assert process.stdout is not None
    try:
        with process.stdout:
            yield from process.stdout
    finally:
        process.terminate()
        process.wait()
    if process.returncode > 0:
        raise ProcwatchError(
            f"journalctl ended with {process.returncode}",
            hint="root and the group systemd-journal may read it: sudo usermod -aG systemd-journal NAME",
        )
