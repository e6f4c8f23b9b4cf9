"""Make watchdog's inotify machinery quiet, honest about losses, and deaf to our own moves.

Only public names of watchdog 7 are overridden: `InotifyFD.add_callback`, `InotifyFD.handle_event`,
`get_event_mask_from_filter`, `queue_event`, and `find` and `remove` of its queue; where that queue is kept is not public.
"""

import contextlib
import errno
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any, Final

from watchdog.events import FileSystemEvent
from watchdog.observers.inotify import InotifyFullEmitter
from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchCallback,
    WatchDescriptor,
)
from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper
from watchdog.utils.delayed_queue import DelayedQueue

from procwatch.fdopen import open_beneath
from procwatch.intake.settle import Cause

#: Folders that could not be watched are remembered by name up to this number, for the message only.
_MAX_REMEMBERED: Final = 1000
_DEEPEST: Final = 2048
_OWN_FRAMES: Final = 1000


class ArrivalEmitter(InotifyFullEmitter):
    """Reports renames into place as such, and leaves out the events of files that are moved away.

    Our own move of an original to the archive would be a move-out without its counterpart, and watchdog holds every
    later event for 0.5 s to wait for that. And hands events to `deliver` itself, instead of through a queue to the
    observer's thread, which has nothing else to do: 0.1 ms of an arrival.
    """

    def __init__(self, *arguments: Any, deliver: Callable[[FileSystemEvent], None], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._deliver = deliver

    def queue_event(self, event: FileSystemEvent) -> None:
        """Deliver the event. The kernel was asked for those that matter only."""
        self._deliver(event)

    def get_event_mask_from_filter(self) -> Mask:
        """Return the kernel's mask without IN_MOVED_FROM."""
        return Mask(super().get_event_mask_from_filter() & ~InotifyConstants.IN_MOVED_FROM)


class CarefulInotifyFD(InotifyFD):
    """An inotify instance of one inbox that tells what watchdog keeps to itself, and of files at once.

    `on_file(path, cause)` is called on its thread for a file that was renamed into place, closed by its writer or
    created. Watchdog pairs the halves of renames first and passes each event on to a thread of the emitter: for what
    nobody pairs that is 0.1 ms of an arrival. Folders go that way. `on_lost` is called on its thread after events were lost. `root_lost`: the kernel removed the watch on the inbox
    (deleted or unmounted). `unwatched`: folders on which the kernel refused a watch, with the errno.
    """

    def __init__(
        self,
        root: bytes,
        on_lost: Callable[[], None],
        on_file: Callable[[bytes, Cause], None] | None = None,
    ) -> None:
        """Open an inotify instance for `root`. Raises OSError (EMFILE: too many instances)."""
        super().__init__()
        self.root_lost = False
        self.unwatched: dict[bytes, int] = {}
        self.on_lost = on_lost
        self._root = root
        self._on_file = on_file
        self._root_wd: WatchDescriptor | None = None
        self._folders: dict[WatchDescriptor, bytes] = {}
        self._shields: dict[CallbackId, _Shield] = {}

    def add_callback(
        self, path: bytes, mask: Mask, callback: WatchCallback, id_: CallbackId
    ) -> WatchDescriptor:
        """Watch `path`, which is the root or below it. Raises OSError, also for EACCES, which watchdog takes for success.

        A folder that was swapped for a link (ELOOP) is not watched: it may lead to any tree of the machine.
        """
        shield = self._shields.get(id_)
        if shield is None:
            shield = self._shields[id_] = _Shield(callback, self)
        try:
            with self._held(path) as held:
                wd = super().add_callback(held, mask, shield, id_)
            if wd == -1:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fsdecode(path))
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EACCES} and len(self.unwatched) < _MAX_REMEMBERED:
                self.unwatched[path] = error.errno
            raise
        self.unwatched.pop(path, None)
        self._folders[wd] = path  # a folder that was moved keeps its number
        if path == self._root:
            self._root_wd = wd
        return wd

    @contextlib.contextmanager
    def _held(self, path: bytes) -> Iterator[bytes]:
        """Yield a name of the very folder that `path` is now, reached without following any link below the root."""
        below = os.fsdecode(path[len(self._root) :].strip(b"/"))
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        descriptor = open_beneath(os.fsdecode(self._root), below, flags) if below else os.open(path, flags)
        try:
            yield b"/proc/self/fd/%d/." % descriptor if os.path.isdir("/proc/self/fd") else path
        finally:
            os.close(descriptor)

    def handle_event(self, event: InotifyEvent) -> None:
        """Pass the event on, and say so when it is the kernel's note that its queue was full."""
        super().handle_event(event)
        if event.is_queue_overflow:
            self.on_lost()

    def tell_of_file(self, event: InotifyEvent) -> bool:
        """Tell of the event if it is one of a file; say whether it was."""
        folder = self._folders.get(event.wd)
        if self._on_file is None or folder is None or not event.name or event.is_directory:
            return False
        if event.is_moved_to:
            cause = Cause.RENAMED
        elif event.is_close_write:
            cause = Cause.CLOSED
        elif event.is_create:
            cause = Cause.CREATED
        else:
            return False
        self._on_file(folder + b"/" + event.name, cause)
        return True

    def watch_removed(self, wd: WatchDescriptor) -> None:
        """Take note that the kernel removed a watch."""
        self._folders.pop(wd, None)
        if wd == self._root_wd:
            self.root_lost = True


