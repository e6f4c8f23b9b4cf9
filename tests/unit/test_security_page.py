"""systemd/SECURITY.md names a test for each defence: they exist."""

import re
from pathlib import Path

import pytest

from procwatch.worker.seccomp import EXAMINED, FORBIDDEN

pytestmark = pytest.mark.unit

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "systemd/SECURITY.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(test_\w+\.py)(?:::(test_\w+?)_?…)?`", PAGE)


@pytest.mark.parametrize(("file", "test"), sorted(set(NAMED)))
def test_a_test_that_the_page_names_exists(file: str, test: str) -> None:
    found = list((REPOSITORY / "tests").rglob(file))
    assert len(found) == 1
    assert not test or f"def {test}" in found[0].read_text(encoding="utf-8")


def test_the_page_names_tests_and_counts_right() -> None:
    assert len(NAMED) >= 15
    assert "about 140 system calls" in PAGE
    assert 130 <= len(FORBIDDEN) + len(EXAMINED) <= 150
