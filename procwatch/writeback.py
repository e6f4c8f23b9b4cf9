"""Tell the kernel to start writing a file to the disk, without waiting for it; standard library only."""

import ctypes
import functools
from collections.abc import Callable
from typing import Final

_SYNC_FILE_RANGE_WRITE: Final = 2


def begin_writeback(descriptor: int) -> None:
    """Have the disk take the file's data now, so that the fsync that makes it durable later waits less.

    Promises nothing (sync_file_range(2)); where the kernel or the file system has no such call, nothing happens.
    """
    call = _sync_file_range()
    if call is not None:
        call(descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE)


@functools.cache
def _sync_file_range() -> Callable[..., int] | None:
    call = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if call is None:
        return None
    call.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
    call.restype = ctypes.c_int
    return call  # type: ignore[no-any-return]
