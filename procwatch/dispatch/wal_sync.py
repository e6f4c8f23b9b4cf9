"""Make commits durable: one fsync of SQLite's write-ahead log for all that were made before it, on a thread of its own.

SQLite's own way, synchronous=FULL, fsyncs inside the commit: every other write waits for the disk with it, and with it
each worker whose next "attempt started" is to be recorded. Appending is quick; so commits are made with
synchronous=NORMAL, and who needs a durable one waits for this thread instead.
"""

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable

from procwatch import faults
from procwatch.threadname import set_thread_name

#: Called once with None, or with what kept the commits from becoming durable.
Done = Callable[[OSError | None], None]


class WalSync:
    """Syncs the log of the database at `path`; without a path (a database in memory) there is nothing to wait for."""

    def __init__(self, path: str) -> None:
        self._path = f"{path}-wal" if path else ""
        self._descriptor = -1
        self._queue: queue.SimpleQueue[Done | None] = queue.SimpleQueue()
        self._busy_since_s: float | None = None
        self.seconds = 0.0  # spent in fsync, for metrics
        #: After a failed fsync the kernel calls the pages clean, though they may never have reached the disk: what is
        #: appended behind them could not be read back. Whoever writes has to empty the log first, then clear this.
        self.failed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="procwatch-wal", daemon=True)
        self._thread.start()

    def request(self, done: Done) -> None:
        """Call `done` on this thread when everything committed before now is durable. It never raises."""
        self._queue.put(done)

    def busy_s(self, now_s: float) -> float:
        """Return for how long the thread has waited for the disk; monotonic seconds."""
        since_s = self._busy_since_s
        return 0.0 if since_s is None else now_s - since_s

    def close(self, timeout_s: float) -> None:
        self._queue.put(None)
        self._thread.join(timeout_s)

    def _work(self) -> None:
        set_thread_name("journal-sync")
        closing = False
        while not closing and (first := self._queue.get()) is not None:
            batch = [first]
            with contextlib.suppress(queue.Empty):
                while not closing:
                    more = self._queue.get_nowait()
                    closing = more is None
                    batch += [] if more is None else [more]
            self._busy_since_s = began_s = time.monotonic()
            error = self._sync()
            self.seconds += time.monotonic() - began_s
            self._busy_since_s = None
            for done in batch:
                done(error)
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def _sync(self) -> OSError | None:
        if not self._path:
            return None
        try:
            faults.point("ledger.sync")
            if self._descriptor < 0:
                self._descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            os.fsync(self._descriptor)
        except OSError as error:
            self.failed.set()
            return error
        return None
