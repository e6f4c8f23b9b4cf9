"""Where log lines go: whole lines to a descriptor, a rotating file or a text stream, never raising, losing late."""

import errno
import os
import select
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol, TextIO

#: Lines that could not be written (full disk, slow reader) are kept up to here and written later. A job line is about
#: 500 bytes, so this is some 2,000 files of grace; more would only hide a disk that stays full.
KEPT_BYTES: Final = 1024**2
#: Lines that wait for each other are written in blocks of this size: what a pipe takes at once.
_BLOCK_BYTES: Final = 64 * 1024
#: How often a write looks whether the log file was renamed away or deleted.
ROTATION_CHECK_S: Final = 1.0
#: A reader of a non-blocking pipe gets this long once; the loop must not stand still for its sake.
_SLOW_READER_MS: Final = 100
#: The other end of stdout left for good: keeping lines for it would only cost memory.
_READER_GONE: Final = frozenset({errno.EPIPE, errno.EIO, errno.EBADF, errno.ECONNRESET})


class Sink(Protocol):
    """What the log writes to. `dropped` counts lines that are lost for ever; while `gathers` lines wait for flush()."""

    dropped: int
    gathers: bool

    def write(self, line: str, /) -> None: ...
    def flush(self) -> None: ...
    def reopen(self) -> None: ...
    def close(self) -> None: ...


class DescriptorSink:
    """Writes to a duplicate of `fd`, so that nobody else's close() can make the number mean another file."""

    gathers = False

    def __init__(self, fd: int, *, encoding: str = "ascii") -> None:
        self.dropped = 0
        self._fd: int | None = os.dup(fd)
        self._encoding = encoding
        self._kept: deque[bytes] = deque()
        self._kept_bytes = 0
        self._sent = 0  # bytes of the first kept line that are out already

    def write(self, line: str) -> None:
        data = line.encode(self._encoding, "backslashreplace") + b"\n"
        if self._kept_bytes + len(data) > KEPT_BYTES:
            self.flush()
        if self._kept_bytes + len(data) > KEPT_BYTES:
            self.dropped += 1
        else:
            self._kept.append(data)
            self._kept_bytes += len(data)
        if not self.gathers:
            self.flush()

    def flush(self) -> None:
        """Write what is kept, as far as it goes now."""
        patience = len(self._kept) <= 1
        while self._kept:
            try:
                self._write_block()
            except BlockingIOError:
                if not patience or not self._ready_soon():
                    return
                patience = False
            except OSError as error:
                if self._hopeless(error):
                    self._forget()
                return

    def _write_block(self) -> None:
        if self._fd is None:
            raise OSError(errno.EBADF, "the log is closed")
        self._sent += os.write(self._fd, self._block())
        while self._kept and self._sent >= len(self._kept[0]):
            first = self._kept.popleft()
            self._kept_bytes -= len(first)
            self._sent -= len(first)

    def _block(self) -> bytes:
        """Return the next bytes to write: the lines that wait, and no more than a block of them."""
        if len(self._kept) == 1 and not self._sent:
            return self._kept[0]
        block = bytearray()
        for line in self._kept:
            block += line
            if len(block) >= _BLOCK_BYTES:
                break
        return bytes(block[self._sent :])

    def _ready_soon(self) -> bool:
        poller = select.poll()
        poller.register(self._fd if self._fd is not None else -1, select.POLLOUT)
        return bool(poller.poll(_SLOW_READER_MS))

    def _hopeless(self, error: OSError) -> bool:
        return error.errno in _READER_GONE

    def _forget(self) -> None:
        self.dropped += len(self._kept)
        self._kept.clear()
        self._kept_bytes = self._sent = 0

    def reopen(self) -> None:
        """A descriptor that somebody gave us cannot be opened again."""

    def close(self) -> None:
        self.flush()
        self._forget()
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


class FileSink(DescriptorSink):
    """Appends to a file and follows its name: when a rotation renames or deletes it, a new one is opened.

    Raises OSError on construction where the file cannot be opened and waiting would not help (EACCES, EISDIR, ...).
    """

    def __init__(self, path: str, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.dropped = 0
        self._path = path
        self._encoding = "ascii"
        self._kept = deque()
        self._kept_bytes = self._sent = 0
        self._monotonic = monotonic
        self._checked_s = monotonic()
        self._fd = None
        try:
            self._fd = _open_append(path)
        except OSError as error:
            # A disk that is full just now must not keep the daemon from starting: the lines wait.
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE):
                raise

    def write(self, line: str) -> None:
        now_s = self._monotonic()
        if now_s - self._checked_s >= ROTATION_CHECK_S:
            self._checked_s = now_s
            if not self._is_current():
                self.reopen()
        super().write(line)

    def reopen(self) -> None:
        """Open the name again; where that fails keep writing to the old file, which loses nothing."""
        try:
            fd = _open_append(self._path)
        except OSError:
            return
        if self._fd is not None:
            os.close(self._fd)
        self._fd = fd
        self._sent = 0  # a line that was cut in the old file is written whole into the new one

    def _is_current(self) -> bool:
        if self._fd is None:
            return False
        try:
            named = os.stat(self._path)
        except FileNotFoundError:
            return False
        except OSError:
            return True  # unreachable for the moment: reopening could not succeed either
        ours = os.fstat(self._fd)
        return (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)

    def _hopeless(self, error: OSError) -> bool:
        return False


class StreamSink:
    """Writes to a text stream without a descriptor of its own (a progress bar's console, a test's StringIO)."""

    gathers = False  # whatever is asked of it: each line is written at once

    def __init__(self, stream: TextIO) -> None:
        self.dropped = 0
        self._stream = stream

    def write(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # ValueError: closed, or characters that its encoding lacks
            self.dropped += 1

    def flush(self) -> None:
        """Nothing is kept."""

    def reopen(self) -> None:
        """The stream is its owner's."""

    def close(self) -> None:
        """The stream is its owner's."""


def _open_append(path: str) -> int:
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, 0o644)
    if _ends_inside_a_line(path):
        try:
            os.write(fd, b"\n")
        except OSError:
            os.close(fd)
            raise
    return fd


def _ends_inside_a_line(path: str) -> bool:
    """Say whether a crash or a full disk cut the last line; ours must not be glued to it."""
    try:
        with open(path, "rb") as log:
            log.seek(-1, os.SEEK_END)
            return log.read(1) != b"\n"
    except OSError:  # empty, a device, not readable by us
        return False
