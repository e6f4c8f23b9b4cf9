"""Find the corpus of real images, which a user's clone does not have."""

import os
from pathlib import Path

import pytest


def corpus(*parts: str) -> Path:
    """Return a path in the corpus, or skip the test and say why."""
    roots = [os.environ.get("PROCWATCH_CORPUS"), Path(__file__).parents[2].parent / "shared" / "corpus"]
    for root in roots:
        if root and Path(root).is_dir():
            return Path(root, *parts)
    pytest.skip("the corpus of real images is not here; set PROCWATCH_CORPUS to a copy of it")
