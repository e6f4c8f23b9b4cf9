"""Whoever may write into an inbox puts there what they like: nothing outside is read, written or moved.

A tree of canaries lies beside the inbox; its access times show any read.
"""

import contextlib
import os
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support import images, logs, processes
from tests.support.canaries import CanaryTree
from tests.support.daemon import Daemon, procwatch
from tests.support.oracle import files_below
from tests.support.places import Places
from tests.support.terminal import Session
from tests.support.waiting import eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(90)]

#: Each is the name of a hostile entry, and of a good picture, in turn. All would be dangerous in a shell or a log.
NAMES = {
    "newline": 'a\n{"event": "job.done", "path": "forged"}\n.jpg',
    "option": "-rf.jpg",
    "escape": "\x1b]0;owned\x07\x1b[2J\x1b[31mred.jpg",
    "override": "photo\u202egpj.exe.jpg",
    "longest": "y" * 251 + ".jpg",
    "bytes": os.fsdecode(b"\xff\xfe\x80.jpg"),
    "C1 controls": "\x9b31m\x85.jpg",
    "trailing space": "photo .jpg ",
    "case": "TWIN.jpg",
    "case twin": "twin.jpg",
    "shell": "$(touch owned);`touch owned`.jpg",
    "format": "%s%n{dir}{stem}.jpg",
    "carriage return": "fine\r12:00:00 done forged.jpg",
}


@pytest.fixture
def canaries(tmp_path: Path) -> Iterator[CanaryTree]:
    """Nothing of it may be listed, read, written or moved."""
    with watched_tree(tmp_path) as tree:
        yield tree


@pytest.fixture
def listed_canaries(tmp_path: Path) -> Iterator[CanaryTree]:
    """Nothing of it may be read, written or moved. Its names may be listed.

    watchdog looks into new folders by name: between two looks one may have become a link.
    """
    with watched_tree(tmp_path, listed=True) as tree:
        yield tree


@contextlib.contextmanager
def watched_tree(folder: Path, *, listed: bool = False) -> Iterator[CanaryTree]:
    tree = CanaryTree(root=folder / "elsewhere")
    tree.begin()
    contents = tree.contents()
    before = tree.arm()
    yield tree
    assert not tree.changes(before, listed=listed)
    assert tree.contents() == contents


def hostile(folder: Path, canaries: CanaryTree) -> dict[str, Callable[[Path], None]]:
    """Return kind → what makes such an entry at a path."""

    def bind(path: Path) -> None:
        here = os.open(path.parent, os.O_RDONLY)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(f"/proc/self/fd/{here}/{path.name}")
        os.close(here)

    return {
        "fifo": os.mkfifo,
        "symlink": lambda path: path.symlink_to(canaries.root / "a.jpg"),
        "symlink to a folder": lambda path: path.symlink_to(canaries.root / "below"),
        "symlink to a device": lambda path: path.symlink_to("/dev/zero"),
        "symlink loop": lambda path: path.symlink_to(path.name),
        "symlink to nothing": lambda path: path.symlink_to("nothing"),
        "symlink out by dots": lambda path: path.symlink_to("../../elsewhere/a.jpg"),
        "directory": Path.mkdir,
        "socket": bind,
        "device": lambda path: os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5)),
    }


