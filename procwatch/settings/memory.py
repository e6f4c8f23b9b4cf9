"""How much memory this process may really use: the machine's, cut by the limits of its control groups."""

import os
from typing import Final

from procwatch.settings.cpu import CGROUP_ROOT, group_folders, read_text

#: For all workers together, of what there is: the rest is for the daemon, the page cache and everybody else.
_SHARE: Final = 0.5
#: What each worker may take without asking: photos do. More is granted one by one, so a few must fit side by side.
_WORKER_SHARE: Final = 0.5
_WORKER_MAX_BYTES: Final = 512 * 1024**2
_WORKER_MIN_BYTES: Final = 128 * 1024**2


def usable_memory(
    *,
    meminfo: str = "/proc/meminfo",
    proc_cgroup: str = "/proc/self/cgroup",
    cgroup_root: str = CGROUP_ROOT,
) -> int:
    """Return bytes: the machine's memory or the smallest limit of our control groups and all above them.

    Understands version 2 (`memory.max`, `memory.high`) and version 1 (`memory.limit_in_bytes`): see cgroups(7).
    """
    limits = [_machine_bytes(meminfo)]
    for folder in group_folders(read_text(proc_cgroup), cgroup_root, "memory"):
        for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
            text = read_text(os.path.join(folder, name)).strip()
            if text.isdigit() and int(text) > 0:  # "max" means no limit; version 1 says a huge number
                limits.append(int(text))
    return min(limits)


def memory_budget(usable_bytes: int) -> int:
    """Return the default of [limits] memory."""
    return max(int(usable_bytes * _SHARE), _WORKER_MIN_BYTES)


def worker_memory(budget_bytes: int, workers: int) -> int:
    """Return the default of [limits] worker_memory: so much that all workers at it leave room for a large picture."""
    share_bytes = int(budget_bytes * _WORKER_SHARE) // workers
    return min(max(min(share_bytes, _WORKER_MAX_BYTES), _WORKER_MIN_BYTES), budget_bytes)


def _machine_bytes(meminfo: str) -> int:
    for line in read_text(meminfo).splitlines():
        name, _, value = line.partition(":")
        if name == "MemTotal":
            return int(value.split()[0]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
