"""How many CPUs this process may really use: its affinity mask, cut by the CPU quota of its control groups."""

import math
import os

CGROUP_ROOT = "/sys/fs/cgroup"


def usable_cpus(*, proc_cgroup: str = "/proc/self/cgroup", cgroup_root: str = CGROUP_ROOT) -> int:
    """Return at least 1. A quota of 1.5 CPUs counts as 2: one worker would leave half a CPU idle."""
    cpus = len(os.sched_getaffinity(0))
    quota = cpu_quota(proc_cgroup=proc_cgroup, cgroup_root=cgroup_root)
    return cpus if quota is None else max(1, min(cpus, math.ceil(quota)))


def cpu_quota(*, proc_cgroup: str, cgroup_root: str) -> float | None:
    """Return the smallest quota, in CPUs, of our control groups and all above them; None where none is set.

    Understands version 2 (`cpu.max`) and version 1 (`cpu.cfs_quota_us`): see cgroups(7).
    """
    quotas = [
        quota
        for folder in group_folders(read_text(proc_cgroup), cgroup_root, "cpu")
        if (quota := _v2_quota(folder) or _v1_quota(folder)) is not None
    ]
    return min(quotas, default=None)


def group_folders(memberships: str, root: str, controller: str) -> list[str]:
    """Return our control group's folder and every parent up to the root, for each hierarchy with the controller."""
    folders: list[str] = []
    for line in memberships.splitlines():
        fields = line.split(":", 2)
        if len(fields) != 3:  # noqa: PLR2004 (hierarchy:controllers:path)
            continue
        _, controllers, path = fields
        if controllers and controller not in controllers.split(","):
            continue
        base = os.path.join(root, controllers) if controllers else root
        parts = [part for part in path.split("/") if part and part != ".."]
        folders += [os.path.join(base, *parts[:depth]) for depth in range(len(parts), -1, -1)]
    return folders


def _v2_quota(folder: str) -> float | None:
    fields = read_text(os.path.join(folder, "cpu.max")).split()
    if len(fields) != 2 or not all(field.isdigit() for field in fields) or fields[1] == "0":  # noqa: PLR2004
        return None  # "max 100000" means no quota
    return int(fields[0]) / int(fields[1])


def _v1_quota(folder: str) -> float | None:
    quota = read_text(os.path.join(folder, "cpu.cfs_quota_us")).strip()
    period = read_text(os.path.join(folder, "cpu.cfs_period_us")).strip()
    if not quota.isdigit() or not period.isdigit() or period == "0":
        return None  # -1 means no quota
    return int(quota) / int(period)


def read_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError):
        return ""
