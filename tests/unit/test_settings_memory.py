"""The memory budget respects every control group around us, and leaves room for large pictures."""

from pathlib import Path

import pytest

from procwatch.settings.memory import memory_budget, usable_memory, worker_memory

pytestmark = pytest.mark.unit

MIB = 1024**2
GIB = 1024**3


def usable(tmp_path: Path, memberships: str, files: dict[str, str]) -> int:
    (tmp_path / "cgroup").write_text(memberships)
    (tmp_path / "meminfo").write_text("MemTotal:       16777216 kB\nMemFree:  1 kB\n")
    for name, content in files.items():
        path = tmp_path / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return usable_memory(
        meminfo=str(tmp_path / "meminfo"),
        proc_cgroup=str(tmp_path / "cgroup"),
        cgroup_root=str(tmp_path / "fs"),
    )


@pytest.mark.parametrize(
    ("memberships", "files", "expected"),
    [
        ("0::/a/b\n", {}, 16 * GIB),
        ("0::/a/b\n", {"a/b/memory.max": "2147483648\n"}, 2 * GIB),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": "1073741824\n"}, GIB),
        ("0::/a/b\n", {"a/b/memory.max": "2147483648\n", "a/b/memory.high": "1610612736\n"}, GIB * 3 // 2),
        ("0::/a\n", {"a/memory.max": "99999999999999\n"}, 16 * GIB),
        ("5:memory:/x\n", {"memory/x/memory.limit_in_bytes": "536870912\n"}, 512 * MIB),
        ("5:memory:/x\n", {"memory/x/memory.limit_in_bytes": "9223372036854771712\n"}, 16 * GIB),
        ("5:cpu,cpuacct:/x\n", {"cpu,cpuacct/x/memory.limit_in_bytes": "1\n"}, 16 * GIB),
    ],
)
def test_the_smallest_limit_counts(
    tmp_path: Path, memberships: str, files: dict[str, str], expected: int
) -> None:
    assert usable(tmp_path, memberships, files) == expected


def test_this_machine_has_memory() -> None:
    assert usable_memory() > 64 * MIB


@pytest.mark.parametrize("usable_bytes", [256 * MIB, GIB, 4 * GIB, 64 * GIB])
@pytest.mark.parametrize("workers", [1, 2, 8, 64])
def test_every_worker_gets_something_and_nobody_everything(usable_bytes: int, workers: int) -> None:
    budget = memory_budget(usable_bytes)
    share = worker_memory(budget, workers)
    assert 0 < share <= budget <= usable_bytes
    if budget >= 256 * MIB * workers:
        assert share * workers <= budget // 2, "half is left for the large ones"
