"""Find the corpus of real images, which a user's clone does not have."""

import os
from pathlib import Path

import pytest


def corpus(*parts: str) -> Path:
    """Return a path in the corpus, or skip the test and say why."""
    roots = [os.environ.get("PROCWATCH_CORPUS"), Path(__file__).parents[2].parent / "shared" / "corpus"]
    for root in roots:
        if root and Path(root, *parts).exists():
            return Path(root, *parts)
    missing = "/".join(parts) or "the folder"
    pytest.skip(f"the corpus of real images is not here ({missing}); set PROCWATCH_CORPUS to a copy of it")


def listed(*parts: str) -> list[Path]:
    """Return the files in a folder of the corpus, or skip the test where there are none."""
    found = sorted(corpus(*parts).iterdir())
    if not found:
        pytest.skip(f"the corpus of real images has nothing in {'/'.join(parts)}")
    return found
