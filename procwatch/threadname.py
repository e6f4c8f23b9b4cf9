"""Names that ps -L and top -H show; standard library only."""

import contextlib
import ctypes

_PR_SET_NAME = 15


def set_thread_name(name: str) -> None:
    """Name the calling thread for the kernel, at most 15 bytes (prctl(2)). Python does so by itself from 3.14 on."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_NAME, ctypes.c_char_p(name.encode()[:15]), 0, 0, 0)
