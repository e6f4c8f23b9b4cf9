"""Opening and looking at what is really in a folder."""

import errno
import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from procwatch import fdopen
from procwatch.fdopen import READ_FLAGS, open_beneath, open_source, walk_at
from procwatch.intake.look import has_open_writer, take_look
from tests.support.unprivileged import as_nobody, public_folder

pytestmark = pytest.mark.integration

JPEG = b"\xff\xd8\xff\xe0" + b"0" * 100 + b"\xff\xd9"
PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 100 + b"\0\0\0\0IEND\xaeB`\x82"


@pytest.fixture(params=["openat2", "walk"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run with openat2 and as on a kernel without it."""
    if request.param == "walk":

        def no_openat2(root_fd: int, path: bytes, flags: int) -> int:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

        monkeypatch.setattr(fdopen, "_openat2", no_openat2)
    return str(request.param)


@pytest.mark.parametrize(
    ("data", "complete"),
    [(JPEG, True), (JPEG[:-1], False), (PNG, True), (PNG[:-1], False), (b"", False), (b"RIFF" * 20, False)],
)
def test_a_file_is_told_with_its_trailer(tmp_path: Path, way: str, data: bytes, complete: bool) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "a.jpg").write_bytes(data)
    look = take_look(str(tmp_path), "b/a.jpg", peek=True)
    assert (look.kind, look.complete, look.nlink) == ("file", complete, 1)
    assert look.fingerprint is not None
    assert look.fingerprint.size == len(data)
    assert look.ctime_ns == (tmp_path / "b" / "a.jpg").stat().st_ctime_ns
    assert not take_look(str(tmp_path), "b/a.jpg", peek=False).complete


@pytest.mark.timeout(10)
def test_odd_entries_are_told_by_kind_without_waiting_or_following(tmp_path: Path, way: str) -> None:
    os.mkfifo(tmp_path / "fifo.jpg")
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "link.jpg").symlink_to("/etc/passwd")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "way").symlink_to("folder.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.jpg"))
    kinds = {
        name: take_look(str(tmp_path), name, peek=True).kind
        for name in (
            "fifo.jpg",
            "folder.jpg",
            "link.jpg",
            "loop",
            "socket.jpg",
            "way/a.jpg",
            "no.jpg",
            "no/a.jpg",
        )
    }
    assert kinds == {
        "fifo.jpg": "fifo",
        "folder.jpg": "directory",
        "link.jpg": "symlink",
        "loop": "symlink",
        "socket.jpg": "socket",
        "way/a.jpg": "symlink",
        "no.jpg": "missing",
        "no/a.jpg": "missing",
    }
    assert take_look("/dev", "null", peek=True).kind == "device"


def test_a_file_without_read_permission_is_unreadable_and_keeps_its_fingerprint(way: str) -> None:
    with public_folder() as folder:
        (folder / "a.jpg").write_bytes(JPEG)
        (folder / "a.jpg").chmod(0)
        (folder / "shut").mkdir(0)
        with as_nobody():
            look = take_look(str(folder), "a.jpg", peek=True)
            shut = take_look(str(folder), "shut/a.jpg", peek=True)
    assert (look.kind, look.errno) == ("unreadable", errno.EACCES)
    assert look.fingerprint is not None
    assert (shut.kind, shut.errno, shut.fingerprint) == ("unreadable", errno.EACCES, None)


@pytest.mark.parametrize(
    ("path", "code"),
    [("../a", errno.EXDEV), ("b/../../a", errno.EXDEV), ("/etc/passwd", errno.EINVAL), ("", errno.EINVAL), ("a\0b", errno.EINVAL)],
)  # fmt: skip
def test_nothing_outside_the_root_is_opened(tmp_path: Path, way: str, path: str, code: int) -> None:
    (tmp_path / "b").mkdir()
    with pytest.raises(OSError, match=rf"Errno {code}\]"):
        open_beneath(str(tmp_path), path)


def test_a_source_is_a_regular_file_reached_without_links(tmp_path: Path, way: str) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG)
    (tmp_path / "link.jpg").symlink_to("a.jpg")
    os.mkfifo(tmp_path / "fifo.jpg")
    descriptor = open_source(str(tmp_path), "a.jpg")
    with os.fdopen(descriptor, "rb") as source:
        assert source.read() == JPEG
        assert not os.get_inheritable(source.fileno())
    for name, code in (("link.jpg", errno.ELOOP), ("fifo.jpg", errno.ENOTSUP), ("no.jpg", errno.ENOENT)):
        with pytest.raises(OSError, match=rf"Errno {code}\]"):
            open_source(str(tmp_path), name)


def test_any_bytes_are_a_name(tmp_path: Path, way: str) -> None:
    name = os.fsdecode(b"\xff\xfe\n.jpg")
    Path(os.path.join(tmp_path, name)).write_bytes(JPEG)
    assert take_look(str(tmp_path), name, peek=True).complete


def test_looking_leaks_no_descriptor(tmp_path: Path, way: str) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "a.jpg").write_bytes(JPEG)
    (tmp_path / "link").symlink_to("b")
    before = len(os.listdir("/proc/self/fd"))
    for name in ("b/a.jpg", "b", "no", "link/a.jpg", "../x"):
        take_look(str(tmp_path), name, peek=True, ask_writers=True)
    assert len(os.listdir("/proc/self/fd")) == before


def test_the_walk_refuses_a_link_on_the_way_as_openat2_does(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "link").symlink_to("b")
    root = os.open(tmp_path, os.O_PATH)
    try:
        with pytest.raises(OSError, match=rf"Errno {errno.ELOOP}\]"):
            walk_at(root, b"link/a.jpg", READ_FLAGS)
    finally:
        os.close(root)


def test_the_kernel_tells_whether_a_file_is_open_for_writing(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    with path.open("wb") as writer:
        writer.write(JPEG)
        writer.flush()
        during = take_look(str(tmp_path), "a.jpg", peek=True, ask_writers=True).open_writer
        assert has_open_writer(str(path)) is during
    after = take_look(str(tmp_path), "a.jpg", peek=True, ask_writers=True).open_writer
    assert has_open_writer(str(path)) is after
    if (during, after) == (None, None):
        pytest.skip("this file system grants no leases")
    assert (during, after) == (True, False)
    assert take_look(str(tmp_path), "a.jpg", peek=True).open_writer is None


def ask_in_a_look(path: Path) -> None:
    assert take_look(str(path.parent), path.name, peek=True, ask_writers=True).kind == "file"


def ask_only_that(path: Path) -> None:
    has_open_writer(str(path))


@pytest.mark.parametrize("ask", [ask_in_a_look, ask_only_that])
def test_a_writer_that_comes_while_we_ask_neither_fails_nor_ends_us(
    ask: Callable[[Path], None], tmp_path: Path
) -> None:
    """A broken lease sends a signal, and the default one would end the process."""
    path = tmp_path / "a.jpg"
    path.write_bytes(JPEG)
    assert signal.getsignal(signal.SIGIO) is signal.SIG_DFL
    done, failures = threading.Event(), []

    def write() -> None:
        try:
            for _ in range(3000):
                os.close(os.open(path, os.O_WRONLY))
        except OSError as error:
            failures.append(error)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    while not done.is_set():
        ask(path)
    writer.join()
    assert failures == []
