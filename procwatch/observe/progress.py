"""Progress of `once` for people: a bar on a terminal, a plain line now and then otherwise, and the summary."""

import contextlib
import io
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TextIO, cast

from procwatch.observe.console import safe_text
from procwatch.units import counted, format_duration

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

PLAIN_EVERY_S: Final = 1.0


class Progress:
    """Shows how far a drain is: `with Progress() as progress: progress.update(done=3, failed=0, waiting=9)`.

    It writes to `stream` (by default sys.stderr, so that JSON lines on stdout stay pure). While the bar is shown, hand
    `log_stream` to open_log(stdout=...), so that lines appear above the bar instead of in it.
    """

    def __init__(
        self, stream: TextIO | None = None, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._monotonic = monotonic
        self._display = _Bar(self._stream) if _is_terminal(self._stream) else None
        self._last_s = float("-inf")
        self._shown: str | None = None
        self._latest = ""
        self._why = ""

    @property
    def log_stream(self) -> TextIO | None:
        """Where readable log lines go while the bar is shown; None where there is no bar."""
        return self._display.above if self._display is not None else None

    def __enter__(self) -> Self:
        if self._display is not None:
            with contextlib.suppress(OSError, ValueError):
                self._display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._display is not None:
            with contextlib.suppress(OSError, ValueError):  # the terminal was closed
                self._display.stop()
        elif self._latest != self._shown:
            self._print(self._latest)

    def update(
        self,
        *,
        done: int,
        failed: int,
        waiting: int,
        running: int = 0,
        why: str = "",
        until_s: float | None = None,
    ) -> None:
        """Show new counts of files. Cheap enough to call at every tick of the loop.

        `why` nothing moves, and for how many seconds yet at the most.
        """
        most = "" if until_s is None else f": {format_duration(max(round(until_s), 0))} at most"
        if self._display is not None:
            shown = f"{why}{most}" if why else ""
            self._display.update(done=done, failed=failed, left=waiting + running, why=shown)
            return
        total = done + failed + waiting + running
        if not total and not why:
            return  # before the first look at the inbox
        self._latest = f"{done + failed} of {counted(total, 'file')}" + (
            f", {failed} failed" if failed else ""
        )
        if why:
            # The line is not said again as the time runs down.
            self._why = self._why if self._why.startswith(f"; {why}:") else f"; {why}{most}"
            self._latest += self._why
        now_s = self._monotonic()
        if self._latest != self._shown and now_s - self._last_s >= PLAIN_EVERY_S:
            self._last_s = now_s
            self._print(self._latest)

    def _print(self, text: str) -> None:
        if text:
            self._shown = text
            _say(self._stream, text)


class _Bar:
    """The bar; rich is imported here, when there is a terminal to show it on."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._console = Console(file=stream, highlight=False, soft_wrap=True)
        # The log and the summary are on their own streams; redirecting sys.stdout would reorder them.
        self._bar: Bar = Bar(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]}", style="red"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[why]}", markup=False),
            console=self._console,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._task: TaskID = self._bar.add_task("files", total=None, failed="", why="")
        self.above = cast("TextIO", _Above(self._console, stream))

    def start(self) -> None:
        self._bar.start()

    def update(self, *, done: int, failed: int, left: int, why: str) -> None:
        ended = done + failed
        self._bar.update(
            self._task,
            completed=ended,
            total=(ended + left) or None,
            failed=f"{failed} failed" if failed else "",
            why=why,
        )

    def stop(self) -> None:
        self._bar.stop()


class _Above(io.TextIOBase):
    """A text stream that prints above the bar. It has no descriptor, so that nothing can be written past rich."""

    def __init__(self, console: "Console", stream: TextIO) -> None:
        super().__init__()
        self._console = console
        self._encoding = stream.encoding or "utf-8"

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._encoding

    def isatty(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        from rich.text import Text

        # Text.from_ansi keeps the log's own colours; markup in file names stays text.
        encodable = text.rstrip("\n").encode(self._encoding, "backslashreplace").decode(self._encoding)
        self._console.print(Text.from_ansi(encodable))
        return len(text)


def print_summary(
    *,
    done: int,
    failed: int,
    seconds: float,
    by_pid: Mapping[int, int],
    failures: Sequence[Mapping[str, Any]] = (),
    rest: str = "",
    log_file: str | None = None,
    stream: TextIO | None = None,
) -> None:
    """Print what a drain did: files done and failed, seconds, images a second, files by worker process.

    `failures` are fields of job.failed, of all or of the last; `rest` says what is left; all failures are in `log_file`.
    """
    rate = f", {(done + failed) / seconds:.1f} images/s" if seconds > 0 and done + failed else ""
    lines = [f"{done} done, {failed} failed in {format_duration(seconds)}{rate}"]
    lines += [f"  worker {pid}: {counted(count, 'file')}" for pid, count in sorted(by_pid.items())]
    for line in failures:
        lines.append(safe_text(f"failed: {line['path']}: {line['error']}: {line['reason']}"))
    if failed > len(failures) > 0:
        where = f", or job.failed in {log_file}" if log_file else ""
        lines.append(f"and {failed - len(failures)} more before these: failed/NAME.error.json{where}")
    if rest:
        lines.append(rest)
    _say(stream if stream is not None else sys.stderr, "\n".join(lines))


def _say(stream: TextIO, text: str) -> None:
    try:
        stream.write(text + "\n")
        stream.flush()
    except (OSError, ValueError):
        return  # nobody looks any more; the work goes on


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty()
    except (OSError, ValueError, AttributeError):
        return False