class _UnpairedQueue(DelayedQueue[Any]):
    """Watchdog's queue of events without the search for the other half of a move.

    For each rename into place it is searched twice, from its head. Nothing can be found, because IN_MOVED_FROM is not
    asked for, and after a burst of n renames that is n squared: of 3,000 it took a fifteenth of the daemon's time.
    """

    def find(self, predicate: Callable[[Any], bool]) -> None:
        return None

    def remove(self, predicate: Callable[[Any], bool]) -> None:
        return None


class _Shield:
    """Stands between watchdog's inotify thread and its watch group.

    An exception there would end the thread silently; here it is one lost event. And the text of watchdog's warnings
    is the repr of every callback: a group's repr is its whole table of watches, this one's is short.
    """

    def __init__(self, group: WatchCallback, instance: CarefulInotifyFD) -> None:
        self._group, self._instance = group, instance
        grouper = getattr(group, "_move_event_grouper", None)
        if isinstance(grouper, InotifyMoveEventGrouper):  # before the first event
            grouper._queue = _UnpairedQueue(grouper.delay)  # noqa: SLF001 (see the module's docstring)

    def on_event(self, event: InotifyEvent) -> None:
        try:
            if not self._instance.tell_of_file(event):
                self._group.on_event(event)
        except Exception:  # noqa: BLE001 (whatever it is, the thread must live and a scan must follow)
            self._instance.on_lost()

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        self._instance.watch_removed(wd)
        try:
            self._group.on_watch_deleted(wd)
        except Exception:  # noqa: BLE001 (as above)
            self._instance.on_lost()

    def on_queue_overflow(self) -> None:
        self._group.on_queue_overflow()


def allow_deep_folders() -> None:
    """Let what recurses over folders go as deep as a path can name: 4096 bytes, so 2048 names.

    Those are os.makedirs, and on CPython 3.11 (gh-89727) os.walk, by which watchdog finds the folders to watch. A
    thousand folders in each other, which anybody can make who may write an inbox, ended the daemon.
    """
    sys.setrecursionlimit(max(sys.getrecursionlimit(), _DEEPEST + _OWN_FRAMES))


def silence_watchdog_warnings() -> None:
    """Drop the RuntimeWarning that watchdog gives for each folder renamed or raced by its own registration.

    By message: the frame that it blames depends on who called. Under `-W error` it would cost a folder its watch.
    """
    warnings.filterwarnings("ignore", message="Callback with id ", category=RuntimeWarning)
