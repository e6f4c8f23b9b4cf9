"""Effects on real file systems: names are never overwritten, files are whole or absent, links are refused."""

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from procwatch import faults
from procwatch.delivery import sys_calls
from procwatch.delivery.fsops import NotPlainFileError
from procwatch.delivery.real_fs import RealFs

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("no_faults")]

MTIME_NS = 1_600_000_000_123_456_789


@pytest.fixture
def fs() -> RealFs:
    return RealFs()


@pytest.fixture
def umask_077() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder on a file system of its own with 1 MiB of space."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def other_disk(tmp_path: Path) -> Iterator[Path]:
    """Yield a folder that lies on another file system than tmp_path."""
    shm = Path("/dev/shm")
    if not os.access(shm, os.W_OK) or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is not a second, writable file system here")
    folder = shm / f"procwatch-test-{os.getpid()}"
    folder.mkdir()
    yield folder
    RealFs().remove_tree(str(folder))


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def put(path: Path, data: bytes = b"data") -> str:
    path.write_bytes(data)
    os.utime(path, ns=(MTIME_NS, MTIME_NS))
    return str(path)


Renamer = Callable[[str, str], None]


@pytest.mark.parametrize(
    "rename",
    [sys_calls.rename_noreplace, sys_calls.rename_by_link, sys_calls.rename_over_placeholder],
    ids=["kernel", "link", "placeholder"],
)
class TestEveryWayToRenameWithoutReplacing:
    def test_a_free_name_is_taken(self, rename: Renamer, tmp_path: Path) -> None:
        src = put(tmp_path / "a")

        rename(src, str(tmp_path / "b"))

        assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"b": b"data"}
        assert (tmp_path / "b").stat().st_nlink == 1

    def test_a_name_that_exists_is_never_touched(self, rename: Renamer, tmp_path: Path) -> None:
        src, dst = put(tmp_path / "a", b"new"), put(tmp_path / "b", b"old")

        with pytest.raises(FileExistsError):
            rename(src, dst)

        assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a": b"new", "b": b"old"}

    def test_a_dangling_link_at_the_name_counts_as_existing(self, rename: Renamer, tmp_path: Path) -> None:
        src = put(tmp_path / "a")
        (tmp_path / "b").symlink_to(tmp_path / "nowhere")

        with pytest.raises(FileExistsError):
            rename(src, str(tmp_path / "b"))

        assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]

    def test_a_missing_source_leaves_nothing_at_the_name(self, rename: Renamer, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            rename(str(tmp_path / "a"), str(tmp_path / "b"))

        assert list(tmp_path.iterdir()) == []

    def test_names_that_are_not_utf8_are_kept(self, rename: Renamer, tmp_path: Path) -> None:
        src = put(tmp_path / "a")

        rename(src, str(tmp_path / os.fsdecode(b"\xff\n.jpg")))

        assert os.listdir(os.fsencode(tmp_path)) == [b"\xff\n.jpg"]

    def test_a_nul_does_not_cut_a_name_short(self, rename: Renamer, tmp_path: Path) -> None:
        src = put(tmp_path / "a")

        with pytest.raises(ValueError, match="null"):
            rename(src, str(tmp_path / "b\0c"))


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL])
def test_a_kernel_or_file_system_without_the_flag_is_worked_around(
    number: int, monkeypatch: pytest.MonkeyPatch, fs: RealFs, tmp_path: Path
) -> None:
    def refuse(src: str, dst: str) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(sys_calls, "renameat2_noreplace", refuse)
    src, dst = put(tmp_path / "a"), put(tmp_path / "taken", b"old")

    with pytest.raises(FileExistsError):
        fs.rename_noreplace(src, dst)
    fs.rename_noreplace(src, str(tmp_path / "b"))
    fs.make_dirs(str(tmp_path / "folder"), 0o755)
    fs.rename_noreplace(str(tmp_path / "folder"), str(tmp_path / "moved"))

    assert sorted(os.listdir(tmp_path)) == ["b", "moved", "taken"]


def test_a_crash_between_link_and_unlink_is_finished_by_renaming_again(tmp_path: Path) -> None:
    src = put(tmp_path / "a")
    os.link(src, tmp_path / "b")

    sys_calls.rename_by_link(src, str(tmp_path / "b"))

    assert os.listdir(tmp_path) == ["b"]


def test_replacing_takes_the_place_of_what_was_there(fs: RealFs, tmp_path: Path) -> None:
    src, dst = put(tmp_path / "a", b"new"), put(tmp_path / "b", b"old")

    fs.rename_replace(src, dst)

    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"b": b"new"}


