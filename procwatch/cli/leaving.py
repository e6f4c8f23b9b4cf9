"""End the process, also when a thread hangs in a dead file system."""

import contextlib
import errno
import os
import sys
import threading
from collections.abc import Iterator


def leave(code: int) -> int:
    """Return the exit code, or exit at once when a thread is left that the interpreter would wait for.

    concurrent.futures joins its executors' threads at exit, and a worker in an uninterruptible wait (a dead NFS mount)
    cannot be killed: its executor would keep us from ever ending. Everything is flushed and closed by now.
    """
    main = threading.main_thread()
    if any(thread is not main and not thread.daemon for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


@contextlib.contextmanager
def terminal_may_be_gone() -> Iterator[None]:
    """Print within; a terminal that was closed meanwhile is no error, nor one when the interpreter flushes at its end.

    What could not be written stays in a stream's buffer, also when whoever wrote it took the error, and a flush that
    fails at the end makes the exit code 120.
    """
    with _silenced_if_gone():
        yield
    for stream in (sys.stdout, sys.stderr):
        with _silenced_if_gone():
            stream.flush()


@contextlib.contextmanager
def _silenced_if_gone() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        for descriptor in (1, 2):
            os.dup2(null, descriptor)
        os.close(null)
