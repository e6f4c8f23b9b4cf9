"""Keeps one inbox watched: opens its door, installs the observer, checks that it still sees, heals it.

Runs on the inbox's looking lane, because any of it can block with the file system.
"""

import os
import time
from collections.abc import Callable
from typing import Final, Protocol

from procwatch.intake.door import Door
from procwatch.intake.filesystems import watch_mode
from procwatch.intake.filters import NameFilter
from procwatch.intake.observer import InboxObserver
from procwatch.intake.settle import Cause
from procwatch.intake.walk import leads_elsewhere
from procwatch.model import InboxSpec

#: How often an observer is asked whether it still sees; bounds how long a silent death goes unnoticed.
CHECK_EVERY_S: Final = 5.0
#: Bounds how long a folder that is back waits to be served again; one look at it costs microseconds.
_RETRY_FIRST_S: Final = 1.0
_RETRY_MAX_S: Final = 10.0


class WatchEvents(Protocol):
    """What becomes of the watch; called on the lane, so implementations post."""

    def watch_started(self, spec: InboxSpec, mode: str, reason: str) -> None: ...
    def watch_lost(self, spec: InboxSpec, reason: str) -> None: ...
    def watch_restored(self, spec: InboxSpec, mode: str, lost_s: float) -> None: ...
    def watch_reduced(self, spec: InboxSpec, reason: str) -> None: ...


class InboxWatch:
    """One inbox's observer through its lives. `keep` is called again and again and returns when to be called next."""

    def __init__(
        self,
        spec: InboxSpec,
        *,
        names: NameFilter,
        door: Door,
        on_arrival: Callable[[str, Cause], None],
        on_directory: Callable[[str], None],
        on_overflow: Callable[[], None],
        events: WatchEvents,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spec = spec
        self._names = names
        self._door = door
        self._on_arrival = on_arrival
        self._on_directory = on_directory
        self._on_overflow = on_overflow
        self._events = events
        self._clock = clock
        self._observer: InboxObserver | None = None
        self._is_open = False
        self._lost_s: float | None = None
        self.lost_because = ""  # what was told when it was lost; "" while it is not
        self._failures = 0
        self.installs = 0
        self._reduced = ""
        self._real_path = ""  # found out on the lane: here, a dead mount would stop the loop
        self.mode = "none"

    @property
    def is_watched(self) -> bool:
        return self._observer is not None

    @property
    def is_lost(self) -> bool:
        """Whether the inbox was found unusable and has not come back since."""
        return self._lost_s is not None

    def admit(self) -> float | None:
        """Open the door; return None when the inbox may be served, else the seconds until the next try."""
        if not self._is_open:
            self._real_path = self._real_path or os.path.realpath(self._spec.path)
            reason = leads_elsewhere(self._spec.path, self._real_path) or self._door.open()
            if reason is not None:
                return self.lose(reason)
            self._is_open = True
        return None

    def keep(self) -> float:
        """Install, check or heal; return the seconds until the next call."""
        if self._observer is not None:
            problem = self._observer.problem()
            if problem is None:
                self._tell_reduced()
                return CHECK_EVERY_S
            self.lose(problem)
        retry_s = self.admit()
        return self._install() if retry_s is None else retry_s

    def close(self) -> None:
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.stop()

    def shut(self) -> None:
        """Have the door opened anew before the next watch."""
        self._door.shut()
        self._is_open = False

    def lose(self, reason: str) -> float:
        """Let go of a folder that cannot be served; return the seconds until the next try, longer each time."""
        self.close()
        self.shut()
        if self._lost_s is None:
            self._lost_s = self._clock()
            self.lost_because = reason
            self._events.watch_lost(self._spec, reason)
        self._failures += 1
        return min(_RETRY_FIRST_S * 2.0 ** min(self._failures - 1, 8), _RETRY_MAX_S)

    def _install(self) -> float:
        reason = ""
        for polling in self._modes():
            observer = self._make(polling=polling)
            try:
                observer.start()
            except OSError as error:
                reason = f"{error.strerror or error}"
                continue
            self._observer = observer
            self.mode = "polling" if polling else "native"
            self._tell_installed(reason)
            return CHECK_EVERY_S
        return self.lose(f"the folder cannot be watched: {reason}")

    def _modes(self) -> tuple[bool, ...]:
        """Which kinds of observer to try, as "polling?"; native falls back to polling at inotify's limits."""
        wanted = self._spec.observer
        if wanted == "auto":
            wanted = watch_mode(self._spec.path)
        return (True,) if wanted == "polling" else (False, True)

    def _make(self, *, polling: bool) -> InboxObserver:
        return InboxObserver(
            self._spec.path,
            recursive=self._spec.recursive,
            polling=polling,
            on_arrival=self._on_arrival,
            on_directory=self._on_directory,
            on_overflow=self._on_overflow,
            names=self._names,
        )

    def _tell_installed(self, reason: str) -> None:
        self._failures = 0
        self.installs += 1
        if self._lost_s is None:
            self._events.watch_started(self._spec, self.mode, reason)
        else:
            self._events.watch_restored(self._spec, self.mode, self._clock() - self._lost_s)
        self._lost_s = None
        self.lost_because = ""
        self._tell_reduced()

    def _tell_reduced(self) -> None:
        reduced = (self._observer.reduced() if self._observer else None) or ""
        if reduced and reduced != self._reduced:
            self._events.watch_reduced(self._spec, reduced)
        self._reduced = reduced