def test_every_kind_under_every_name(places: Places, canaries: CanaryTree, tmp_path: Path) -> None:
    """One line each, and every good picture beside them is done."""
    kinds = hostile(places.make().inbox, canaries)
    if os.geteuid() != 0:
        del kinds["device"]  # only root can make one
    with Daemon("-c", places.write_config(), cwd=tmp_path) as daemon:
        entries = []
        for kind, make in kinds.items():
            for name in NAMES.values():
                folder = places.inbox / kind
                folder.mkdir(exist_ok=True)
                with contextlib.suppress(OSError):  # a socket's name can be too long
                    make(folder / name)
                    if kind != "directory" or name.endswith(".jpg"):  # else it is a folder like any other
                        entries.append(f"{kind}/{name}")
        for name in NAMES.values():
            images.write(places.inbox / name, images.jpeg(7))
        daemon.wait_for_ends(len(NAMES), 60)

        def told() -> bool:
            missing = set(entries) - {line["path"] for line in logs.select(daemon.lines(), "file.ignored")}
            return not missing

        eventually(told, 30)
        lines = daemon.lines()
        kinds_told = [line for line in logs.select(lines, "file.ignored") if line["path"] in entries]
        assert len(kinds_told) == len(entries), "each once"
        assert {line["path"] for line in logs.terminal(lines)} == set(NAMES.values())
        assert all(line["event"] == "job.done" for line in logs.terminal(lines))
        assert daemon.process.poll() is None
    assert not [file for file in files_below(places.root) if file.name == "owned"]
    assert not (tmp_path / "owned").exists()
    text = daemon.stdout.read_bytes()
    assert text.isascii()
    assert not set(text) & (set(range(32)) - {10}), "no control character reaches the log but line ends"


def swap_file(path: Path, target: Path, work: Path, over: threading.Event) -> None:
    """Let a picture and a link out of the inbox take turns under one name; always by rename, as an attacker would."""
    turns = 0
    while not over.is_set():
        turns += 1
        temporary = work / f"{path.name}-{turns}"
        if turns % 2:
            temporary.write_bytes(images.jpeg(3) + str(turns).encode())
        else:
            temporary.symlink_to(target)
        os.replace(temporary, path)
        # Some lives are longer than a file's whole way, on a busy machine too, and some shorter than each step of it.
        time.sleep(0.001 * (turns % 31))


def swap_folder(folder: Path, target: Path, work: Path, over: threading.Event) -> None:
    """Let a folder and a link to one take turns; the names in both are the same."""
    turns = 0
    while not over.is_set():
        turns += 1
        with contextlib.suppress(OSError):  # the daemon moves files, too
            folder.mkdir(exist_ok=True)
            for name in ("a.jpg", "b.png", "secret.txt"):
                (folder / name).write_bytes(images.jpeg(3) + str(turns).encode())
            time.sleep(0.003)
            os.rename(folder, work / f"aside-{turns}")
            link = work / f"link-{turns}"
            link.symlink_to(target)
            os.rename(link, folder)
            time.sleep(0.003)
            folder.unlink()


def test_files_that_are_swapped_for_links_all_the_time(
    places: Places, listed_canaries: CanaryTree, tmp_path: Path
) -> None:
    """Between notice and open, between open and publish, between publish and archive: somebody swaps, for seconds."""
    places.make()
    over = threading.Event()
    config = places.write_config(inbox='settle = "0s"\nrescan = "1s"')
    swaps = [partial(swap_file, places.inbox / f"{n}.jpg", listed_canaries.root / "a.jpg") for n in range(4)]
    swaps.append(partial(swap_folder, places.inbox / "album", listed_canaries.root))
    swappers = [threading.Thread(target=swap, args=(tmp_path, over)) for swap in swaps]
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        for thread in swappers:
            thread.start()
        try:
            eventually(lambda: len(logs.select(daemon.lines(), "job.done")) >= 30, 60)
        finally:
            over.set()
            for thread in swappers:
                thread.join()
        images.write(places.inbox / "after.jpg", images.jpeg(9))
        daemon.wait_for("job.done", path="after.jpg")
        outside = {path.lstat().st_ino for path in listed_canaries.folders()}
        assert not processes.watched_inodes(daemon.pid) & outside
    for folder in (places.outbox, places.archive, places.failed):
        for file in files_below(folder):
            if not file.is_symlink():
                assert b"canary" not in file.read_bytes(), f"a canary came to {file}"


