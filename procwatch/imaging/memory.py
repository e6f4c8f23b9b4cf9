"""How much memory a worker may still take: needed where a library aborts or blames the picture instead of raising MemoryError."""

import ctypes
import functools
import os
import resource
from typing import Any, Final

#: Address space that must stay free beside what is asked for: allocators round up and fragment.
_SPARE_BYTES: Final = 32 * 1024**2

#: What a codec may allocate for a pixel: libjpeg keeps the coefficients of a progressive picture, two bytes each.
_CODEC_BYTES_PER_PIXEL: Final = 8

#: glibc maps what is larger than a threshold (at most 32 MiB) anew for each picture, and the kernel clears it each time:
#: the coefficients of a progressive JPEG of 24 megapixels alone are 72 MB. From a heap that keeps this much of freed
#: memory, 15 photos took 37.2 to 38.9 ms of CPU to 320 px instead of 40.8 to 41.9, and 70.8 to 72.0 to 1600 px with a
#: second output instead of 74.0 to 75.7; Pillow's own store of blocks (64 MiB) brings nothing beside it. The price:
#: a worker's resident memory after the largest of them is 146 MiB instead of 100.
KEPT_BYTES: Final = 96 * 1024**2
#: Larger pictures get mappings of their own as before: they are rare, and a heap can fragment.
_HEAP_BYTES: Final = 400 * 1024**2
#: So much of it in huge pages, which spares looking up addresses: 900 photos to 320 px took 36.9 ms of user time each
#: instead of 38.0, with a second output 72.4 to 75.2 instead of 74.6 to 74.8; the kernel clears such a page only once.
_HUGE_BYTES: Final = KEPT_BYTES - 8 * 1024**2
_HUGE_PAGE_BYTES: Final = 2 * 1024**2
_MADV_HUGEPAGE: Final = 14  # <sys/mman.h>
_TRIM_THRESHOLD, _MMAP_MAX, _DEFAULT_MMAPS = -1, -4, 65_536  # <malloc.h>, mallopt(3)


def prepare() -> None:
    """Open what has_headroom() reads, before a sandbox forbids it, and say how much freed memory is kept."""
    _statm(os.getpid())
    if (libc := _glibc()) is not None:
        libc.mallopt(_TRIM_THRESHOLD, KEPT_BYTES)


def prefer_huge_pages() -> None:
    """Have the kernel back the heap that is kept by pages of 2 MiB as it comes into use; in a worker, before its first job.

    Linux does so by itself only where transparent_hugepage/enabled is "always".
    """
    libc = _glibc()
    if libc is None:
        return
    libc.mallopt(_MMAP_MAX, 0)  # from the heap, not from a mapping of its own
    block = libc.malloc(_HUGE_BYTES)
    if block is None:
        return
    first = -block % _HUGE_PAGE_BYTES
    libc.madvise(block + first, _HUGE_BYTES - first, _MADV_HUGEPAGE)
    libc.free(block)  # less than what is kept: it stays the heap's


def reuse_heap(needed_bytes: int) -> None:
    """Choose where the next picture's memory comes from: the heap, or for a large one mappings of its own."""
    libc = _glibc()
    if libc is None:
        return
    # A quarter more: what lies unused between blocks in use counts under RLIMIT_AS too, and must not fail a picture.
    if needed_bytes <= _HEAP_BYTES and has_headroom(needed_bytes + needed_bytes // 4):
        libc.mallopt(_MMAP_MAX, 0)
    else:
        libc.mallopt(_MMAP_MAX, _DEFAULT_MMAPS)
        libc.malloc_trim(0)


@functools.lru_cache(maxsize=1)
def _glibc() -> Any:
    """Return the C library if it is glibc; others (musl) have no such knobs."""
    libc = ctypes.CDLL(None)
    if not all(hasattr(libc, name) for name in ("mallopt", "malloc_trim", "madvise")):
        return None
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, (ctypes.c_size_t,)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    libc.free.argtypes = (ctypes.c_void_p,)
    return libc


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
