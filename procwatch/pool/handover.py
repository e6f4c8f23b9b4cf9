"""An executor that hands a call straight to its worker, and hears its answer, without waking threads for it.

ProcessPoolExecutor.submit() wakes the executor's manager thread, which wakes the thread that feeds the queue of calls:
two switches between threads of the daemon, each with a turn of the GIL, before the worker hears of its next job. Of a
slot's executor the only worker is known to be listening, so submit() can write into its pipe at once, and one thread
can do nothing but read what it answers (pool.answers). Measured on pictures of one pixel: 0.29 ms of the daemon's CPU
a file for the executors before, 0.07 ms after.

Everything else stays the executor's: the process, its death, the broken pool, shutting down. What is used of its inside
is in `_fits`; where it does not look like that (another CPython), submit() and the reading are the executor's own.
"""

import contextlib
import sys
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures import process as stock
from multiprocessing.reduction import ForkingPickler
from typing import Any, Final, ParamSpec, TypeVar, cast

from procwatch.pool.answers import CheckedQueue, Listener

P = ParamSpec("P")
T = TypeVar("T")

#: CPython versions whose executor was read for this; tests/integration/test_pool_handover.py guards each habit.
_KNOWN: Final = frozenset({(3, 11), (3, 12), (3, 13)})
#: A pipe holds 64 KiB and the writer must never wait for a worker that stands still: what does not fit goes the long way.
_MAX_UNREAD_BYTES: Final = 32 * 1024


class HandoverExecutor(ProcessPoolExecutor):
    """A ProcessPoolExecutor of one worker."""

    def __init__(self, **options: Any) -> None:
        super().__init__(1, **options)
        self._direct = sys.version_info[:2] in _KNOWN and _fits(self)
        self._listener = cast("Any", self)._result_queue.listen() if self._direct else None
        self._unread: dict[int, int] = {}  # calls that were handed over and not answered → their bytes
        self._long_way = -1  # the last call that went through the manager: none may overtake it

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> "Future[T]":
        """Have the worker call it, as Executor.submit."""
        listener = self._listener
        future = self._hand_over(listener, fn, args, kwargs) if listener is not None else None
        if future is None:
            self._long_way = getattr(self, "_queue_count", -1)
            future = super().submit(fn, *args, **kwargs)
            if listener is not None:
                listener.start()
        return future

    def _hand_over(
        self, listener: Listener, fn: Callable[..., T], args: Any, kwargs: Any
    ) -> "Future[T] | None":
        """Write the call into the worker's pipe; None where it has to go the long way."""
        listener.check()
        inside: Any = self
        number = inside._queue_count
        message = ForkingPickler.dumps(stock._CallItem(number, fn, args, kwargs))
        self._unread = {old: size for old, size in self._unread.items() if listener.waits_for(old)}
        fits = sum(self._unread.values()) + len(message) <= _MAX_UNREAD_BYTES
        overtakes = self._long_way in inside._pending_work_items
        if not fits or overtakes or inside._executor_manager_thread is None:
            return None
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()
        with inside._shutdown_lock:
            if inside._broken or inside._shutdown_thread:
                return None  # submit() says what is wrong
            listener.add(number, future)
            inside._queue_count = number + 1
        self._unread[number] = len(message)
        # The worker may be gone: the listener is about to tell.
        with contextlib.suppress(OSError), inside._call_queue._wlock:
            inside._call_queue._writer.send_bytes(message)
        return future


def _fits(executor: ProcessPoolExecutor) -> bool:
    """Say whether the executor has what is used of it here."""
    queue = getattr(executor, "_call_queue", None)
    return (
        hasattr(stock, "_CallItem")
        and isinstance(getattr(executor, "_result_queue", None), CheckedQueue)
        and all(hasattr(queue, name) for name in ("_wlock", "_writer"))
        and isinstance(getattr(executor, "_pending_work_items", None), dict)
        and isinstance(getattr(executor, "_queue_count", None), int)
        and all(
            hasattr(executor, name)
            for name in ("_shutdown_lock", "_broken", "_shutdown_thread", "_executor_manager_thread")
        )
    )