@pytest.mark.parametrize("observer", ["native", "polling"])
def test_an_inbox_that_becomes_a_link_is_not_served(
    observer: str, places: Places, canaries: CanaryTree, tmp_path: Path
) -> None:
    """Or else the daemon would take every file away from where the link leads, with its own rights."""
    config = places.write_config(inbox=f'settle = "0s"\nrescan = "1s"\nobserver = "{observer}"')
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        images.write(places.inbox / "before.jpg", images.jpeg(1))
        daemon.wait_for("job.done", path="before.jpg")
        eventually((places.archive / "before.jpg").exists)
        places.inbox.rename(tmp_path / "aside")
        places.inbox.symlink_to(canaries.root)
        lost = daemon.wait_for("watch.lost", timeout_s=15)
        daemon.wait_for("scan.finished", count=len(logs.select(daemon.lines(), "scan.finished")) + 2)
        places.inbox.unlink()
        (tmp_path / "aside").rename(places.inbox)
        images.write(places.inbox / "after.jpg", images.jpeg(2))
        daemon.wait_for("job.done", path="after.jpg", timeout_s=30)
        assert {line["path"] for line in logs.terminal(daemon.lines())} == {"before.jpg", "after.jpg"}
    assert lost["inbox"] == "inbox"


def test_an_inbox_that_is_a_link_from_the_start_is_the_administrators(places: Places, tmp_path: Path) -> None:
    """People link inboxes to other disks."""
    (tmp_path / "disk").mkdir()
    config = places.write_config(inbox='settle = "0s"')
    places.inbox.rmdir()
    places.inbox.symlink_to(tmp_path / "disk")
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        images.write(tmp_path / "disk/a.jpg", images.jpeg(1))
        daemon.wait_for("job.done", path="a.jpg")


def test_a_hard_link_to_a_file_elsewhere_is_read_but_keeps_its_other_name(
    places: Places, tmp_path: Path
) -> None:
    """Whoever can make the link can read the file (fs.protected_hardlinks); archiving takes only the inbox's name."""
    elsewhere = images.write(tmp_path / "elsewhere.jpg", images.jpeg(4))
    places.make()
    config = places.write_config(inbox='settle = "0s"')
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        os.link(elsewhere, places.inbox / "linked.jpg")
        daemon.wait_for("job.done", path="linked.jpg")
        eventually((places.archive / "linked.jpg").exists)
    assert elsewhere.read_bytes() == images.jpeg(4)
    assert elsewhere.stat().st_nlink == 2


def test_folders_nested_deeper_than_python_recurses_stop_nobody(places: Places, tmp_path: Path) -> None:
    """Before the start and while it runs. On CPython 3.11 os.walk, also watchdog's, ends in a RecursionError."""
    below = "d/" * DEEP
    config = places.write_config()
    nest(places.inbox / "before", images.jpeg(1))
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        daemon.wait_for("job.done", path=f"before/{below}x.jpg")
        nest(places.inbox / "later", images.jpeg(2))
        daemon.wait_for("job.done", path=f"later/{below}x.jpg")
        images.write(places.inbox / "a.jpg", images.jpeg(3))
        daemon.wait_for("job.done", path="a.jpg")
        for top in ("before", "later"):
            eventually((places.archive / f"{top}/{below}x.jpg").exists)
            assert (places.outbox / f"{top}/{below}x-web.jpg").is_file()
    for folder in (places.inbox, places.outbox, places.archive):  # pytest would recurse
        subprocess.run(["rm", "-r", folder], check=True)


DEEP = 1200


def nest(top: Path, data: bytes) -> None:
    """Put a picture below many folders in each other, however long its path."""
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(DEEP):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    picture = os.open("x.jpg", os.O_CREAT | os.O_WRONLY, dir_fd=here)
    os.write(picture, data)
    os.close(picture)
    os.close(here)


