"""Run a program that must obey file modes, also when the tests run as root."""

import os
import shutil

import pytest


def without_override() -> tuple[str, ...]:
    """Return a command prefix under which modes of files hold: nothing for a plain user, `setpriv` for root."""
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("root ignores file modes, and setpriv (util-linux) is not here to change that")
    return ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")
