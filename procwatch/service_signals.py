"""Signals as messages to the loop; a second Ctrl-C ends at once.

SIGTERM, SIGINT: stop. SIGUSR1: open the log file anew. SIGHUP: the end of the terminal where there is one (not under
nohup), and a wish to reload for a service.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, Protocol

from procwatch.errors import EXIT_INTERRUPTED


class Target(Protocol):
    """Whom signals are for; called on the loop's thread."""

    @property
    def is_stopping(self) -> bool: ...
    def stop(self, reason: str) -> None: ...
    def reload(self) -> None: ...
    def reopen_log(self) -> None: ...


@contextlib.contextmanager
def signals_posted(target: Target, post: Callable[..., None]) -> Iterator[None]:
    """Post them in this block; those of before are back after it. Main thread only."""
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    hangup_stops = _has_terminal() and not ignored

    def handle(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGUSR1:
            post(target.reopen_log)
        elif number == signal.SIGHUP and not hangup_stops:
            post(target.reload)
        elif number == signal.SIGINT and target.is_stopping:
            # The kernel kills the workers with us; the ledger knows what was running.
            os._exit(EXIT_INTERRUPTED)
        else:
            post(target.stop, signal.Signals(number).name)

    before: dict[signal.Signals, Any] = {
        number: signal.signal(number, handle)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _has_terminal() -> bool:
    """Return whether this process has a controlling terminal, wherever its output goes."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