@pytest.mark.usefixtures("umask_077")
class TestModesWhateverTheUmask:
    def test_every_folder_made_has_the_mode_asked_for(self, fs: RealFs, tmp_path: Path) -> None:
        made = fs.make_dirs(str(tmp_path / "x" / "y"), 0o2775)

        assert made == [str(tmp_path / "x"), str(tmp_path / "x" / "y")]
        assert [mode_of(Path(path)) for path in made] == [0o2775, 0o2775]

    def test_a_folder_that_was_there_keeps_its_own(self, fs: RealFs, tmp_path: Path) -> None:
        (tmp_path / "x").mkdir()

        assert fs.make_dirs(str(tmp_path / "x"), 0o2775) == []
        assert mode_of(tmp_path / "x") == 0o700

    def test_a_file_in_the_way_of_a_folder_is_an_error(self, fs: RealFs, tmp_path: Path) -> None:
        put(tmp_path / "x")

        with pytest.raises(FileExistsError):
            fs.make_dirs(str(tmp_path / "x"), 0o755)
        with pytest.raises(FileExistsError):
            fs.make_dirs(str(tmp_path / "x" / "y"), 0o755)

    def test_files_written_and_staged_get_theirs(self, fs: RealFs, tmp_path: Path) -> None:
        fs.write_file(str(tmp_path / "a"), b"{}", 0o664)
        assert mode_of(tmp_path / "a") == 0o664

        fs.seal(str(tmp_path / "a"), 0o640)
        assert mode_of(tmp_path / "a") == 0o640

    def test_a_staged_file_that_has_its_mode_is_not_changed(self, fs: RealFs, tmp_path: Path) -> None:
        """A change right before it makes each fsync commit the file system's journal."""
        fs.write_file(str(tmp_path / "a"), b"{}", 0o664)
        before = (tmp_path / "a").stat().st_ctime_ns

        fs.seal(str(tmp_path / "a"), 0o664)

        assert (tmp_path / "a").stat().st_ctime_ns == before


class TestWhatIsSwappedInForAStagedFile:
    @pytest.fixture(params=["symlink", "fifo", "hard link", "folder"])
    def swapped(self, request: pytest.FixtureRequest, tmp_path: Path) -> Path:
        path, victim = tmp_path / "0.jpg", tmp_path / "victim"
        put(victim)
        victim.chmod(0o600)
        makers: dict[str, Callable[[], object]] = {
            "symlink": lambda: path.symlink_to(victim),
            "fifo": lambda: os.mkfifo(path),
            "hard link": lambda: os.link(victim, path),
            "folder": path.mkdir,
        }
        makers[request.param]()
        return path

    def test_it_is_not_sealed(self, fs: RealFs, swapped: Path) -> None:
        before = mode_of(swapped)

        with pytest.raises(NotPlainFileError):
            fs.seal(str(swapped), 0o666)

        assert (mode_of(swapped), mode_of(swapped.parent / "victim")) == (before, 0o600)


def test_a_regular_file_with_one_link_is_sealed(fs: RealFs, tmp_path: Path) -> None:
    assert fs.seal(put(tmp_path / "a", b"12345"), 0o640).st_size == 5
    assert mode_of(tmp_path / "a") == 0o640


