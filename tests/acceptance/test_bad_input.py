"""Whatever lands in the inbox ends as one terminal or one `file.ignored` line, and the daemon goes on."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import images, logs, privileges
from tests.support.corpus import corpus, listed
from tests.support.daemon import Daemon, procwatch
from tests.support.oracle import Oracle, files_below, read_error
from tests.support.places import Places
from tests.support.waiting import eventually

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(60)]

LONG_ASCII = "x" * 251 + ".jpg"
LONG_UNICODE = "é" * 125 + "x" + ".jpg"  # 250 + 1 + 4 bytes
NAMES = {
    "newline": "two\nlines.jpg",
    "not UTF-8": os.fsdecode(b"caf\xe9-\xff.jpg"),
    "255 bytes": LONG_ASCII,
    "255 bytes of two-byte characters": LONG_UNICODE,
    "escape sequence": "\x1b[31mred\x1b[0m.jpg",
    "right-to-left override": "photo\u202egpj.exe.jpg",
    "option": "-rf.jpg",
    "spaces": " a b .jpg",
    "no extension": "photo",
    "quotes": 'it\'s "q" $HOME `x`.jpg',
    "emoji": "🏔️.jpg",
}


@pytest.fixture
def daemon(places: Places, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon with short waits; when the test is over it must still work."""
    with Daemon("-c", places.write_config(), cwd=tmp_path) as running:
        yield running
        images.write(places.inbox / "still-alive.jpg", images.jpeg(99))
        running.wait_for("job.done", path="still-alive.jpg")


