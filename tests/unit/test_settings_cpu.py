"""The number of workers respects the CPU quota of every control group around us."""

import os
from pathlib import Path

import pytest

from procwatch.settings.cpu import cpu_quota, usable_cpus

pytestmark = pytest.mark.unit


def quota(tmp_path: Path, memberships: str, files: dict[str, str]) -> float | None:
    (tmp_path / "cgroup").write_text(memberships)
    for name, content in files.items():
        path = tmp_path / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return cpu_quota(proc_cgroup=str(tmp_path / "cgroup"), cgroup_root=str(tmp_path / "fs"))


@pytest.mark.parametrize(
    ("memberships", "files", "expected"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "150000 100000\n"}, 1.5),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "50000 100000\n"}, 0.5),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n"}, None),
        ("0::/\n", {"cpu.max": "300000 100000\n"}, 3.0),
        ("0::/../../x\n", {"cpu.max": "300000 100000\n"}, 3.0),
        (
            "4:cpu,cpuacct:/d\n1:name=systemd:/d\n",
            {"cpu,cpuacct/d/cpu.cfs_quota_us": "200000\n", "cpu,cpuacct/d/cpu.cfs_period_us": "100000\n"},
            2.0,
        ),
        (
            "4:cpu,cpuacct:/d\n",
            {"cpu,cpuacct/d/cpu.cfs_quota_us": "-1\n", "cpu,cpuacct/d/cpu.cfs_period_us": "100000\n"},
            None,
        ),
        ("garbage\n", {}, None),
    ],
)
def test_the_smallest_quota_on_the_way_to_the_root_counts(
    tmp_path: Path, memberships: str, files: dict[str, str], expected: float | None
) -> None:
    assert quota(tmp_path, memberships, files) == expected


def test_a_quota_below_one_cpu_still_means_one_worker_and_none_means_the_affinity(tmp_path: Path) -> None:
    quota(tmp_path, "0::/\n", {"cpu.max": "10000 100000\n"})
    limited = usable_cpus(proc_cgroup=str(tmp_path / "cgroup"), cgroup_root=str(tmp_path / "fs"))
    unlimited = usable_cpus(proc_cgroup=str(tmp_path / "no"), cgroup_root=str(tmp_path / "fs"))
    assert limited == 1
    assert unlimited == len(os.sched_getaffinity(0))
