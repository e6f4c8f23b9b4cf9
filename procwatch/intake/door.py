"""The door of one inbox: proves again and again that its folders can be used, and holds its lock while they can.

Runs on the inbox's looking lane, because any of it can block with the file system.
"""

import os
import threading
from collections.abc import Callable

from procwatch.errors import AlreadyRunningError
from procwatch.intake.lock import lock_folder
from procwatch.model import InboxSpec

#: Returns what is wrong with the folders of an inbox as they stand, None when they can be used.
Check = Callable[[InboxSpec], str | None]


class Door:
    """Opened before every watch, shut when the watch is lost.

    A lock binds to the folder, not to its name: after a folder was replaced, the lock on the old one keeps nobody out
    and would hold an unmounted file system in memory.
    """

    def __init__(self, spec: InboxSpec, check: Check) -> None:
        self._spec = spec
        self._check = check
        self._lock = threading.Lock()  # the loop shuts it for good while the lane may be opening it
        self._descriptor = -1
        self._closed = False

    def lock(self) -> None:
        """Take the inbox for this daemon. Raises AlreadyRunningError or OSError."""
        descriptor = lock_folder(self._spec.path, "the inbox")
        with self._lock:
            if self._closed:
                os.close(descriptor)
            else:
                self._descriptor = descriptor

    def open(self) -> str | None:
        """Return None when the inbox may be served, else why not."""
        reason = self._check(self._spec)
        if reason is not None:
            return reason
        if self._descriptor >= 0:
            return None
        try:
            self.lock()
        except AlreadyRunningError as error:
            return str(error)
        except OSError as error:
            return f"cannot be locked: {error.strerror or error}"
        return None

    def is_same(self) -> bool:
        """Whether the inbox's name still leads to the folder that is locked; only then is a missing file gone."""
        try:
            return self._is_locked(os.stat(self._spec.path))
        except OSError:
            return False

    def is_inbox(self, descriptor: int) -> bool:
        """Whether the open folder is the one that is locked: its name alone may lead elsewhere at any time."""
        return self._is_locked(os.fstat(descriptor))

    def _is_locked(self, folder: os.stat_result) -> bool:
        with self._lock:
            if self._descriptor < 0:
                return False
            held = os.fstat(self._descriptor)
        return (folder.st_dev, folder.st_ino) == (held.st_dev, held.st_ino)

    def shut(self) -> None:
        """Let go of the folder."""
        with self._lock:
            descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def close(self) -> None:
        """Let go of the folder for good."""
        with self._lock:
            self._closed = True
        self.shut()