def broken() -> dict[str, tuple[bytes, set[str]]]:
    """Return name → (content, codes that fit)."""
    photo = images.noisy_jpeg(1, (800, 600))
    png = images.transparent_png(2)
    return {
        "text.jpg": (b"This is a letter, not a picture.\n" * 40, {"not-an-image"}),
        "empty.jpg": (b"", {"not-an-image", "truncated"}),
        "half.jpg": (photo[: len(photo) // 2], {"truncated"}),
        "half.png": (png[: len(png) // 2], {"truncated"}),
        "head.jpg": (photo[:20], {"truncated", "not-an-image"}),
        "page.png": (b"<!doctype html><title>404</title>" + b" " * 500, {"not-an-image"}),
        "script.jpg": (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
            {"not-an-image", "unsupported-format"},
        ),
        "zeros.webp": (bytes(5000), {"not-an-image"}),
    }


def test_files_that_are_no_pictures_fail_with_their_code(
    daemon: Daemon, places: Places, oracle: Oracle
) -> None:
    cases = broken()
    for name, (data, _) in cases.items():
        images.write(places.inbox / name, oracle.expect(name, data))
    lines = {line["path"]: line for line in daemon.wait_for_ends(len(cases))}
    for name, (data, codes) in cases.items():
        line = lines[name]
        assert line["event"] == "job.failed", line
        assert line["error"] in codes, line
        assert line["bytes_in"] == len(data)
        assert line["outputs"] == []
        eventually((places.failed / name).exists)
        assert oracle.error_file(name)["code"] == line["error"]
    oracle.eventually(failed=len(cases))


def test_an_error_file_says_what_happened(daemon: Daemon, places: Places) -> None:
    images.write(places.inbox / "album/letter.jpg", b"Dear reader, " * 100)
    failed = daemon.wait_for("job.failed", path="album/letter.jpg")
    eventually((places.failed / "album/letter.jpg").exists)  # the error file is written before it
    error = read_error(places.failed / "album/letter.jpg.error.json")
    assert error["code"] == failed["error"] == "not-an-image"
    assert error["reason"] == failed["reason"]
    assert error["attempt"] == failed["attempt"] == 1
    assert failed["worker_pid"] in error.values(), "the error file names the process"
    assert error["recipe"] == "web"


def test_things_that_are_not_files_are_ignored_with_one_warning_each(
    daemon: Daemon, places: Places, tmp_path: Path
) -> None:
    """A directory named like an image, a FIFO, a socket, symlinks: one `file.ignored`, also after rescans."""
    (places.inbox / "folder.jpg").mkdir()
    os.mkfifo(places.inbox / "fifo.jpg")
    secret = images.write(tmp_path / "secret.jpg", images.jpeg(1))
    (places.inbox / "link.jpg").symlink_to(secret)
    (places.inbox / "nowhere.jpg").symlink_to("does-not-exist")
    (places.inbox / "loop.jpg").symlink_to("loop.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(places.inbox, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{here}/socket.jpg")  # the real path may exceed the 108 bytes of sun_path
        os.close(here)
        kinds = {
            "folder.jpg": "directory",
            "fifo.jpg": "fifo",
            "link.jpg": "symlink",
            "nowhere.jpg": "symlink",
            "loop.jpg": "symlink",
            "socket.jpg": "socket",
        }
        for name, kind in kinds.items():
            line = daemon.wait_for("file.ignored", path=name)
            assert (line["kind"], line["level"]) == (kind, "warning"), line
        daemon.wait_for("scan.finished", count=3, timeout_s=15)
    for name in kinds:
        assert len(logs.select(daemon.lines(), "file.ignored", path=name)) == 1, name
        assert os.path.lexists(places.inbox / name)
    assert not logs.terminal(daemon.lines())
    assert not files_below(places.outbox)


def test_a_picture_in_a_folder_that_is_named_like_one_is_processed(
    daemon: Daemon, places: Places, oracle: Oracle
) -> None:
    path = "album.jpg/inside.jpg"
    images.write(places.inbox / path, oracle.expect(path, images.jpeg(7)))
    daemon.wait_for("job.done", path=path)
    oracle.eventually(archive=1)


def test_a_symlinked_folder_is_not_followed(daemon: Daemon, places: Places, tmp_path: Path) -> None:
    images.write(tmp_path / "elsewhere/private.jpg", images.jpeg(1))
    (places.inbox / "album").symlink_to(tmp_path / "elsewhere")
    daemon.wait_for("file.ignored", path="album")
    daemon.wait_for("scan.finished", count=2)
    assert not logs.terminal(daemon.lines())
    assert (tmp_path / "elsewhere/private.jpg").exists()


def test_an_unreadable_file_fails_as_not_readable(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    prefix = privileges.without_override()
    config = places.write_config()
    with Daemon("-c", config, cwd=tmp_path, prefix=prefix) as daemon:
        data = oracle.expect("locked.jpg", images.jpeg(1))
        locked = images.write(tmp_path / "locked.jpg", data)
        locked.chmod(0o000)
        os.rename(locked, places.inbox / "locked.jpg")
        failed = daemon.wait_for("job.failed", path="locked.jpg")
        assert failed["error"] == "not-readable"
        images.write(places.inbox / "open.jpg", oracle.expect("open.jpg", images.jpeg(2)))
        daemon.wait_for("job.done", path="open.jpg")
        eventually((places.failed / "locked.jpg").exists)
        (places.failed / "locked.jpg").chmod(0o600)
        oracle.eventually(archive=1, failed=1)


def test_a_file_that_becomes_readable_in_time_is_processed(
    places: Places, oracle: Oracle, tmp_path: Path
) -> None:
    """Many tools set the mode last."""
    config = places.write_config(inbox='incomplete_after = "20s"\nsettle = "200ms"')
    with Daemon("-c", config, cwd=tmp_path, prefix=privileges.without_override()) as daemon:
        data = oracle.expect("late.jpg", images.jpeg(1))
        source = images.write(tmp_path / "late.jpg", data)
        source.chmod(0o000)
        os.rename(source, places.inbox / "late.jpg")
        daemon.wait_for("scan.finished", count=2)
        (places.inbox / "late.jpg").chmod(0o644)
        daemon.wait_for("job.done", path="late.jpg")
        oracle.eventually(archive=1)


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_strange_names_are_done(name: str, places: Places, tmp_path: Path) -> None:
    """A good picture under any name is done; its outputs keep as much of the name as fits."""
    data = images.jpeg(1)
    images.write(places.make().inbox / name, data)
    ended = procwatch("once", "-c", places.write_config(), cwd=tmp_path)
    assert ended.returncode == 0, ended
    assert (places.archive / name).read_bytes() == data
    outputs = files_below(places.outbox)
    assert len(outputs) == 2, outputs
    for file in outputs:
        assert images.size(file) == (320, 240)
        assert os.fsencode(file.name)[:100].startswith(os.fsencode(Path(name).stem)[:100])
        assert len(os.fsencode(file.name)) <= 255


def test_a_bad_file_with_the_longest_name_still_gets_its_error_file(daemon: Daemon, places: Places) -> None:
    """NAME.error.json does not fit into 255 bytes: it is cut, and the file is still moved."""
    for name in (LONG_ASCII, LONG_UNICODE):
        images.write(places.inbox / name, b"not a picture " * 50)
        daemon.wait_for("job.failed", path=name)
        eventually((places.failed / name).exists)
    errors = [file for file in files_below(places.failed) if file.name.endswith(".error.json")]
    assert len(errors) == 2
    assert {read_error(file)["code"] for file in errors} == {"not-an-image"}


def test_a_bad_file_with_bytes_that_are_not_utf_8_gets_its_error_file(daemon: Daemon, places: Places) -> None:
    name = os.fsdecode(b"\xff\xfe.jpg")
    images.write(places.inbox / name, b"not a picture " * 50)
    daemon.wait_for("job.failed", path=name)
    eventually((places.failed / name).exists)
    assert read_error(places.failed / f"{name}.error.json")["code"] == "not-an-image"


def test_heic_without_its_plug_in_names_the_extra(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    """pi_heif may be installed here, so it is hidden from the program."""
    data = corpus("formats", "IMG_2682.heic").read_bytes()
    hooks = tmp_path / "hooks"
    images.write(hooks / "sitecustomize.py", b"import sys\nsys.modules['pi_heif'] = None\n")
    with Daemon("-c", places.write_config(), cwd=tmp_path, env={"PYTHONPATH": str(hooks)}) as daemon:
        images.write(places.inbox / "phone.heic", oracle.expect("phone.heic", data))
        failed = daemon.wait_for("job.failed", path="phone.heic")
        assert failed["error"] == "format-not-enabled"
        assert "pip install '.[heic]'" in failed["reason"]
        oracle.eventually(failed=1)


def test_the_hostile_corpus_ends_in_order(places: Places, oracle: Oracle, tmp_path: Path) -> None:
    """Bombs, corrupt headers and truncated files: one terminal line each, none takes a worker with it."""
    hostile = listed("hostile")
    places.make()
    for file in hostile:
        images.write(places.inbox / file.name, oracle.expect(file.name, file.read_bytes()))
    with Daemon("-c", places.write_config(), cwd=tmp_path) as daemon:
        lines = daemon.wait_for_ends(len(oracle.dropped), 50)
        assert len(lines) == len(oracle.dropped)
        assert not logs.select(daemon.lines(), "pool.worker_lost")
        codes = {line["path"]: line.get("error") for line in lines}
        oracle.eventually(inbox=0)
    assert codes["truncated.jpg"] == "truncated"
    assert codes["65536-uint32-limit.png"] == "too-many-pixels"
    assert codes["check.svg"] in {"not-an-image", "unsupported-format"}
    assert "internal-error" not in codes.values(), codes
