"""Folders at start: what may be created is, and what cannot work is one clear line with the fix."""

import dataclasses
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from procwatch.errors import NoInboxError
from procwatch.settings.folders import foresee, prepare
from procwatch.settings.load import zero_config
from procwatch.settings.values import Settings

pytestmark = pytest.mark.integration


def configured(home: Path, *names: str) -> Settings:
    """Return settings as from a file: an inbox in its own folder for each name, none of them created."""
    template = zero_config(str(home)).inboxes[0]
    inboxes = tuple(
        dataclasses.replace(
            template,
            name=name,
            path=str(home / name / "in"),
            outbox=str(home / name / "out"),
            archive=str(home / name / "done"),
            failed=str(home / name / "bad"),
        )
        for name in names
    )
    return dataclasses.replace(zero_config(str(home)), source=str(home / "c.toml"), inboxes=inboxes)


@pytest.fixture
def refusing(tmp_path: Path) -> Iterator[Path]:
    """A folder that refuses writers, root included: immutable, or without rights for a user who obeys them."""
    folder = tmp_path / "refusing"
    folder.mkdir()
    if os.geteuid() != 0:
        folder.chmod(0o500)
        yield folder
        folder.chmod(0o700)
        return
    if subprocess.run(["chattr", "+i", folder], capture_output=True, check=False).returncode != 0:
        pytest.skip("root obeys no mode bits, and this file system has no immutable folders")
    yield folder
    subprocess.run(["chattr", "-i", folder], check=True)


def test_zero_config_creates_everything_with_the_folder_mode_whatever_the_umask(tmp_path: Path) -> None:
    settings = zero_config(str(tmp_path / "new" / "pictures"))
    before = os.umask(0o077)
    try:
        usable, unusable = prepare(settings)
    finally:
        os.umask(before)
    assert (usable, unusable) == (list(settings.inboxes), [])
    inbox = settings.inboxes[0]
    for folder in (inbox.path, inbox.outbox, inbox.archive, inbox.failed):
        assert os.stat(folder).st_mode & 0o7777 == 0o2775
        assert os.listdir(folder) == []
    assert os.path.isdir(settings.state_dir)
    assert prepare(settings) == (usable, unusable)  # and again, when everything is there


def test_a_configuration_s_output_folders_are_created_but_never_its_inbox(tmp_path: Path) -> None:
    settings = configured(tmp_path, "a")
    with pytest.raises(NoInboxError) as caught:
        prepare(settings)
    message = str(caught.value)
    assert message.count("\n") == 0
    assert f'inbox "a": {tmp_path}/a/in cannot be used by user ' in message
    assert f"(uid {os.geteuid()}): No such file or directory; create it" in message
    assert f"mkdir -p {tmp_path}/a/in" in message
    assert not (tmp_path / "a").exists()
    (tmp_path / "a" / "in").mkdir(parents=True)
    prepare(settings)
    assert sorted(os.listdir(tmp_path / "a")) == ["bad", "done", "in", "out"]


def test_one_bad_inbox_among_several_is_reported_and_the_others_go_on(tmp_path: Path) -> None:
    settings = configured(tmp_path, "good", "gone")
    (tmp_path / "good" / "in").mkdir(parents=True)
    usable, unusable = prepare(settings)
    assert [inbox.name for inbox in usable] == ["good"]
    ((inbox, reason),) = unusable
    assert inbox.name == "gone"
    assert "No such file or directory" in reason


@pytest.mark.parametrize("key", ["path", "outbox", "archive", "failed"])
def test_a_folder_that_refuses_writers_is_named_with_the_fix(
    key: str, tmp_path: Path, refusing: Path
) -> None:
    settings = configured(tmp_path, "a")
    (tmp_path / "a" / "in").mkdir(parents=True)
    changes: dict[str, Any] = {key: str(refusing)}
    inbox = dataclasses.replace(settings.inboxes[0], **changes)
    with pytest.raises(NoInboxError, match=rf"{refusing} cannot be .* by user .*setfacl -m u:"):
        prepare(dataclasses.replace(settings, inboxes=(inbox,)))


def test_a_state_folder_that_refuses_writers_stops_the_start(tmp_path: Path, refusing: Path) -> None:
    settings = dataclasses.replace(zero_config(str(tmp_path)), state_dir=str(refusing / "state"))
    with pytest.raises(NoInboxError, match=r"cannot keep state or log: .*refusing/state cannot be created"):
        prepare(settings)


def test_the_fix_names_a_folder_that_is_there(tmp_path: Path, refusing: Path) -> None:
    """setfacl cannot give access to what does not exist."""
    settings = dataclasses.replace(zero_config(str(tmp_path)), state_dir=str(refusing / "state/deeper"))
    with pytest.raises(NoInboxError, match=rf"setfacl -m u:\S+:rwx {refusing} \(and x"):
        prepare(settings)


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("")
    with pytest.raises(NoInboxError, match=r"outbox cannot be used .*a file is in the way"):
        prepare(zero_config(str(tmp_path)))
    (tmp_path / "outbox").unlink()
    (tmp_path / "outbox").symlink_to("nowhere")
    with pytest.raises(NoInboxError, match=r"outbox cannot be used .*No such file"):
        prepare(zero_config(str(tmp_path)))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_no_reason_to_refuse_the_start(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = zero_config(str(tmp_path))
    prepare(settings)

    def full(*args: object, **kwargs: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", full)
    assert prepare(settings)[1] == []


def test_a_read_only_file_system_is_told_even_to_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = zero_config(str(tmp_path))
    prepare(settings)

    def read_only(*args: object, **kwargs: object) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "open", read_only)
    with pytest.raises(NoInboxError, match="Read-only file system; mount it writable"):
        prepare(settings)


def test_check_can_foresee_without_touching_anything(tmp_path: Path) -> None:
    settings = configured(tmp_path, "a")
    assert len(foresee(settings)) == 1
    assert os.listdir(tmp_path) == []
    (tmp_path / "a" / "in").mkdir(parents=True)
    (tmp_path / "a" / "out").write_text("")
    assert ["a file is in the way" in note for note in foresee(settings)] == [True]
    assert foresee(zero_config(str(tmp_path / "new"))) == []
