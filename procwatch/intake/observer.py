"""Notice arrivals in one inbox: watchdog, made to tell when it has gone blind.

Events are hints. Overflow, an inbox that was deleted, renamed, replaced, unmounted or closed to us and the limits of
inotify are all silent in watchdog; `on_overflow`, `problem` and `reduced` say so, and the caller heals by making a new
InboxObserver and by asking for a scan.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from watchdog.events import (
    DirCreatedEvent,
    DirMovedEvent,
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.api import BaseObserver

from procwatch.intake.filters import NameFilter
from procwatch.intake.inotify import (
    ArrivalEmitter,
    CarefulInotifyFD,
    allow_deep_folders,
    silence_watchdog_warnings,
)
from procwatch.intake.polling import FileSeenEvent, ScanEmitter
from procwatch.intake.settle import Cause
from procwatch.intake.walk import Found, leads_elsewhere, named_like_image, scan
from procwatch.units import counted

#: The smallest set that misses nothing: a hard link is only created, a rename into place only moved.
_EVENTS: Final[list[type[FileSystemEvent]]] = [
    FileClosedEvent,
    FileCreatedEvent,
    FileMovedEvent,
    DirCreatedEvent,
    DirMovedEvent,
]
POLLING_INTERVAL_S: Final = 2.0
#: A pass that has waited this long for one entry hangs; network file systems recover within a minute or not at all.
_STALLED_AFTER_S: Final = 60.0
#: Stopping waits for watchdog's threads this long; a thread that hangs in a dead file system is left behind.
_STOP_TIMEOUT_S: Final = 5.0


class InboxObserver:
    """Watches one inbox from `start` to `stop`; used once.

    `on_arrival(path, cause)` gets paths relative to the inbox. `on_directory(path)`: a folder full of finished files
    was renamed into place, scan it. `on_overflow()`: events were lost, scan everything. All three are called on
    watchdog's threads and must be quick; what they raise is counted in `callback_errors` and dropped.
    """

    def __init__(
        self,
        root: str,
        *,
        recursive: bool,
        polling: bool,
        on_arrival: Callable[[str, Cause], None],
        on_directory: Callable[[str], None],
        on_overflow: Callable[[], None],
        names: NameFilter | None = None,
        polling_interval_s: float = POLLING_INTERVAL_S,
    ) -> None:
        """Take the inbox and who is told. `names` spares a polling observer the work on ignored files."""
        self._root, self._recursive, self._polling = root, recursive, polling
        # inotify would watch a link itself rather than the folder that it names.
        self._real_root = os.path.realpath(root)
        self._names, self._interval_s = names or NameFilter(), polling_interval_s
        self._on_arrival, self._on_directory, self._on_overflow = on_arrival, on_directory, on_overflow
        self._observer: BaseObserver | None = None
        self._inotify: CarefulInotifyFD | None = None
        self._identity: tuple[int, int] | None = None
        self.callback_errors = 0

    def start(self) -> None:
        """Install the watches; returns when every event from now on is seen. Raises OSError when it cannot.

        Walks the whole tree of a recursive inbox: call it on an I/O thread.
        """
        self._identity = _check_folder(self._root)
        silence_watchdog_warnings()
        allow_deep_folders()
        try:
            self._observer = self._polling_observer() if self._polling else self._native_observer()
            self._observer.start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all threads and close the inotify instance. May be called twice."""
        observer, self._observer = self._observer, None
        instance, self._inotify = self._inotify, None
        self._identity = None
        if observer is None and instance is None:
            return
        # Joining is watchdog's and has no time limit, and a thread of ours may hang in a file system.
        stopper = threading.Thread(
            target=_stop_all, args=(observer, instance), name="observer-stop", daemon=True
        )
        stopper.start()
        stopper.join(_STOP_TIMEOUT_S)

    def problem(self) -> str | None:
        """Return why arrivals are not seen any more, None if they are. May block with the file system."""
        observer = self._observer
        if observer is None or self._identity is None:
            return "not started"
        if not observer.is_alive():
            return "the thread that delivers events ended"
        return self._blind() or self._root_problem(self._identity)

    def reduced(self) -> str | None:
        """Return why some folders are seen only by rescans, None if all are watched. A restart does not help."""
        unwatched = dict(self._inotify.unwatched) if self._inotify is not None else {}
        if not unwatched:
            return None
        path, code = next(iter(unwatched.items()))
        return f"{counted(len(unwatched), 'folder')} cannot be watched, first {os.fsdecode(path)}: {os.strerror(code)}"

    def _native_observer(self) -> BaseObserver:
        instance = CarefulInotifyFD(
            os.fsencode(self._real_root),
            partial(self._safely, self._on_overflow),
            partial(self._safely, self._tell_of_file),
        )
        instance.start()
        self._inotify = instance
        observer = BaseObserver(
            ArrivalEmitter, inotify_fd=instance, deliver=partial(self._safely, self._handle)
        )
        nobody = FileSystemEventHandler()  # the emitter delivers by itself
        observer.schedule(nobody, self._real_root, recursive=self._recursive, event_filter=_EVENTS)
        return observer

    def _polling_observer(self) -> BaseObserver:
        observer = BaseObserver(ScanEmitter, make_pass=self._make_pass, interval_s=self._interval_s)
        observer.schedule(
            _Handler(partial(self._safely, self._handle)), self._real_root, recursive=self._recursive
        )
        return observer

    def _make_pass(self) -> Iterator[Found]:
        if leads_elsewhere(self._root, self._real_root):
            return iter(())  # `problem` tells, and the caller makes a new observer
        return scan(self._root, recursive=self._recursive, filter=self._names, real_root=self._real_root)

    def _blind(self) -> str | None:
        if self._inotify is not None:
            if self._inotify.root_lost:
                return "the folder was deleted or unmounted"
            if not self._inotify.is_alive():
                return "the inotify thread ended"
        emitters = list(self._observer.emitters) if self._observer is not None else []
        if not emitters or not all(emitter.is_alive() for emitter in emitters):
            return "the thread that reads events ended"
        now_s = time.monotonic()
        if any(e.stalled_s(now_s) > _STALLED_AFTER_S for e in emitters if isinstance(e, ScanEmitter)):
            return "the file system does not answer"
        return None

    def _root_problem(self, identity: tuple[int, int]) -> str | None:
        try:
            now = _check_folder(self._root)
        except OSError as error:
            return f"the folder cannot be read: {error.strerror or error}"
        return None if now == identity else "another folder is in its place"

    def _safely(self, call: Callable[..., None], *arguments: object) -> None:
        try:
            call(*arguments)
        except Exception:  # noqa: BLE001 (an exception would end watchdog's thread without a word)
            self.callback_errors += 1
            if call != self._on_overflow:  # an event may be lost: a scan finds what it was about
                self._safely(self._on_overflow)

    def _tell_of_file(self, path: bytes, cause: Cause) -> None:
        if below := self._relative(path):
            self._on_arrival(below, cause)

    def _handle(self, event: FileSystemEvent) -> None:
        """Translate one event of watchdog: of a folder and what was in it, or of a pass."""
        if isinstance(event, FileSeenEvent):
            self._on_arrival(os.fsdecode(event.src_path), Cause.SCAN)
        elif isinstance(event, FileMovedEvent | DirMovedEvent):
            path = self._relative(event.dest_path)
            if path and isinstance(event, DirMovedEvent):
                self._on_directory(path)
            elif path:
                self._on_arrival(path, Cause.RENAMED)
        elif path := self._relative(event.src_path):
            self._handle_created(event, path)

    def _handle_created(self, event: FileSystemEvent, path: str) -> None:
        if isinstance(event, FileCreatedEvent):
            # A synthetic one stands for a file in a folder that was moved in whole: it was there already.
            self._on_arrival(path, Cause.SCAN if event.is_synthetic else Cause.CREATED)
        elif isinstance(event, DirCreatedEvent) and named_like_image(path):
            self._on_arrival(path, Cause.CREATED)  # so that its owner hears of it at once

    def _relative(self, path: bytes | str) -> str:
        """Return the path within the inbox, "" for the inbox itself and for anything that is not in it."""
        text, prefix = os.fsdecode(path), self._real_root.rstrip("/") + "/"
        return text[len(prefix) :] if text.startswith(prefix) else ""


class _Handler(FileSystemEventHandler):
    def __init__(self, handle: Callable[[FileSystemEvent], None]) -> None:
        self._handle = handle

    def dispatch(self, event: FileSystemEvent) -> None:
        self._handle(event)


def _stop_all(observer: BaseObserver | None, instance: CarefulInotifyFD | None) -> None:
    if observer is not None:
        observer.stop()
        if observer.is_alive():
            observer.join()
    if instance is not None:
        instance.stop()
        instance.join()


def _check_folder(path: str) -> tuple[int, int]:
    """Return (device, inode) of a folder whose names we may list and whose entries we may reach. Raises OSError.

    Watchdog takes EACCES on the folder for success, so it is asked here.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        os.stat(".", dir_fd=descriptor)  # needs the search permission
    finally:
        os.close(descriptor)
    return status.st_dev, status.st_ino
