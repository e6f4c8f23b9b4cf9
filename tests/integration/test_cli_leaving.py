"""A terminal that was closed does not change how a command ends."""

import os
import pty
import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration

PROGRAM = """
from procwatch.cli.leaving import leave, terminal_may_be_gone
with terminal_may_be_gone():
    print("done", end="")
    print(" and more")
raise SystemExit(leave(3))
"""


def test_what_is_printed_to_a_closed_terminal_changes_no_exit_code() -> None:
    ours, theirs = pty.openpty()
    os.close(ours)
    try:
        ended = subprocess.run(
            [sys.executable, "-c", PROGRAM], stdout=theirs, stderr=subprocess.PIPE, check=False, timeout=30
        )
    finally:
        os.close(theirs)
    assert (ended.returncode, ended.stderr) == (3, b"")
