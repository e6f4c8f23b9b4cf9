"""Read the shipped unit files and let systemd judge them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).resolve().parents[2] / "systemd"


def analyze(*arguments: str | Path) -> str:
    """Return what `systemd-analyze` prints; skip where there is none. It must find nothing to complain about."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    ended = subprocess.run(
        ["systemd-analyze", "--no-pager", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 0, ended
    return ended.stdout + ended.stderr


def exposure(unit: Path) -> float:
    """Return the exposure of a unit file with the drop-ins beside it, by `systemd-analyze security`."""
    found = re.search(
        r"Overall exposure level for .*: ([0-9.]+)", analyze("security", "--offline=true", unit)
    )
    assert found, unit
    return float(found[1])


def stage(folder: Path, name: str = "procwatch.service", *, drop_in: str = "") -> Path:
    """Copy a shipped unit, with one of the shipped drop-ins, to where it can be judged without being installed."""
    text = (SYSTEMD / name).read_text()
    # verify wants a program that exists
    (folder / name).write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", text))
    if drop_in:
        (folder / f"{name}.d").mkdir()
        shutil.copy(SYSTEMD / "drop-ins" / drop_in, folder / f"{name}.d")
    return folder / name


def directives(text: str) -> list[str]:
    """Return the lines of a unit that are not blank and no comment."""
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
