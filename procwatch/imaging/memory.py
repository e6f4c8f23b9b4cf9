"""How much memory a worker may still take: needed where a library aborts or blames the picture instead of raising MemoryError."""

import functools
import os
import resource
from typing import Final

#: Address space that must stay free beside what is asked for: allocators round up and fragment.
_SPARE_BYTES: Final = 32 * 1024**2

#: What a codec may allocate for a pixel: libjpeg keeps the coefficients of a progressive picture, two bytes each.
_CODEC_BYTES_PER_PIXEL: Final = 8


def prepare() -> None:
    """Open what has_headroom() reads, before a sandbox forbids it."""
    _statm(os.getpid())


def has_headroom(needed_bytes: int) -> bool:
    """Say whether an allocation fits under RLIMIT_AS; always where no limit is set."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return True
    try:
        return used_bytes() + needed_bytes + _SPARE_BYTES <= limit
    except OSError:
        return False  # unknown: take the careful way


def used_bytes() -> int:
    """Return this process's address space in bytes, which RLIMIT_AS bounds. Raises OSError where it cannot be read."""
    return int(os.pread(_statm(os.getpid()), 64, 0).split()[0]) * resource.getpagesize()


@functools.lru_cache(maxsize=1)
def _statm(pid: int) -> int:
    """Open it once a process, in warm_up(): a sandbox may forbid opening it later, but not reading what is open."""
    return os.open(f"/proc/{pid}/statm", os.O_RDONLY | os.O_CLOEXEC)


def codec_has_headroom(size: tuple[int, int]) -> bool:
    """Say whether a codec has room for a picture. If not, its "broken data stream" means that memory ran out."""
    return has_headroom(size[0] * size[1] * _CODEC_BYTES_PER_PIXEL)
