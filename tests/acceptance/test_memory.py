"""Large pictures and many small ones under one budget: nobody exceeds it, small ones flow on, all are done.

`-m soak` runs the large one, ten of 100 megapixels among 1,000 small ones; `-s` shows the figures of a run.
`python -m tests.bench.memory` draws it.
"""

from pathlib import Path

import pytest

from tests.support.places import Places
from tests.support.scale import BUDGET_BYTES, MIB, weigh

pytestmark = pytest.mark.acceptance


@pytest.mark.parametrize(
    ("large", "small"),
    [
        pytest.param(3, 60, marks=pytest.mark.timeout(120)),
        pytest.param(10, 1000, marks=[pytest.mark.soak, pytest.mark.timeout(600)]),
    ],
)
def test_large_and_small_pictures_under_one_budget(
    places: Places, tmp_path: Path, large: int, small: int
) -> None:
    weighed = weigh(places, tmp_path, large=large, small=small)
    done = [path for _, path in weighed.done]
    assert len(done) == large + small
    last_small = max(position for position, path in enumerate(done) if path.startswith("small"))
    assert large + small - last_small > large // 2, "the small ones did not wait for the large ones"
    print(
        f"\npeak of all workers {weighed.peak_bytes / MIB:.0f} MiB of {BUDGET_BYTES / MIB:.0f},"
        f" {len(weighed.samples)} samples"
    )
    assert weighed.peak_bytes <= BUDGET_BYTES
    assert weighed.peak_bytes > 400 * MIB, "the large ones were never weighed"
