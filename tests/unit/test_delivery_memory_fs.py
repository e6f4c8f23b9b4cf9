"""The file system in memory loses exactly what its model says."""

import errno

import pytest

from procwatch import faults
from procwatch.delivery.fsops import NotPlainFileError
from procwatch.testing import FakeClock, MemoryFs

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("no_faults")]


@pytest.fixture
def fs() -> MemoryFs:
    fs = MemoryFs(mounts=["/archive"])
    fs.put("/staging/0.jpg", b"pixels", durable=False)
    fs.put_dir("/out")
    return fs


def cut(fs: MemoryFs, **spared: bool) -> MemoryFs:
    return fs.crash(len(fs.effects), **spared)


def test_a_renamed_file_without_any_sync_is_lost(fs: MemoryFs) -> None:
    fs.rename_noreplace("/staging/0.jpg", "/out/a.jpg")

    assert cut(fs).files() == {}
    assert fs.files() == {"/out/a.jpg": b"pixels"}


def test_a_name_that_survives_without_its_data_is_an_empty_file(fs: MemoryFs) -> None:
    fs.rename_noreplace("/staging/0.jpg", "/out/a.jpg")
    fs.fsync_dir("/out")

    assert cut(fs).files() == {"/out/a.jpg": b""}
    assert cut(fs, data=True).files() == {"/out/a.jpg": b"pixels"}


def test_data_then_name_then_folder_survives_in_every_corner(fs: MemoryFs) -> None:
    fs.fsync_file("/staging/0.jpg")
    fs.rename_noreplace("/staging/0.jpg", "/out/a.jpg")
    fs.fsync_dir("/out")

    for names in (False, True):
        for data in (False, True):
            assert cut(fs, names=names, data=data).files() == {"/out/a.jpg": b"pixels"}


def test_a_rename_is_one_step_also_when_only_the_source_folder_is_synced(fs: MemoryFs) -> None:
    fs.fsync_file("/staging/0.jpg")
    fs.rename_noreplace("/staging/0.jpg", "/out/a.jpg")
    fs.fsync_dir("/staging")

    assert cut(fs).files() == {"/out/a.jpg": b"pixels"}


def test_a_synced_rename_keeps_the_steps_that_led_to_it() -> None:
    fs = MemoryFs()
    fs.put("/a/x", b"x")
    for folder in ("/b", "/c"):
        fs.put_dir(folder)
    fs.settle()

    fs.rename_noreplace("/a/x", "/b/x")
    fs.rename_noreplace("/b/x", "/c/x")
    fs.fsync_dir("/c")

    assert cut(fs).files() == {"/c/x": b"x"}  # not in /a as well


def test_a_folder_that_was_never_synced_into_its_parent_takes_its_files_along(fs: MemoryFs) -> None:
    assert fs.make_dirs("/out/album/2024", 0o2775) == ["/out/album", "/out/album/2024"]
    fs.fsync_file("/staging/0.jpg")
    fs.rename_noreplace("/staging/0.jpg", "/out/album/2024/a.jpg")
    fs.fsync_dir("/out/album/2024")
    assert "/out/album/2024/a.jpg" not in cut(fs).files()

    fs.fsync_dir("/out/album")
    fs.fsync_dir("/out")
    assert cut(fs).files() == {"/out/album/2024/a.jpg": b"pixels"}


def test_a_file_written_whole_is_old_or_new_at_every_prefix_once_its_folder_was_synced() -> None:
    fs = MemoryFs()
    fs.put("/out/x.json", b"old")
    fs.settle()
    fs.write_file("/out/x.json", b"new", 0o664)
    fs.fsync_dir("/out")

    for prefix in range(len(fs.effects) + 1):
        for names in (False, True):
            assert fs.crash(prefix, names=names).read("/out/x.json") in {b"old", b"new"}
    assert cut(fs).read("/out/x.json") == b"new"


@pytest.mark.parametrize("names", [False, True])
@pytest.mark.parametrize("data", [False, True])
def test_a_move_to_another_file_system_never_loses_the_file_and_can_be_finished(
    names: bool, data: bool
) -> None:
    fs = MemoryFs(mounts=["/archive"])
    fs.put("/in/a.jpg", b"original")
    fs.settle()
    fs.move_noreplace("/in/a.jpg", "/archive/a.jpg")
    fs.fsync_dir("/in")  # a journal may make the removal durable at any time

    for prefix in range(len(fs.effects) + 1):
        after = fs.crash(prefix, names=names, data=data)
        if after.lstat("/in/a.jpg") is not None:
            after.move_noreplace("/in/a.jpg", "/archive/a.jpg")
        assert after.files() == {"/archive/a.jpg": b"original"}, fs.effects[:prefix]


def test_marks_tell_what_else_had_happened(fs: MemoryFs) -> None:
    fs.mark("ledger.publishing")
    seen = len(fs.effects)
    fs.mark("ledger.done")

    assert fs.crash(seen).marks == ("ledger.publishing",)
    assert cut(fs).marks == ("ledger.publishing", "ledger.done")


def test_a_crash_leaves_the_first_file_system_as_it_is_and_can_go_on(fs: MemoryFs) -> None:
    before = fs.files()
    after = fs.crash(0)
    after.put("/out/b.jpg", b"b")

    assert fs.files() == before
    with pytest.raises(OSError, match="cross-device"):
        after.rename_noreplace("/out/b.jpg", "/archive/b.jpg")


def test_an_injected_error_leaves_no_temporary_file(fs: MemoryFs) -> None:
    faults.arm("fs.fsync_file:1:ENOSPC")

    with pytest.raises(OSError, match="No space") as caught:
        fs.write_file("/out/x.json", b"{}", 0o664)

    assert caught.value.errno == errno.ENOSPC
    assert fs.list_dir("/out") == []


def test_links_are_not_plain_files(fs: MemoryFs) -> None:
    fs.put_symlink("/etc/passwd", "/staging/1.jpg")
    fs.put_link("/staging/0.jpg", "/staging/2.jpg")

    for name in ("0.jpg", "1.jpg", "2.jpg"):
        with pytest.raises(NotPlainFileError):
            fs.seal(f"/staging/{name}", 0o644)


def test_the_clock_stands_still_until_told() -> None:
    clock = FakeClock()
    before = (clock.monotonic(), clock.time_ns())
    assert (clock.monotonic(), clock.time_ns()) == before

    clock.advance(1.5)
    assert (clock.monotonic(), clock.time_ns()) == (before[0] + 1.5, before[1] + 1_500_000_000)

    clock.set_wall(0)
    assert (clock.monotonic(), clock.time_ns()) == (before[0] + 1.5, 0)
