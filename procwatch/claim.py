"""What a worker notes of its current job in memory that it shares with the daemon, and with nobody else.

A sealed memfd: neither side can cut it short, so that reading it never faults (memfd_create(2), F_ADD_SEALS in
fcntl(2)). multiprocessing's RawArray has one file for all workers, which any of them can write to and truncate.
"""

import fcntl
import mmap
import os
from multiprocessing.reduction import DupFd
from typing import Any, Final

from procwatch.turns import Turns, WorkerTurns

#: Indexes: which job was begun, and how much of its grant it was expected to need. No queue, no lock, two stores a job.
STARTED: Final = 0
PRESSURE: Final = 1
_DIGESTED: Final = 2  # of which job the digest is
_CELLS: Final = 3
_DIGEST_BYTES: Final = 32
_BYTES: Final = 8 * _CELLS + _DIGEST_BYTES
_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Claim:
    """A few doubles, and whose turn it is; pickles while a process is being started, and only then."""

    def __init__(self, descriptor: int | None = None, turns: "Turns | WorkerTurns | None" = None) -> None:
        """Make the memory, or map that of this descriptor, which is taken over."""
        self._descriptor = _make() if descriptor is None else descriptor
        self._map = mmap.mmap(self._descriptor, _BYTES)
        self._turns = turns  # of the worker, on whichever side this is
        self._cells = memoryview(self._map)[: 8 * _CELLS].cast("d")

    def __getitem__(self, cell: int) -> float:
        return self._cells[cell]

    def __setitem__(self, cell: int, value: float) -> None:
        self._cells[cell] = value

    def begin(self, number: int) -> bool:
        """In the worker: note that this call begins; False when the daemon has taken it back."""
        if isinstance(self._turns, WorkerTurns) and not self._turns.take(number):
            return False
        self[PRESSURE] = 0.0
        self[STARTED] = number
        return True

    def wait_for_next(self, timeout_s: float) -> None:
        """In the worker: wait until there is another call to begin, or so long."""
        if isinstance(self._turns, WorkerTurns):
            self._turns.wait(timeout_s)

    def note_digest(self, number: int, digest: bytes) -> None:
        """In the worker: leave the sha256 of what this call rendered, after its answer, until the next one."""
        self._map[8 * _CELLS :] = digest
        self[_DIGESTED] = number

    def digest_of(self, number: int) -> str | None:
        """Return the digest in hex; None while it is not there, an empty text when that of a later call is."""
        if self[_DIGESTED] < number:
            return None
        digest = self._map[8 * _CELLS :].hex()
        return digest if self[_DIGESTED] == number else ""

    def __reduce__(self) -> Any:
        return _receive, (DupFd(self._descriptor), self._turns)

    def close_descriptor(self) -> None:
        """Keep the memory only: it is passed on to nobody any more."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _make() -> int:
    descriptor = os.memfd_create("procwatch-claim", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, _BYTES)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _receive(duplicate: Any, turns: WorkerTurns | None) -> Claim:
    claim = Claim(duplicate.detach(), turns)
    claim.close_descriptor()
    return claim
