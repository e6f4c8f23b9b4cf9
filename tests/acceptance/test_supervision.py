"""The whole claim: whatever workers die of, precisely the culprits fail and every innocent is done once.

Pool, worker and the decision after a death are the real ones; only the decoder misbehaves. Run with `-m soak` for
1,000 deaths among 2,000 jobs; `-s` shows the figures of a run.
"""

import json
import subprocess
import sys
from collections import Counter

import pytest

from tests.support.daemon import REPOSITORY, environment

pytestmark = pytest.mark.acceptance


@pytest.mark.parametrize(
    "deaths",
    [
        pytest.param(60, marks=pytest.mark.timeout(120)),
        pytest.param(1000, marks=[pytest.mark.soak, pytest.mark.timeout(900)]),
    ],
)
def test_precisely_the_culprits_fail(deaths: int) -> None:
    argv = [sys.executable, "-m", "tests.support.supervision", str(deaths)]
    ended = subprocess.run(
        argv, cwd=REPOSITORY, env=environment(), stdout=subprocess.PIPE, text=True, check=True
    )
    what = json.loads(ended.stdout)
    names = ("jobs", "deaths", "seconds", "descriptors", "threads", "growth_bytes", "worst_late_s")
    print({name: what[name] for name in names})
    assert what["failed"] == what["expected_failed"]
    assert what["done"] == Counter(what["innocents"])
    assert what["ran"] == Counter(what["innocents"]), "what the decoders themselves noted"
    assert what["jobs"] == 2 * deaths
    assert what["deaths"] >= deaths
    for kind in ("descriptors", "threads"):
        before, after = what[kind]
        assert after == before, kind
    assert what["growth_bytes"] <= 5 * 1024**2
    assert what["worst_late_s"] <= 0.5
