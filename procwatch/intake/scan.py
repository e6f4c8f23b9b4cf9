"""Run scans on request in one thread, at the pace of whoever takes the chunks."""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from procwatch.intake.filters import NameFilter
from procwatch.intake.walk import Found, leads_elsewhere, scan

__all__ = ["CHUNK_ENTRIES", "Found", "ScanReport", "Scanner", "scan"]

#: Entries a chunk: large enough that handing over costs nothing, small enough that a pause takes effect soon.
CHUNK_ENTRIES: Final = 500
#: On a slow file system a part of a chunk is handed over after this many seconds rather than held back.
_CHUNK_AGE_S: Final = 0.2
#: Above this many separate folders one whole pass is cheaper than remembering them.
_MAX_SUBDIRS: Final = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class ScanReport:
    """What one finished pass was like. `seconds` leaves out the time in which it was paused."""

    found: int
    seconds: float
    errors: int
    first_error: str = ""
    subdir: str = ""


class _Stopped(Exception):  # noqa: N818 (not an error: the way out of a pass)
    pass


class Scanner:
    """One daemon thread that runs a pass for each request; requests made meanwhile are merged into the next.

    The thread starts with the first request. `on_chunk` and `on_finished` are called on it, must be quick and must not
    raise. Pausing keeps the place; what was read before it (less than a chunk) is still handed over.
    """

    def __init__(
        self,
        root: str,
        recursive: bool,
        filter: NameFilter,  # noqa: A002 (the room's word for it)
        on_chunk: Callable[[list[Found]], None],
        on_finished: Callable[[ScanReport], None],
    ) -> None:
        """Take the inbox and who gets what is found."""
        self._root, self._recursive, self._filter = root, recursive, filter
        self._real_root = ""  # found out by the first pass: here, a dead mount would stop the caller
        self._on_chunk, self._on_finished = on_chunk, on_finished
        self._changed = threading.Condition()
        self._paused = self._stopping = self._working = False
        self._wanted: dict[str, None] = {}  # an ordered set; "" is the whole inbox
        self._thread: threading.Thread | None = None
        self._waited_s = 0.0
        self._progress_s = time.monotonic()

    def request(self, subdir: str = "") -> None:
        """Ask for a pass over the inbox, or over one folder of it, after the one that may be under way."""
        with self._changed:
            if not subdir or len(self._wanted) >= _MAX_SUBDIRS:
                self._wanted = {"": None}
            elif "" not in self._wanted:
                self._wanted[subdir] = None
            if self._thread is None and not self._stopping:
                self._thread = threading.Thread(target=self._run, name="scanner", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def pause(self) -> None:
        """Stop at the next entry."""
        with self._changed:
            self._paused = True

    def resume(self) -> None:
        """Go on where it was."""
        with self._changed:
            self._paused = False
            self._changed.notify_all()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Leave the pass and end the thread; one that hangs in a file system is left behind."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    @property
    def busy(self) -> bool:
        """Whether a pass is wanted or under way, also a paused one."""
        with self._changed:
            return self._working or bool(self._wanted)

    def stalled_s(self, now_s: float) -> float:
        """Return for how long a pass has been waiting for the file system; 0.0 when idle or held by us."""
        with self._changed:
            return max(0.0, now_s - self._progress_s) if self._working and not self._paused else 0.0

    def _run(self) -> None:
        while True:
            with self._changed:
                self._working = False
                self._changed.wait_for(lambda: self._stopping or self._wanted)
                if self._stopping:
                    return
                subdir = next(iter(self._wanted))
                del self._wanted[subdir]
                self._working, self._progress_s = True, time.monotonic()
            try:
                report = self._pass(subdir)
            except _Stopped:
                return
            except Exception as error:  # noqa: BLE001 (a scanner that died silently would lose files for ever)
                report = ScanReport(found=0, seconds=0.0, errors=1, first_error=repr(error), subdir=subdir)
            with self._changed:
                self._working = False
            self._on_finished(report)

    def _pass(self, subdir: str) -> ScanReport:
        begun_s, self._waited_s = time.monotonic(), 0.0
        found, errors = 0, _Errors()
        chunk: list[Found] = []
        chunk_begun_s = begun_s
        self._real_root = self._real_root or os.path.realpath(self._root)
        trouble = leads_elsewhere(self._root, self._real_root)
        if trouble:
            return ScanReport(found=0, seconds=0.0, errors=1, first_error=trouble, subdir=subdir)
        entries = scan(
            self._root,
            recursive=self._recursive,
            filter=self._filter,
            subdir=subdir,
            real_root=self._real_root,
            on_error=errors.add,
        )
        for entry in entries:
            self._progress_s = now_s = time.monotonic()
            full = len(chunk) >= CHUNK_ENTRIES or now_s - chunk_begun_s > _CHUNK_AGE_S
            # Before waiting, too: whoever holds us may be waiting for what we hold.
            if chunk and (full or self._paused):
                self._on_chunk(chunk)
                chunk = []
            self._wait_while_paused()
            if not chunk:
                chunk_begun_s = self._progress_s
            chunk.append(entry)
            found += 1
        if chunk:
            self._on_chunk(chunk)
        seconds = time.monotonic() - begun_s - self._waited_s
        return ScanReport(
            found=found, seconds=seconds, errors=errors.count, first_error=errors.first, subdir=subdir
        )

    def _wait_while_paused(self) -> None:
        """Wait until one more entry may be handed over. Raises _Stopped."""
        with self._changed:
            if self._paused and not self._stopping:
                self._changed.wait_for(lambda: self._stopping or not self._paused)
                now_s = time.monotonic()
                self._waited_s += now_s - self._progress_s
                self._progress_s = now_s
            if self._stopping:
                raise _Stopped


class _Errors:
    """Counts what refused, and keeps the first as a sentence."""

    def __init__(self) -> None:
        self.count = 0
        self.first = ""

    def add(self, folder: str, error: OSError) -> None:
        self.count += 1
        self.first = self.first or f"{folder or 'the inbox'}: {error.strerror or error}"
