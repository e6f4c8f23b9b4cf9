"""The command line answers at once and shows how it is meant."""

import subprocess
import sys
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


def test_help_lists_every_command_and_costs_little_more_than_python_itself(tmp_path: Path) -> None:
    """Measured 24 ms beside 10 ms of a bare interpreter; an import that is not lazy costs 50 ms and more.

    A ratio of the best of five, taken in turns, so that a busy machine does not matter.
    """
    ours, bare = [], []
    for _ in range(5):
        began = time.perf_counter()
        ended = procwatch("--help", cwd=tmp_path)
        ours.append(time.perf_counter() - began)
        assert ended.returncode == 0, ended
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import argparse"], check=True)
        bare.append(time.perf_counter() - began)
    for command in COMMANDS:
        assert f"procwatch {command} " in ended.stdout, "an example for each command"
    assert min(ours) < 4 * min(bare), (ours, bare)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself_with_an_example(command: str, tmp_path: Path) -> None:
    ended = procwatch(command, "--help", cwd=tmp_path)
    assert ended.returncode == 0, ended
    assert f"procwatch {command} " in ended.stdout.partition("usage:")[2].partition("\n")[2], ended.stdout
