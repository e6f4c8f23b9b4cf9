"""One daemon an inbox: an flock on the folder itself, which the kernel releases however the daemon ends."""

import errno
import fcntl
import os

from procwatch.errors import AlreadyRunningError


def lock_folder(path: str, what: str) -> int:
    """Return a descriptor that holds the lock. Raises AlreadyRunningError with the holder's pid, or OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = _holder(os.fstat(descriptor))
        os.close(descriptor)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            whom = f"pid {holder}" if holder else "a process in another container"
            raise AlreadyRunningError(
                f"{what} {path} is in use by another procwatch ({whom})",
                hint="stop it first; one daemon can serve many inboxes",
            ) from None
        if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL):
            return os.open(
                path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            )  # no locks there: nothing to hold
        raise
    return descriptor


def _holder(status: os.stat_result) -> int:
    """Return the pid that holds the flock on the folder, 0 when /proc/locks does not tell (proc(5))."""
    wanted = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    try:
        with open("/proc/locks", encoding="ascii") as file:
            rows = [row.split() for row in file]
    except OSError:
        return 0
    found = [row[4] for row in rows if len(row) > 5 and row[1] == "FLOCK" and row[5] == wanted]  # noqa: PLR2004
    return max((int(pid) for pid in found), default=0)
