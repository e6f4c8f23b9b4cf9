"""The command line answers at once and shows how it is meant."""

import time
from pathlib import Path

import pytest

import procwatch as package
from procwatch.cli.main import COMMANDS as TABLE
from tests.support.daemon import procwatch

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(60)]

COMMANDS = list(TABLE)


def test_the_version_is_that_of_the_package(tmp_path: Path) -> None:
    ended = procwatch("--version", cwd=tmp_path)
    assert (ended.returncode, ended.stdout.strip()) == (0, f"procwatch {package.__version__}")


def test_help_lists_every_command_and_answers_within_150_ms(tmp_path: Path) -> None:
    """The best of five, so that a busy machine does not matter: an import that is not lazy is there every time."""
    times = []
    for _ in range(5):
        began = time.perf_counter()
        ended = procwatch("--help", cwd=tmp_path)
        times.append(time.perf_counter() - began)
        assert ended.returncode == 0, ended
    for command in COMMANDS:
        assert f"procwatch {command} " in ended.stdout, "an example for each command"
    assert min(times) < 0.15, times


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself_with_an_example(command: str, tmp_path: Path) -> None:
    ended = procwatch(command, "--help", cwd=tmp_path)
    assert ended.returncode == 0, ended
    assert f"procwatch {command} " in ended.stdout.partition("usage:")[2].partition("\n")[2], ended.stdout
