"""Damaged pictures of every enabled format: a result or a stable code, never a crash, a hang or a defect of ours."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from procwatch.errors import ERROR_CODES
from tests.support.corpus import corpus, listed
from tests.support.daemon import REPOSITORY, environment
from tests.support.formats import all_formats
from tests.support.fuzz import seeds
from tests.support.mutator import mutant

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

IN_CI = 20_000
SOAK = int(os.environ.get("PROCWATCH_FUZZ", "1_000_000"))
#: What Pillow and its plug-ins raise, by name, and which codes that may become. A name that is not here is news:
#: look at the mutant, decide on its code, and add it. "procwatch": our own checks, nothing was raised.
FORESEEN: Mapping[str, set[str]] = {
    "": {"rendered"},
    "procwatch": {"truncated", "too-many-pixels", "too-many-frames", "unsupported-format", "not-an-image", "too-large"},
    "UnidentifiedImageError": {"not-an-image", "unsupported-format", "truncated", "too-large", "format-not-enabled"},
    "DecompressionBombError": {"too-many-pixels"},
    "DecompressionBombWarning": {"too-many-pixels"},
    "OSError": {"truncated", "unsupported-format", "too-large"},
    "SyntaxError": {"truncated", "unsupported-format"},
    "ValueError": {"truncated", "unsupported-format", "too-large"},
    "RuntimeError": {"truncated", "unsupported-format"},
    "IndexError": {"truncated"},
    "KeyError": {"truncated"},
    "TypeError": {"truncated"},
    "EOFError": {"truncated"},
    "OverflowError": {"truncated"},
    "ZeroDivisionError": {"truncated"},
    "error": {"truncated"},  # struct.error, zlib.error
    "MemoryError": {"out-of-memory"},
}  # fmt: skip


def fuzzed(first: int, count: int, timeout_s: float) -> dict[str, Any]:
    """Render mutants in a process of its own; fail with the mutant's number when it died."""
    try:
        folder = [str(corpus())]
    except pytest.skip.Exception:
        folder = []  # the pictures that we make ourselves are enough
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-m", "tests.support.fuzz", str(first), str(count), *folder],
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert ran.returncode == 0, f"ended with {ran.returncode} at {ran.stderr[-300:]}"
    result: dict[str, Any] = json.loads(ran.stdout)
    return result


def judge(result: dict[str, Any], count: int) -> None:
    assert not result["unforeseen"], result["unforeseen"]
    assert "internal-error" not in result["codes"]
    assert set(result["codes"]) <= {"rendered", *ERROR_CODES}
    assert sum(sum(codes.values()) for codes in result["raised"].values()) == count
    for name, codes in result["raised"].items():
        assert name in FORESEEN, f"{name} is news: {codes}"
        assert set(codes) <= FORESEEN[name], f"{name} became {codes}"


def test_twenty_thousand_mutants_end_with_a_picture_or_a_code() -> None:
    result = fuzzed(0, IN_CI, 100)
    judge(result, IN_CI)
    assert result["codes"]["rendered"] > IN_CI / 10, "the damage must reach the decoders"
    assert result["longest_s"] < 5
    assert result["peak_rss_mib"] < 512


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_million_mutants() -> None:
    """Other mutants than in CI, in batches: a leak shows as memory, a crash costs one batch."""
    batch = 50_000
    peaks = []
    for first in range(IN_CI, IN_CI + SOAK, batch):
        count = min(batch, IN_CI + SOAK - first)
        result = fuzzed(first, count, 1800)
        judge(result, count)
        peaks.append(result["peak_rss_mib"])
    assert max(peaks) < 512, peaks


def test_the_same_number_gives_the_same_mutant() -> None:
    """So that a number in a report is all that it takes to see it again, on any version of Python."""
    made = {f"seed-{number}": hashlib.sha256(b"%d" % number).digest() * 20 for number in range(7)}
    told = hashlib.sha256(b"".join(mutant(number, made)[1] for number in range(500))).hexdigest()
    assert told == "5d03e5283eb318a5f3ed07d0095522e6a74c6fe24f067ba8b3e048f9197d32e5"


def test_every_enabled_format_is_among_the_seeds() -> None:
    kinds = {name.partition("-")[0].partition(".")[0] for name in all_formats()}
    assert kinds == {"jpeg", "png", "webp", "avif", "gif", "tiff", "bmp"}
    assert len(seeds(None)) > 30


def test_heif_and_the_hostile_corpus_are_among_the_seeds() -> None:
    corpus("formats", "IMG_2682.heic")
    found = seeds(corpus())
    assert any(name.endswith(".heic") for name in found)
    small = {file.name for file in listed("hostile") if file.stat().st_size <= 60_000}
    assert small <= set(found)
