"""The log: one structlog logger whose events become JSON lines, readable lines on a terminal, or both.

Rendering and writing happen under one lock, so lines of several threads never mix. Logging never raises into the
caller. Not defended: a reader of a *blocking* stdout pipe that stops reading stops the writer too, as with any program.
"""

import contextlib
import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, Literal, TextIO

import structlog
from structlog.typing import EventDict, FilteringBoundLogger

from procwatch.errors import ConfigError
from procwatch.observe.console import ConsoleRenderer
from procwatch.observe.foreign import ForeignRecords
from procwatch.observe.jsonline import render_json
from procwatch.observe.sinks import DescriptorSink, FileSink, Sink, StreamSink

Format = Literal["auto", "json", "console"]
Renderer = Callable[[float, str, str, Mapping[str, Any]], str]

#: sd-daemon(3): the prefix by which journald knows a line's priority.
_SYSLOG: Final = {"debug": "<7>", "info": "<6>", "warning": "<4>", "error": "<3>", "critical": "<2>"}
#: Events that writing an event caused (a warning from the garbage collector inside it) and that are written after
#: it; a fault that logs on every write must not keep a thread here for ever.
_NESTED_MAX: Final = 20


class Log:
    """Owns the sinks; `logger` is what everyone else gets."""

    def __init__(
        self,
        targets: list[tuple[Sink, Renderer]],
        *,
        level: str = "info",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._targets = targets
        self._clock = clock
        self._lock = threading.RLock()
        self._waiting: deque[tuple[str, EventDict]] = deque()
        self._busy = False
        self._lost = 0
        self._foreign: ForeignRecords | None = None
        self.logger: FilteringBoundLogger = structlog.wrap_logger(
            _Door(self),
            processors=[_hand_over],
            wrapper_class=structlog.make_filtering_bound_logger(level),
        ).bind()

    @property
    def dropped(self) -> int:
        """Lines that are lost for ever, in all sinks together."""
        return self._lost + sum(sink.dropped for sink, _ in self._targets)

    def emit(self, level: str, fields: EventDict) -> None:
        """Write one event. Reentrant: what the writing itself causes to be logged is written after it."""
        with self._lock:
            if self._busy:
                self._keep_for_later(level, fields)
                return
            self._busy = True
            try:
                self._write(level, fields)
                for _ in range(_NESTED_MAX):
                    if not self._waiting:
                        break
                    self._write(*self._waiting.popleft())
            finally:
                self._busy = False

    @contextlib.contextmanager
    def gathered(self) -> Iterator[None]:
        """Write what is logged in the block at its end: one call of the kernel for many lines, not one for each."""
        self._gather(True)
        try:
            yield
        finally:
            self._gather(False)
            self.flush()

    def _gather(self, gathers: bool) -> None:
        with self._lock:
            for sink, _ in self._targets:
                sink.gathers = gathers

    def flush(self) -> None:
        """Try again to write what a full disk or a slow reader held up; cheap when there is nothing."""
        with self._lock:
            for sink, _ in self._targets:
                sink.flush()

    def reopen(self) -> None:
        """Open the log file by its name again, after a rotation. Do not call it in a signal handler."""
        with self._lock:
            for sink, _ in self._targets:
                sink.reopen()

    def capture_foreign(self) -> None:
        """Make records of other libraries, warnings and uncaught exceptions events of this log."""
        if self._foreign is None:
            self._foreign = ForeignRecords(self.logger)
            self._foreign.install()

    def close(self) -> None:
        """Give foreign records back to their own ways, write what waits, close the files. Later events are lost."""
        if self._foreign is not None:
            self._foreign.remove()
            self._foreign = None
        with self._lock:
            for sink, _ in self._targets:
                self._lost += sink.dropped
                sink.close()
            self._targets = []

    def _keep_for_later(self, level: str, fields: EventDict) -> None:
        if len(self._waiting) < _NESTED_MAX:
            self._waiting.append((level, fields))
        else:
            self._lost += 1

    def _write(self, level: str, fields: EventDict) -> None:
        now_s = self._clock()
        event = fields.pop("event", "")
        for sink, render in self._targets:
            try:
                _explain_exception(fields)
                sink.write(render(now_s, level, str(event), fields))
            except Exception:  # noqa: BLE001 (logging must never be the reason why a file is not processed)
                self._lost += 1


class _Door:
    """What structlog calls with a finished event; its methods are the levels."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def __getattr__(self, name: str) -> Any:
        return self._log.emit

    def __repr__(self) -> str:
        return "<procwatch log>"


def _hand_over(_: object, level: str, fields: EventDict) -> tuple[tuple[str, EventDict], dict[str, Any]]:
    return (level, fields), {}


def open_log(
    *,
    format: Format = "auto",  # noqa: A002 (the word of the configuration)
    file: str | None = None,
    level: str = "info",
    stdout: TextIO | None = None,
    quiet: bool = False,
    foreign: bool = True,
    environ: Mapping[str, str] = os.environ,
) -> Log:
    """Open the log: readable lines or JSON on `stdout` (by default sys.stdout), and JSON in `file` when given.

    `format` decides what stdout gets: auto is readable on a terminal and JSON otherwise. `quiet` leaves stdout alone.
    `level` is debug, info, warning, error or critical. Raises ConfigError where `file` cannot be opened.
    """
    targets: list[tuple[Sink, Renderer]] = []
    if file is not None:
        targets.append((_open_file(file), render_json))
    stream: TextIO | None = (
        stdout if stdout is not None else sys.stdout
    )  # None where it was closed at the start
    if not quiet and stream is not None:
        targets.append(_stdout_target(stream, format, environ))
    log = Log(targets, level=level)
    if foreign:
        log.capture_foreign()
    return log


def _explain_exception(fields: EventDict) -> None:
    given = fields.pop("exc_info", None)
    if not given:
        return
    error = given if isinstance(given, BaseException) else sys.exc_info()[1]
    if error is not None:
        fields["traceback"] = "".join(traceback.format_exception(error))


def _open_file(path: str) -> FileSink:
    try:
        return FileSink(path)
    except OSError as error:
        raise ConfigError(
            f"the log file {path} cannot be opened: {error.strerror}",
            hint="set [log] file to a writable place",
        ) from error


def _stdout_target(stream: TextIO, wanted: Format, environ: Mapping[str, str]) -> tuple[Sink, Renderer]:
    terminal = _is_terminal(stream)
    fd = _descriptor(stream)
    readable = wanted == "console" or (wanted == "auto" and terminal)
    if not readable:
        sink: Sink = StreamSink(stream) if fd is None else DescriptorSink(fd)
        return sink, _render_for_journal if is_journal(fd, environ) else render_json
    encoding = getattr(stream, "encoding", None) or "utf-8"
    colour = terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
    renderer = ConsoleRenderer(colour=colour, arrow=_arrow(encoding))
    return (StreamSink(stream) if fd is None else DescriptorSink(fd, encoding=encoding)), renderer


def _render_for_journal(now_s: float, level: str, event: str, fields: Mapping[str, Any]) -> str:
    return _SYSLOG.get(level, "<6>") + render_json(now_s, level, event, fields)


def is_journal(fd: int | None, environ: Mapping[str, str]) -> bool:
    """Say whether `fd` is the stream to journald that $JOURNAL_STREAM names (systemd.exec(5))."""
    wanted = environ.get("JOURNAL_STREAM")
    if not wanted or fd is None:
        return False
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return wanted == f"{status.st_dev}:{status.st_ino}"


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (OSError, ValueError, AttributeError):
        return False


def _descriptor(stream: TextIO) -> int | None:
    try:
        stream.flush()  # what was printed before comes before
        fd = stream.fileno()
        os.fstat(fd)
    except (OSError, ValueError, AttributeError):
        return None
    return fd


def _arrow(encoding: str) -> str:
    try:
        "→".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return "->"
    return "→"
