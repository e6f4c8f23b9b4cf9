"""What takes the place of the locks in an executor's queue of calls: one process writes, one reads, nothing is shared.

multiprocessing.Queue takes its locks from the context. Shared ones can be kept for ever by a worker that was taken over:
the thread that feeds the queue would wait for it, and whoever joins that thread.
"""

import threading
from typing import Any


class OwnLock:
    """A lock among the threads of one process; pickles as a new one, which is the worker's own."""

    def __init__(self) -> None:
        lock = threading.Lock()
        self.acquire, self.release = lock.acquire, lock.release

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def __reduce__(self) -> Any:
        return threading.Lock, ()


class Unbounded:
    """A semaphore that is always free: handover bounds what a worker has in its pipe. The worker gets one of its own."""

    def __init__(self) -> None:
        self._semlock = self  # what Queue.full() asks

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        return True

    def release(self) -> None:
        """Nothing was taken."""

    def _is_zero(self) -> bool:
        return False

    def __reduce__(self) -> Any:
        return threading.Semaphore, ()
