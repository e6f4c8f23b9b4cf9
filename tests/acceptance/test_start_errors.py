"""What cannot work is refused at start, in one clear message with its own exit code."""

from pathlib import Path

import pytest

from tests.support import images, privileges
from tests.support.daemon import procwatch
from tests.support.places import Places

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(60)]


def test_all_mistakes_of_a_configuration_are_told_at_once_and_the_exit_code_is_3(
    places: Places, tmp_path: Path
) -> None:
    config = places.write_config(
        inbox='setle = "2s"\nrecipe = "wbe"\non_success = "archiv"', pool='timeout = "fast"'
    )
    ended = procwatch("run", "-c", config, cwd=tmp_path, timeout_s=20)
    assert ended.returncode == 3, ended
    for wanted in (
        str(config),
        "setle",
        "settle",
        "wbe",
        '"web"',
        "on_success",
        "archive",
        "timeout",
        "fast",
    ):
        assert wanted in ended.stderr, f"{wanted} is not in {ended.stderr}"
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("command", ["run", "once", "check"])
def test_a_file_that_is_not_toml_is_refused_with_its_line(command: str, tmp_path: Path) -> None:
    config = tmp_path / "broken.toml"
    config.write_text('[[inbox]]\npath = "/tmp/x\n')
    ended = procwatch(command, "-c", config, cwd=tmp_path, timeout_s=20)
    assert ended.returncode == 3, ended
    assert str(config) in ended.stderr
    assert f"{config}:2:" in ended.stderr


def test_outputs_inside_the_inbox_are_refused(places: Places, tmp_path: Path) -> None:
    config = places.write_config()
    config.write_text(config.read_text().replace(str(places.outbox), str(places.inbox / "out")))
    ended = procwatch("run", "-c", config, cwd=tmp_path, timeout_s=20)
    assert ended.returncode == 3, ended
    assert "outbox" in ended.stderr
    assert not (places.inbox / "out").exists()


def test_a_missing_inbox_is_one_clear_line_and_exit_4(places: Places, tmp_path: Path) -> None:
    """An inbox that is not there is perhaps a disk that is not mounted: it is not made."""
    config = places.write_config()
    places.inbox.rmdir()
    ended = procwatch("run", "-c", config, cwd=tmp_path, timeout_s=20)
    assert ended.returncode == 4, ended
    assert str(places.inbox) in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not places.inbox.exists()


def test_an_inbox_that_is_a_file_is_exit_4(places: Places, tmp_path: Path) -> None:
    config = places.write_config()
    places.inbox.rmdir()
    places.inbox.write_bytes(b"")
    ended = procwatch("run", "-c", config, cwd=tmp_path, timeout_s=20)
    assert ended.returncode == 4, ended
    assert str(places.inbox) in ended.stderr


def test_an_unwritable_folder_is_one_clear_line(places: Places, tmp_path: Path) -> None:
    config = places.write_config()
    places.outbox.mkdir()
    places.outbox.chmod(0o555)
    try:
        ended = procwatch(
            "run", "-c", config, cwd=tmp_path, timeout_s=20, prefix=privileges.without_override()
        )
    finally:
        places.outbox.chmod(0o755)
    assert ended.returncode == 4, ended
    assert str(places.outbox) in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_unreadable_inbox_is_one_clear_line_and_exit_4(places: Places, tmp_path: Path) -> None:
    config = places.write_config()
    places.inbox.chmod(0o000)
    try:
        ended = procwatch(
            "run", "-c", config, cwd=tmp_path, timeout_s=20, prefix=privileges.without_override()
        )
    finally:
        places.inbox.chmod(0o755)
    assert ended.returncode == 4, ended
    assert str(places.inbox) in ended.stderr


def test_without_any_target_the_hint_says_what_to_type(tmp_path: Path) -> None:
    for command in ("run", "status"):
        ended = procwatch(command, cwd=tmp_path, timeout_s=20)
        assert ended.returncode == 2, ended
        assert f"procwatch {command} DIR" in ended.stderr


def test_an_unknown_command_is_a_usage_error(tmp_path: Path) -> None:
    ended = procwatch("rum", cwd=tmp_path, timeout_s=20)
    assert ended.returncode == 2, ended
    assert '"run"' in ended.stderr


def test_a_configuration_in_the_working_folder_is_found(places: Places, tmp_path: Path) -> None:
    places.write_config()
    images.write(places.inbox / "a.jpg", images.jpeg(1))
    ended = procwatch("once", cwd=places.root)
    assert ended.returncode == 0, ended
    assert (places.outbox / "a-web.jpg").is_file()
