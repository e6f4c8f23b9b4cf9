"""The name `procwatch` on the package index is somebody else's: nothing may tell anyone to install it from there."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

REPOSITORY = Path(__file__).resolve().parents[2]
#: An install command with the bare name as a package: no path, no URL, no option's value.
FROM_THE_INDEX = re.compile(
    r"\b(?:pip3?|pipx|uv|uvx)\b[^\n`&|;]*?(?:\binstall|\brun|\badd)\b[^\n`&|;]*?\s['\"]?procwatch\b(?![/:.-])"
)


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ("pip install procwatch", True),
        ("pip install -q 'procwatch[heic]'", True),
        ("/opt/procwatch/bin/pip install procwatch", True),
        ("pipx install procwatch", True),
        ("/opt/procwatch/bin/pip install .", False),
        ("pip install /srv/procwatch/", False),
        ("pip install '.[heic]'", False),
    ],
)
def test_the_check_itself(text: str, bad: bool) -> None:
    assert bool(FROM_THE_INDEX.search(text)) is bad


def test_nobody_is_told_to_install_somebody_elses_package() -> None:
    told = []
    for folder, pattern in (
        (".", "*.md"), ("config", "**/*"), ("systemd", "**/*"), ("procwatch", "**/*.py"), ("tests", "*.md"),
    ):  # fmt: skip
        for path in (REPOSITORY / folder).glob(pattern):
            if path.is_file():
                lines = path.read_text(encoding="utf-8").splitlines()
                told += [f"{path}: {line}" for line in lines if FROM_THE_INDEX.search(line)]
    assert not told