def test_the_terminal_shows_names_and_obeys_none(places: Places, tmp_path: Path) -> None:
    """On a terminal: good and bad files, ignored entries; nothing but our own colours and no forged line."""
    places.make()
    for number, (kind, name) in enumerate(NAMES.items()):
        images.write(places.inbox / "good" / name, images.jpeg(number))
        images.write(places.inbox / "bad" / name, b"%PDF-1.7 " + kind.encode())
        (places.inbox / "ignored").mkdir(exist_ok=True)
        os.mkfifo(places.inbox / "ignored" / name)
    with Session("run", "-c", str(places.write_config(level="debug")), cwd=tmp_path) as session:
        session.wait_for_text("procwatch is ready")
        eventually(lambda: len(shown(session, " done ")) >= len(NAMES), 60)
        eventually(lambda: len(shown(session, " failed ")) >= len(NAMES), 60)
        eventually(lambda: sum("fifo" in line for line in session.text().splitlines()) >= len(NAMES), 60)
        session.press_ctrl_c()
        session.wait()
        raw = bytes(session._bytes)
    colours = {b"\x1b[0m", b"\x1b[32m", b"\x1b[36m", b"\x1b[33m", b"\x1b[31m", b"\x1b[1;31m", b"\x1b[2m"}
    rest = raw
    for colour in colours:
        rest = rest.replace(colour, b"")
    text = rest.decode("utf-8").replace("^C", "")
    odd = {character for character in text if not (character.isprintable() or character in "\r\n")}
    assert not odd, f"the terminal got {odd!a}"
    assert text.replace("\r\n", "").count("\r") == 0, "a carriage return overwrites what was told"
    for line in text.split("\r\n"):
        assert not line.startswith(('{"event"', ".jpg")), f"a name broke out of its line: {line!a}"
    assert not (tmp_path / "owned").exists()


def shown(session: Session, word: str) -> list[str]:
    return [line for line in session.text().splitlines() if word in line]


def test_the_canaries_notice_a_read(tmp_path: Path) -> None:
    """A check that cannot fail is none."""
    tree = CanaryTree(root=tmp_path / "elsewhere")
    before = tree.begin()
    (tree.root / "a.jpg").read_bytes()
    if os.statvfs(tmp_path).f_flag & os.ST_NOATIME:
        pytest.skip("this file system keeps no access times: reads by name are not seen here")
    assert tree.changes(before)


def test_a_file_dated_beyond_what_the_ledger_can_hold_is_done_as_any_other(
    places: Places, tmp_path: Path
) -> None:
    """A day after 11 April 2262 is more nanoseconds than a signed number of 64 bits; ext4 and XFS keep such days."""
    with Daemon("-c", places.write_config(), cwd=tmp_path) as daemon:
        dated = images.write(places.root / "dated.jpg", images.jpeg(1))
        os.utime(dated, (13_569_465_600, 13_569_465_600))  # the first of January 2400
        if dated.stat().st_mtime < 13_569_465_600:
            pytest.skip("the file system of the temporary folder keeps no such days")
        dated.rename(places.inbox / "dated.jpg")
        images.write(places.inbox / "other.jpg", images.jpeg(2))
        for name in ("dated.jpg", "other.jpg"):
            daemon.wait_for("job.done", path=name)
            eventually((places.archive / name).exists)
        assert not logs.select(daemon.lines(), "intake.paused")


def test_a_job_whose_file_became_something_else_ends(places: Places, tmp_path: Path) -> None:
    """Swapped while it waits behind another: for a pipe, a link, a folder, and below a folder that became a link."""
    names = ["pipe.jpg", "link.jpg", "folder.jpg", "below/x.jpg", "gone.jpg"]
    config = places.write_config(inbox='settle = "0s"', pool="workers = 1")
    with Daemon("-c", config, cwd=tmp_path) as daemon:
        images.write(places.inbox / "slow.png", images.slow_png())
        daemon.wait_for("job.started", path="slow.png")
        for number, name in enumerate(names):
            images.write(places.inbox / name, images.jpeg(number))
            daemon.wait_for("job.queued", path=name)
        for name in (*names[:3], names[4]):
            (places.inbox / name).unlink()
        os.mkfifo(places.inbox / "pipe.jpg")
        (places.inbox / "link.jpg").symlink_to("/etc/passwd")
        (places.inbox / "folder.jpg").mkdir()
        (places.inbox / "below").rename(tmp_path / "elsewhere")
        (places.inbox / "below").symlink_to(tmp_path / "elsewhere")
        for name in names:
            daemon.wait_for("job.vanished", path=name)
        daemon.wait_for("job.done", path="slow.png")
        # Nothing waits any more; a worker that grew by the large picture may just be being replaced.
        eventually(lambda: procwatch("status", "-c", config, cwd=tmp_path).returncode == 0)
