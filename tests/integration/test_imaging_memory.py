"""The heap of a worker: what is kept of it is asked for in huge pages, and taken only when it is used."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

_THP = Path("/sys/kernel/mm/transparent_hugepage/enabled")
_CODE = """
import re
from procwatch.imaging import memory

def heap():
    # size and resident size of the heap's mappings, of those that asked for huge pages, and what is huge; kB
    found = {"size": 0, "asked": 0, "rss": 0, "huge": 0}
    for entry in re.split(r"(?m)^(?=[0-9a-f]+-[0-9a-f]+ )", open("/proc/self/smaps").read()):
        if "[heap]" in entry:
            size, rss, huge = (int(re.search(rf"(?m)^{key}: +(\\d+)", entry)[1]) for key in ("Size", "Rss", "AnonHugePages"))
            found["size"] += size
            found["rss"] += rss
            found["huge"] += huge
            found["asked"] += size if re.search(r"(?m)^VmFlags:.* hg", entry) else 0
    return found

memory.prepare()
before = heap()
memory.prefer_huge_pages()
after = heap()
memory.reuse_heap(40 * 2**20)
block = bytearray(b"x") * (40 * 2**20)
used = heap()
del block
left = heap()
print(before["asked"], after["asked"], after["rss"] - before["rss"], used["size"] - after["size"], used["huge"], left["asked"])
"""


def _has_huge_pages() -> bool:
    try:
        return "[never]" not in _THP.read_text()
    except OSError:
        return False


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library is not glibc")
@pytest.mark.skipif(
    not _has_huge_pages(), reason="this kernel has no transparent huge pages, or never gives any"
)
def test_the_heap_that_is_kept_is_asked_for_in_huge_pages_and_not_taken_before_it_is_used() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _CODE], capture_output=True, text=True, timeout=60, check=True
    )
    asked_before, asked, taken, grown, huge, asked_left = map(int, ran.stdout.split())
    assert asked_before == 0
    assert asked > 80 * 1024
    assert taken < 4 * 1024  # the two pages at its ends, at most
    assert grown < 4 * 1024  # what is used later comes from it
    assert huge > 30 * 1024
    assert asked_left > 80 * 1024  # and goes back to it, not to the kernel
