"""Folders are made absolute once, and what lies inside what is decided on the real paths."""

from pathlib import Path

import pytest

from procwatch.settings.paths import absolute, default_state_dir, inbox_folders, is_inside, one_line

pytestmark = pytest.mark.unit


def test_what_is_left_out_lies_beside_the_inbox(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    folders = inbox_folders(path="~/photos/in", base="/etc/procwatch", failed="broken")
    assert (folders.name, folders.path) == ("in", "/home/ann/photos/in")
    assert (folders.outbox, folders.archive) == ("/home/ann/photos/outbox", "/home/ann/photos/archive")
    assert folders.failed == "/etc/procwatch/broken"


def test_relative_paths_start_from_the_file_and_dots_are_resolved() -> None:
    assert absolute("../x/./y", "/etc/procwatch") == "/etc/x/y"
    assert absolute("/x", "/etc/procwatch") == "/x"


@pytest.mark.parametrize(
    ("environ", "uid", "expected"),
    [
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b"}, 0, "/var/lib/a"),
        ({"XDG_STATE_HOME": "/s"}, 0, "/var/lib/procwatch"),
        ({"XDG_STATE_HOME": "/s"}, 1000, "/s/procwatch"),
        ({"XDG_STATE_HOME": "relative"}, 1000, "/home/ann/.local/state/procwatch"),
        ({}, 1000, "/home/ann/.local/state/procwatch"),
    ],
)
def test_the_state_folder_is_systemd_s_the_system_s_or_the_user_s(
    environ: dict[str, str], uid: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert default_state_dir(environ, uid=uid) == expected


def test_inside_follows_symbolic_links_and_does_not_fall_for_common_beginnings(tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "link").symlink_to("inbox")
    assert is_inside(str(tmp_path / "link" / "out"), str(tmp_path / "inbox"))
    assert is_inside("/anything", "/")
    assert not is_inside(str(tmp_path / "inbox2"), str(tmp_path / "inbox"))
    assert not is_inside(str(tmp_path), str(tmp_path / "inbox"))


def test_a_name_never_breaks_a_line_of_a_message() -> None:
    assert one_line("a\nb\x1b[1mÜ\udcff") == "a\\nb\\x1b[1mÜ\\udcff"
