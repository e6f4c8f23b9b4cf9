"""How a process ended, asked of its pidfd, in the words of logs: "SIGKILL", "exit 3", "unknown"."""

import contextlib
import fcntl
import os
import select
import signal
import struct
from typing import Final

#: ioctl(PIDFD_GET_INFO) with PIDFD_INFO_EXIT, Linux 6.15 and later: <linux/pidfd.h>.
_GET_INFO: Final = 0xC040FF0B
_INFO_EXIT: Final = 1 << 3
_INFO_SIZE: Final = 64
_EXIT_CODE_AT: Final = 60
#: multiprocessing says this when it could not read the status: the forkserver was killed, or two threads of the
#: daemon read it at once (popen_forkserver.Popen.poll has no lock). It does not tell what happened.
UNREAD: Final = 255


def is_over(pidfd: int, *, wait_ms: int = 0) -> bool:
    """Whether the process has ended; asked of a pidfd, so a recycled pid cannot answer."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(wait_ms))


def parent_of(pid: int) -> int:
    """Return the parent's pid. Raises OSError when the process is gone."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[1])


def exit_text(pidfd: int, exitcode: int | None) -> str:
    """Return how a reaped process ended; `exitcode`, as multiprocessing has it, is the word of older kernels."""
    code = _kernel_code(pidfd)
    if code is None and exitcode != UNREAD:
        code = exitcode
    return "unknown" if code is None else describe(code)


def describe(code: int) -> str:
    """Return an exit code in words; a negative one is a signal."""
    if code >= 0:
        return f"exit {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def _kernel_code(pidfd: int) -> int | None:
    info = bytearray(_INFO_SIZE)
    struct.pack_into("Q", info, 0, _INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, _GET_INFO, info)
    except OSError:
        return None  # an older kernel, or a filter of system calls
    (mask,) = struct.unpack_from("Q", info, 0)
    if not mask & _INFO_EXIT:
        return None  # nobody has reaped it yet
    (status,) = struct.unpack_from("i", info, _EXIT_CODE_AT)
    return os.waitstatus_to_exitcode(status)
