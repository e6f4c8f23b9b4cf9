"""A terminal that was closed does not change how a command ends."""

import os
import pty
import subprocess
import sys

import pytest

from tests.support.daemon import environment

pytestmark = pytest.mark.integration

PROGRAM = """
import contextlib, sys
from procwatch.cli.leaving import leave, terminal_may_be_gone
with terminal_may_be_gone():
    with contextlib.suppress(OSError if sys.argv[2] == "handled" else ()):
        print("done", end="", file=getattr(sys, sys.argv[1]))
        print(" and more", file=getattr(sys, sys.argv[1]), flush=sys.argv[2] == "handled")
raise SystemExit(leave(3))
"""


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("manner", ["handled", "left"])
def test_what_is_printed_to_a_closed_terminal_changes_no_exit_code(stream: str, manner: str) -> None:
    """Neither where whoever printed took the error: what could not be written is still in the buffer then."""
    ours, theirs = pty.openpty()
    os.close(ours)
    try:
        ended = subprocess.run(
            [sys.executable, "-c", PROGRAM, stream, manner],
            stdout=theirs,
            stderr=theirs if stream == "stderr" else subprocess.PIPE,
            env=environment(),
            check=False,
            timeout=30,
        )
    finally:
        os.close(theirs)
    assert (ended.returncode, ended.stderr) == (3, None if stream == "stderr" else b"")
