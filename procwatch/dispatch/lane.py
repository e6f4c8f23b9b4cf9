"""A lane: one daemon thread that does one inbox's blocking I/O in order, so that a hung folder stops only itself.

Not a ThreadPoolExecutor: its threads are joined at interpreter exit, and a thread that hangs in a dead NFS mount
would keep the daemon from ever ending.
"""

import queue
import threading
from collections.abc import Callable
from typing import Any

from procwatch.threadname import set_thread_name


class Lane:
    """Runs submitted calls one after the other. What a call raises is handed to `on_error`."""

    def __init__(self, name: str, on_error: Callable[[BaseException], None]) -> None:
        self._queue: queue.SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]] | None] = (
            queue.SimpleQueue()
        )
        self._on_error = on_error
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, function: Callable[..., None], *arguments: Any) -> None:
        self._queue.put((function, arguments))

    def close(self, timeout_s: float) -> bool:
        """Finish what was submitted; return False when that takes longer than the timeout."""
        self._queue.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        set_thread_name(self._thread.name)
        while (item := self._queue.get()) is not None:
            function, arguments = item
            try:
                function(*arguments)
            except BaseException as error:  # noqa: BLE001 (the loop decides; a lane must go on)
                self._on_error(error)
