"""The command line: the table of commands, exit codes, and one clear line for every foreseen error."""

import argparse
import re
import sys
import types
from collections.abc import Callable

import pytest

from procwatch import __version__
from procwatch.cli import main as cli
from procwatch.cli.target import add_target_arguments, settings_for
from procwatch.errors import ConfigError, NoInboxError, UsageError

pytestmark = pytest.mark.unit


def command_that(does: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a command `stand-in` into the table."""
    module = types.ModuleType("stand_in")
    module.__dict__.update(
        EXAMPLES="examples: none", add_arguments=lambda parser: None, run=lambda args: does()
    )
    monkeypatch.setitem(sys.modules, "stand_in", module)
    monkeypatch.setitem(cli.COMMANDS, "stand-in", cli.Command("stand_in", "a stand-in", "procwatch stand-in"))


def raising(error: BaseException) -> Callable[[], int]:
    def raise_it() -> int:
        raise error

    return raise_it


def test_help_shows_each_command_with_its_summary_and_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    for name, command in cli.COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(command.summary)}$", shown, re.MULTILINE)
        assert f"  {command.example}\n" in shown
        assert command.example.startswith(f"procwatch {name}")


def test_version_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"procwatch {__version__}\n"


def test_no_command_is_a_usage_error_with_the_help_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == cli.help_text()


def test_an_unknown_command_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["chekc"]) == 2
    assert 'Did you mean "check"?' in capsys.readouterr().err


@pytest.mark.parametrize("name", ["check", "init"])
def test_a_command_s_own_help_has_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"usage: procwatch {name}" in shown
    assert f"  procwatch {name}" in shown


def test_an_unknown_option_is_a_usage_error() -> None:
    assert cli.main(["check", "--bogus"]) == 2


@pytest.mark.parametrize(
    ("error", "code"), [(UsageError("no"), 2), (ConfigError("no"), 3), (NoInboxError("no", hint="do"), 4)]
)
def test_a_foreseen_error_is_its_message_and_hint_without_a_traceback(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command_that(raising(error), monkeypatch)
    assert cli.main(["stand-in"]) == code
    hint = "  do\n" if code == 4 else ""
    assert capsys.readouterr().err == f"procwatch: no\n{hint}"


def test_ctrl_c_is_quiet(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    command_that(raising(KeyboardInterrupt()), monkeypatch)
    assert cli.main(["stand-in"]) == 130
    assert capsys.readouterr() == ("", "")


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    command_that(raising(ZeroDivisionError()), monkeypatch)
    with pytest.raises(ZeroDivisionError):
        cli.main(["stand-in"])


def test_the_exit_code_is_what_the_command_returns(monkeypatch: pytest.MonkeyPatch) -> None:
    command_that(lambda: 5, monkeypatch)
    assert cli.main(["stand-in"]) == 5


@pytest.mark.parametrize("argv", [["-d", "/a", "/b"], ["-c", "x.toml", "/b"], ["-c", "x.toml", "-d", "/a"]])
def test_two_targets_are_a_usage_error(argv: list[str]) -> None:
    parser = argparse.ArgumentParser()
    add_target_arguments(parser)
    with pytest.raises(UsageError):
        settings_for(parser.parse_args(argv))


def test_the_folder_may_be_given_by_position_or_by_option() -> None:
    parser = argparse.ArgumentParser()
    add_target_arguments(parser)
    by_position = settings_for(parser.parse_args(["/nowhere/pictures"]))
    by_option = settings_for(parser.parse_args(["-d", "/nowhere/pictures"]))
    assert by_position == by_option
    assert by_position.inboxes[0].path == "/nowhere/pictures/inbox"