class TestMovingToAnotherFileSystem:
    def test_bytes_time_and_mode_arrive_and_the_source_goes(
        self, fs: RealFs, tmp_path: Path, other_disk: Path
    ) -> None:
        data = os.urandom(3_000_000)
        src, dst = put(tmp_path / "a.jpg", data), other_disk / "a.jpg"
        os.chmod(src, 0o640)

        fs.move_noreplace(src, str(dst))

        assert dst.read_bytes() == data
        assert (dst.stat().st_mtime_ns, mode_of(dst)) == (MTIME_NS, 0o640)
        assert list(tmp_path.iterdir()) == []
        assert os.listdir(other_disk) == ["a.jpg"]

    def test_a_name_taken_by_something_else_is_kept(
        self, fs: RealFs, tmp_path: Path, other_disk: Path
    ) -> None:
        src, dst = put(tmp_path / "a.jpg", b"new"), put(other_disk / "a.jpg", b"old")

        with pytest.raises(FileExistsError):
            fs.move_noreplace(src, dst)

        assert (Path(src).read_bytes(), Path(dst).read_bytes()) == (b"new", b"old")
        assert os.listdir(other_disk) == ["a.jpg"]

    def test_a_crash_before_the_source_was_removed_is_finished(
        self, fs: RealFs, tmp_path: Path, other_disk: Path
    ) -> None:
        src, dst = put(tmp_path / "a.jpg", b"same"), put(other_disk / "a.jpg", b"same")

        fs.move_noreplace(src, dst)

        assert list(tmp_path.iterdir()) == []
        assert os.listdir(other_disk) == ["a.jpg"]

    def test_a_source_that_changes_meanwhile_stays(
        self, fs: RealFs, tmp_path: Path, other_disk: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        src = put(tmp_path / "a.jpg", b"first")
        read = os.read

        def read_and_append(fd: int, size: int) -> bytes:
            data = read(fd, size)
            with open(src, "ab") as writer:
                writer.write(b" more")
            monkeypatch.setattr(os, "read", read)
            return data

        monkeypatch.setattr(os, "read", read_and_append)
        with pytest.raises(OSError, match="changed while") as caught:
            fs.move_noreplace(src, str(other_disk / "a.jpg"))

        assert caught.value.errno == errno.EBUSY
        assert Path(src).read_bytes() == b"first more"
        assert os.listdir(other_disk) == []

    def test_a_new_file_under_the_old_name_is_not_removed(
        self, fs: RealFs, tmp_path: Path, other_disk: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        src = put(tmp_path / "a.jpg", b"first")
        newer = put(tmp_path / "newer", b"second")
        monkeypatch.setattr(RealFs, "fsync_dir", lambda self, path: os.replace(newer, src))

        fs.move_noreplace(src, str(other_disk / "a.jpg"))

        assert Path(src).read_bytes() == b"second"
        assert (other_disk / "a.jpg").read_bytes() == b"first"

    def test_a_link_is_not_followed_over(self, fs: RealFs, tmp_path: Path, other_disk: Path) -> None:
        (tmp_path / "a.jpg").symlink_to("/etc/passwd")

        with pytest.raises(NotPlainFileError):
            fs.move_noreplace(str(tmp_path / "a.jpg"), str(other_disk / "a.jpg"))

        assert os.listdir(other_disk) == []


class TestAFullDisk:
    def test_a_file_written_leaves_the_old_one_and_no_part(self, fs: RealFs, small_disk: Path) -> None:
        path = small_disk / "x.json"
        fs.write_file(str(path), b"old", 0o664)

        with pytest.raises(OSError, match="No space") as caught:
            fs.write_file(str(path), bytes(2_000_000), 0o664)

        assert caught.value.errno == errno.ENOSPC
        assert {p.name: p.read_bytes() for p in small_disk.iterdir()} == {"x.json": b"old"}

    def test_a_file_moved_stays_where_it_was(self, fs: RealFs, tmp_path: Path, small_disk: Path) -> None:
        src = put(tmp_path / "a.jpg", bytes(2_000_000))

        with pytest.raises(OSError, match="No space"):
            fs.move_noreplace(src, str(small_disk / "a.jpg"))

        assert Path(src).stat().st_size == 2_000_000
        assert os.listdir(small_disk) == []


def test_copying_can_be_made_to_fail(fs: RealFs, tmp_path: Path, other_disk: Path) -> None:
    faults.arm("fs.copy:1:EIO")
    src = put(tmp_path / "a")

    with pytest.raises(OSError, match="injected"):
        fs.move_noreplace(src, str(other_disk / "a"))

    assert (Path(src).exists(), os.listdir(other_disk)) == (True, [])


def test_a_kill_is_a_real_one_and_comes_before_the_effect(tmp_path: Path) -> None:
    put(tmp_path / "a")
    program = (
        "import sys; from procwatch.delivery.real_fs import RealFs; RealFs().rename_noreplace(*sys.argv[1:])"
    )
    argv = [sys.executable, "-c", program, str(tmp_path / "a"), str(tmp_path / "b")]

    ended = subprocess.run(argv, env=os.environ | {faults.VARIABLE: "fs.rename:1"}, check=False, timeout=60)

    assert ended.returncode == -9
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize(
    "fault", ["fs.copy:1", "fs.fsync_file:1", "fs.rename:2", "fs.fsync_dir:1", "fs.unlink:1"]
)
def test_a_move_killed_at_any_point_is_finished_by_moving_again(
    fault: str, fs: RealFs, tmp_path: Path, other_disk: Path
) -> None:
    src, dst = put(tmp_path / "a", b"original"), str(other_disk / "a")
    program = (
        "import sys; from procwatch.delivery.real_fs import RealFs; RealFs().move_noreplace(*sys.argv[1:])"
    )
    argv = [sys.executable, "-c", program, src, dst]

    ended = subprocess.run(argv, env=os.environ | {faults.VARIABLE: fault}, check=False, timeout=60)
    assert ended.returncode == -9
    fs.move_noreplace(src, dst)

    assert list(tmp_path.iterdir()) == []
    assert {p.name: p.read_bytes() for p in other_disk.iterdir()} == {"a": b"original"}
