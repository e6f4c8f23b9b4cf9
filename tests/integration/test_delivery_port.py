"""The port and its two implementations: the same answers, the same fault points."""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from procwatch import faults
from procwatch.delivery.fsops import TEMP_PREFIX, FsOps, NotDurableError
from procwatch.delivery.real_fs import RealFs
from procwatch.testing import MemoryFs

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("no_faults")]


@pytest.fixture(params=["real", "memory"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> FsOps:
    """Yield both implementations of the port, with an empty tmp_path in each."""
    if request.param == "real":
        return RealFs()
    memory = MemoryFs()
    memory.put_dir(str(tmp_path))
    return memory


def attempt(action: Callable[[], object]) -> object:
    try:
        return action()
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def test_the_memory_answers_as_the_real_one(either: FsOps, tmp_path: Path) -> None:
    fs, root = either, str(tmp_path)

    def at(name: str) -> str:
        return os.path.join(root, name)

    fs.write_file(at("f"), b"file", 0o640)
    answers = [
        fs.make_dirs(at("d/e"), 0o2750) == [at("d"), at("d/e")],
        fs.make_dirs(at("d/e"), 0o2750),
        attempt(lambda: fs.make_dirs(at("f"), 0o755)),
        attempt(lambda: fs.make_dirs(at("f/g"), 0o755)),
        attempt(lambda: fs.rename_noreplace(at("f"), at("d"))),
        attempt(lambda: fs.rename_noreplace(at("none"), at("free"))),
        attempt(lambda: fs.rename_noreplace(at("f"), at("none/g"))),
        attempt(lambda: fs.rename_replace(at("f"), at("d"))),
        attempt(lambda: fs.rename_noreplace(at("f"), at("x" * 256))),
        attempt(lambda: fs.rename_noreplace(at("f"), at("d/e/g"))),
        attempt(lambda: fs.rmdir(at("d"))),
        attempt(lambda: fs.rmdir(at("d/e/g"))),
        attempt(lambda: fs.unlink(at("none"))),
        attempt(lambda: fs.unlink(at("none"), missing_ok=True)),
        attempt(lambda: fs.unlink(at("d"))),
        attempt(lambda: fs.fsync_dir(at("none"))),
        attempt(lambda: fs.fsync_dir(at("d/e/g"))),
        attempt(lambda: fs.list_dir(at("none"))),
        attempt(lambda: fs.seal(at("none"), 0o600)),
        bool(fs.seal(at("d/e/g"), 0o604)),
        fs.lstat(at("none")),
        fs.lstat(at("d/e/g/h")),
        fs.list_dir(at("d")),
        attempt(lambda: fs.move_noreplace(at("d/e/g"), at("d/e/g"))),
    ]
    status, folder = fs.lstat(at("d/e/g")), fs.lstat(at("d"))
    assert status is not None
    assert folder is not None
    fs.remove_tree(at("d"))

    # fmt: off
    assert answers == [
        True, [], "EEXIST", "EEXIST", "EEXIST", "ENOENT", "ENOENT", "EISDIR", "ENAMETOOLONG", None,
        "ENOTEMPTY", "ENOTDIR", "ENOENT", None, "EISDIR", "ENOENT", "ENOTDIR", "ENOENT", "ENOENT",
        True, None, None, ["e"], "EEXIST",
    ]
    # fmt: on
    assert (status.st_size, stat.S_IMODE(status.st_mode), status.st_nlink) == (4, 0o604, 1)
    assert (stat.S_ISDIR(folder.st_mode), stat.S_IMODE(folder.st_mode)) == (True, 0o2750)
    assert fs.list_dir(root) == []


def test_same_bytes_is_said_of_regular_files_only(either: FsOps, tmp_path: Path) -> None:
    def at(name: str) -> str:
        return os.path.join(tmp_path, name)

    for name, data in (("a", b"one"), ("b", b"one"), ("c", b"two"), ("d", b"longer")):
        either.write_file(at(name), data, 0o644)
    either.make_dirs(at("folder"), 0o755)
    same = {name: either.same_bytes(at("a"), at(name)) for name in ("a", "b", "c", "d", "folder", "none")}
    assert same == {"a": True, "b": True, "c": False, "d": False, "folder": False, "none": False}
    assert not either.same_bytes(at("none"), at("none"))


def test_a_link_to_the_same_bytes_is_not_the_same_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")
    (tmp_path / "link").symlink_to("a")
    os.mkfifo(tmp_path / "fifo")
    for other in ("link", "fifo"):
        assert not RealFs().same_bytes(str(tmp_path / "a"), str(tmp_path / other))


def exercise(fs: FsOps, root: str) -> None:
    """Pass every fault point that one file system can pass."""
    fs.make_dirs(f"{root}/d", 0o755)
    fs.write_file(f"{root}/d/a", b"a", 0o644)
    fs.seal(f"{root}/d/a", 0o600)
    fs.rename_noreplace(f"{root}/d/a", f"{root}/d/b")
    fs.fsync_dir(f"{root}/d")
    fs.unlink(f"{root}/d/b")
    fs.rmdir(f"{root}/d")
    fs.remove_tree(f"{root}/d")


FS_POINTS = [name for name in faults.POINTS if name.startswith("fs.") and name != "fs.copy"]


@pytest.mark.parametrize("point", FS_POINTS)
def test_every_point_can_make_its_effect_fail(point: str, either: FsOps, tmp_path: Path) -> None:
    faults.arm(f"{point}:1:EDQUOT")

    with pytest.raises(OSError, match="injected") as caught:
        exercise(either, str(tmp_path))

    assert caught.value.errno == errno.EDQUOT
    names = either.list_dir(f"{tmp_path}/d") if either.lstat(f"{tmp_path}/d") else []
    assert not [name for name in names if name.startswith(TEMP_PREFIX)]


@pytest.mark.parametrize("make", [RealFs, MemoryFs])
def test_what_the_disk_does_not_take_is_said_as_that(make: Callable[[], FsOps], tmp_path: Path) -> None:
    """After a failed fsync the kernel calls the pages clean: another one would succeed and prove nothing."""
    fs = make()
    fs.make_dirs(str(tmp_path), 0o755)
    fs.write_file(str(tmp_path / "a"), b"a", 0o644)
    faults.arm("fs.fsync_file:1:EIO")
    with pytest.raises(NotDurableError) as caught:
        fs.seal(str(tmp_path / "a"), 0o644)
    assert caught.value.errno == errno.EIO
