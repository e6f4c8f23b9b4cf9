"""A watchdog emitter that finds new and changed files by scanning, for file systems that do not tell."""

import time
from collections.abc import Callable, Iterator
from typing import Final

from watchdog.events import FileSystemEvent
from watchdog.observers.api import EventEmitter, EventQueue, ObservedWatch

from procwatch.intake.walk import Found

#: Of all time, at most a tenth goes into passes over a large folder.
_REST_FACTOR: Final = 10.0


class FileSeenEvent(FileSystemEvent):
    """A pass saw a file for the first time, or changed. `src_path` is relative to the inbox."""

    event_type = "seen"


class ScanEmitter(EventEmitter):
    """Runs `make_pass` every `interval_s` and reports what is new or changed since the pass before.

    The first pass reports everything. What was seen is kept as one 64-bit hash a file: a collision (about one in
    10^13 for a pass over a thousand new files among a million) would only delay a file until the next rescan.
    """

    def __init__(
        self,
        event_queue: EventQueue,
        watch: ObservedWatch,
        *,
        make_pass: Callable[[], Iterator[Found]],
        interval_s: float,
        timeout: float = 1.0,
        event_filter: list[type[FileSystemEvent]] | None = None,
    ) -> None:
        """Take what watchdog hands to emitters, the scan and how often to run it."""
        super().__init__(event_queue, watch, timeout=timeout, event_filter=event_filter)
        self._make_pass, self._interval_s = make_pass, interval_s
        self._seen: set[int] = set()
        self._pause_s = 0.0
        self._progress_s: float | None = None

    def queue_events(self, timeout: float) -> None:
        """Wait for the next pass and run it; called in a loop by watchdog."""
        if self.stopped_event.wait(self._pause_s):
            return
        begun_s = self._progress_s = time.monotonic()
        now_seen: set[int] = set()
        for found in self._make_pass():
            if not self.should_keep_running():
                return
            self._progress_s = time.monotonic()
            state = hash((found.path, found.fingerprint, found.ctime_ns))
            now_seen.add(state)
            if state not in self._seen:
                self.queue_event(FileSeenEvent(found.path))
        self._seen = now_seen
        self._progress_s = None
        self._pause_s = max(self._interval_s, _REST_FACTOR * (time.monotonic() - begun_s))

    def stalled_s(self, now_s: float) -> float:
        """Return for how long the present pass has been waiting for the file system; 0.0 between passes."""
        progress_s = self._progress_s
        return 0.0 if progress_s is None else max(0.0, now_s - progress_s)
