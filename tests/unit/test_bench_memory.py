"""The picture of the memory benchmark: its figures, and that it is a picture."""

from xml.etree import ElementTree as ET

import pytest

from tests.bench.memory import _chart, _report
from tests.support.scale import BUDGET_BYTES, MIB, Sample, Weighed

pytestmark = pytest.mark.unit


def weighed() -> Weighed:
    samples = [
        Sample(
            at_s=1000.0 + number / 20,
            workers_bytes=(100 + number % 40 * 10) * MIB,
            daemon_bytes=(40 + number // 100) * MIB,
        )
        for number in range(200)
    ]
    done = [(1000.0 + number / 100, f"small-{number}.jpg") for number in range(300)]
    return Weighed(
        began_s=1000.0, samples=samples, done=[*done, (1004.5, "large-0.png"), (1009.0, "large-1.png")]
    )


def test_the_figures_are_peaks_and_seconds_since_the_first_drop() -> None:
    report = _report(weighed(), large=2, small=300)
    assert (report["workers_peak_mib"], report["daemon_peak_mib"]) == (490.0, 41.0)
    assert (report["seconds"], report["last_small_s"], report["large_done_s"]) == (9.0, 2.99, [4.5, 9.0])
    assert report["curve"][0] == [0.0, 140.0, 40.0]
    assert len(report["curve"]) == 40


def test_the_chart_has_every_curve_and_the_budget_above_them() -> None:
    chart = ET.fromstring(_chart(_report(weighed(), large=2, small=300)))
    kinds = {element.get("class"): element for element in chart.iter() if element.get("class")}
    assert {"workers", "daemon", "small", "large", "budget"} <= kinds.keys()
    heights = [float(point.split(",")[1]) for point in str(kinds["workers"].get("points")).split()]
    assert float(str(kinds["budget"].get("y1"))) < min(heights)
    text = " ".join(chart.itertext())
    assert f"budget, {BUDGET_BYTES // MIB:,} MiB" in text
    assert "300 small ones, the last after 3 s" in text
