"""Starting and ending workers: tens of milliseconds each, so in short threads that post what came of it.

A worker belongs to a generation: what it is born with may be out of date when it is ready.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from procwatch.pool.places import Place
from procwatch.pool.ports import Post, WorkerEntry
from procwatch.pool.slot import Worker, prepare_forkserver, start_worker

#: Threads that start or end a worker give up within seconds; one that does not is left behind, as a daemon.
_STOP_S = 15.0


class Parent(Protocol):
    """Who hears what became of a start; called on the dispatcher's thread."""

    def worker_started(self, slot: Place, worker: Worker) -> None: ...
    def worker_failed_to_start(self, slot: Place, reason: str) -> None: ...
    def idle_worker_died(self, slot: Place, worker: Worker, exit_text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class _Either:
    """A slot.GiveUp: the pool stops, or the entry of the worker is out of date."""

    one: threading.Event
    other: threading.Event

    def is_set(self) -> bool:
        return self.one.is_set() or self.other.is_set()


class Starter:
    """Makes workers by one entry at a time; each change of it, or of anything else they are born with, is a generation."""

    def __init__(self, entry: WorkerEntry, *, parent: Parent, post: Post) -> None:
        self.entry = entry
        self.generation = 0
        self.give_up = threading.Event()  # the pool stops
        self._parent = parent
        self._post = post
        self._outdated = threading.Event()  # set for workers that are being started, when their entry is old
        self._threads: set[threading.Thread] = set()
        self._born: set[Worker] = set()  # not yet given to a slot
        prepare_forkserver(entry.preload)

    @property
    def is_stopping(self) -> bool:
        return self.give_up.is_set()

    def renew(self, entry: WorkerEntry | None) -> None:
        """Begin a new generation. With a new entry, starts under way by the old one are given up."""
        if entry is not None:
            self.entry = entry
            self._outdated.set()
            self._outdated = threading.Event()
        self.generation += 1

    def start(self, slot: Place, old: Worker | None = None, *, died: bool = False) -> None:
        """Start a worker for the slot, when its `old` one has ended; `died`: it has ended by itself."""
        self.in_thread(self._start, slot, old, died)

    def _start(self, slot: Place, old: Worker | None, died: bool) -> None:
        if old is not None:
            exit_text = old.close()
            if died:
                self._post(self._parent.idle_worker_died, slot, old, exit_text)
        # Taken first: an entry that comes now is then too new.
        give_up, generation = _Either(self.give_up, self._outdated), self.generation
        try:
            worker = start_worker(self.entry, slot.number, give_up)
        except Exception as error:  # noqa: BLE001 (whatever kept it from starting is reported and retried)
            self._post(self._parent.worker_failed_to_start, slot, f"{type(error).__name__}: {error}")
            return
        worker.generation = generation
        self._born.add(worker)
        self._post(self._take_over, slot, worker)

    def _take_over(self, slot: Place, worker: Worker) -> None:
        if self.is_stopping:
            return  # stop() has ended it
        self._born.discard(worker)
        self._parent.worker_started(slot, worker)

    def end(self, worker: Worker) -> None:
        """End a worker that has nothing to do."""
        self.in_thread(_close, worker)

    def in_thread(self, function: Callable[..., None], *arguments: Any) -> None:
        """Run what may block in a thread that stop() waits for."""

        def body() -> None:
            with contextlib.ExitStack() as stack:
                stack.callback(self._threads.discard, threading.current_thread())
                function(*arguments)

        thread = threading.Thread(target=body, name="procwatch-pool", daemon=True)
        self._threads.add(thread)
        thread.start()

    def stop(self) -> set[Worker]:
        """Start nothing more, and wait for the threads. Return the workers that no slot was given."""
        self.give_up.set()
        patience_s = time.monotonic() + _STOP_S
        for thread in list(self._threads):
            thread.join(max(patience_s - time.monotonic(), 0.0))
        born, self._born = self._born, set()
        return born


def _close(worker: Worker) -> None:
    worker.close()
