"""Turn what other libraries say (logging, warnings, uncaught exceptions) into `log.foreign` events of our log."""

import logging
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, TextIO, cast

from structlog.typing import FilteringBoundLogger

#: watchdog warns with the text of its whole watch table, megabytes of it; the beginning says everything.
_MESSAGE_MAX: Final = 2000
_TRACEBACK_MAX: Final = 8000
_LEVELS: Final = ((logging.CRITICAL, "critical"), (logging.ERROR, "error"), (logging.WARNING, "warning"))


class ForeignRecords:
    """Stands in for the hooks of the process while it is installed. Its own failures are silent: there is no one to tell."""

    def __init__(self, logger: FilteringBoundLogger) -> None:
        self._logger = logger
        self._handler = _Handler(self.say)
        self._before: tuple[Any, ...] | None = None

    def install(self) -> None:
        root = logging.getLogger()
        self._before = (
            root.level,
            warnings.showwarning,
            sys.excepthook,
            threading.excepthook,
            sys.unraisablehook,
        )
        root.addHandler(self._handler)
        # Libraries' debug records stay out even at our debug level: watchdog writes one for every event it reads.
        root.setLevel(logging.INFO)
        warnings.showwarning = self._on_warning
        sys.excepthook = self._on_uncaught
        threading.excepthook = self._on_thread_death
        sys.unraisablehook = self._on_unraisable

    def remove(self) -> None:
        if self._before is None:
            return
        root = logging.getLogger()
        root.removeHandler(self._handler)
        level, warnings.showwarning, sys.excepthook, threading.excepthook, sys.unraisablehook = self._before
        root.setLevel(level)
        self._before = None

    def say(self, level: str, logger: str, message: str, error: BaseException | None = None) -> None:
        """Log one foreign record, cut to a length that people read."""
        fields: dict[str, Any] = {"logger": logger, "message": _cut(message, _MESSAGE_MAX)}
        if error is not None:
            fields["traceback"] = _cut("".join(traceback.format_exception(error)), _TRACEBACK_MAX)
        method: Callable[..., Any] = getattr(self._logger, level)
        method("log.foreign", **fields)

    def _on_warning(  # noqa: PLR0917 (the signature of warnings.showwarning)
        self,
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        text = _cut(str(message), _MESSAGE_MAX // 2)  # leaves room for the place, which comes last
        self.say("warning", "py.warnings", f"{category.__name__}: {text} ({filename}:{lineno})")

    def _on_uncaught(
        self, kind: type[BaseException], error: BaseException, where: TracebackType | None
    ) -> None:
        before = self._before
        if not issubclass(kind, KeyboardInterrupt):
            self.say("critical", "uncaught", _describe(error), error)
        # The program ends now: the traceback on stderr is what everyone who started it expects to see.
        (before[2] if before is not None else sys.__excepthook__)(kind, error, where)

    def _on_thread_death(self, args: threading.ExceptHookArgs) -> None:
        if args.exc_type is SystemExit:
            return
        name = args.thread.name if args.thread is not None else "unknown"
        error = args.exc_value
        described = args.exc_type.__name__ if error is None else _describe(error)
        self.say("error", "uncaught", f"thread {name} died: {described}", error)

    def _on_unraisable(self, args: "sys.UnraisableHookArgs") -> None:
        error = args.exc_value
        described = args.exc_type.__name__ if error is None else _describe(error)
        self.say("error", "uncaught", f"{args.err_msg or 'exception ignored'}: {described}", error)


class _NoLock:
    """What logging does with a handler's lock, without one."""

    def acquire(self) -> None: ...
    def release(self) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *error: object) -> None: ...


class _Handler(logging.Handler):
    """The root handler. A record whose own arguments do not fit its message is logged unformatted, not lost."""

    def __init__(self, say: Callable[[str, str, str, BaseException | None], None]) -> None:
        super().__init__()
        self._say = say

    def createLock(self) -> None:  # noqa: N802 (the name is logging's)
        # The log has its own reentrant lock; a second one could only be taken in the wrong order. Not None, which is
        # allowed: from CPython 3.13 on, Handler.handle enters it without looking.
        self.lock = cast("Any", _NoLock())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001 (a foreign mistake)
            message = str(record.msg)
        error = record.exc_info[1] if record.exc_info else None
        self._say(_level(record.levelno), record.name, message, error)


def _level(number: int) -> str:
    return next((name for least, name in _LEVELS if number >= least), "info")


def _describe(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 (an exception that cannot be printed is still worth its name)
        return type(error).__name__


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[:most]}… ({len(text)} characters)"
