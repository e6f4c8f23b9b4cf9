"""Metrics: what a scraper reads."""

import pytest

from procwatch.observe.metrics import BUCKETS_S, METRICS, Metrics, metrics_markdown

pytestmark = pytest.mark.unit

LINE = {"inbox": "in", "bytes_in": 100, "bytes_out": 20, "wait_s": 0.02, "run_s": 0.2}


def test_ended_files_are_counted_by_inbox_and_outcome() -> None:
    metrics = Metrics()
    metrics.ended("job.done", LINE)
    metrics.ended("job.done", LINE)
    metrics.ended("job.failed", {**LINE, "error": "truncated", "run_s": None})
    text = metrics.render()
    assert 'procwatch_files_total{inbox="in",outcome="done"} 2' in text
    assert 'procwatch_files_total{inbox="in",outcome="failed"} 1' in text
    assert 'procwatch_errors_total{inbox="in",error="truncated"} 1' in text
    assert 'procwatch_read_bytes_total{inbox="in"} 300' in text
    assert 'procwatch_run_seconds_count{inbox="in"} 2' in text


def test_buckets_are_cumulative_and_end_in_infinity() -> None:
    metrics = Metrics()
    for seconds in (0.01, 0.02, 999.0):
        metrics.observe("procwatch_run_seconds", seconds, inbox="in")
    lines = [line for line in metrics.render().splitlines() if "_bucket" in line]
    counts = [int(line.rpartition(" ")[2]) for line in lines]
    assert counts == sorted(counts)
    assert len(counts) == len(BUCKETS_S) + 1
    assert lines[0].startswith('procwatch_run_seconds_bucket{inbox="in",le="0.01"} 1')
    assert lines[-1].endswith('le="+Inf"} 3')


def test_a_label_may_hold_anything() -> None:
    metrics = Metrics()
    metrics.count("procwatch_files_total", inbox='a"b\\c\nd', outcome="done")
    assert 'inbox="a\\"b\\\\c\\nd"' in metrics.render()


def test_a_typo_is_an_error_and_not_a_new_metric() -> None:
    with pytest.raises(KeyError):
        Metrics().count("procwatch_fils_total")


def test_the_official_parser_reads_it() -> None:
    parser = pytest.importorskip("prometheus_client.parser", reason="the extra metrics is not installed")
    metrics = Metrics()
    metrics.ended("job.done", LINE)
    metrics.set("procwatch_workers", 2)
    families = {family.name: family for family in parser.text_string_to_metric_families(metrics.render())}
    assert families["procwatch_files"].samples[0].value == 1
    assert families["procwatch_run_seconds"].type == "histogram"


def test_the_documentation_lists_every_metric() -> None:
    assert all(f"`{name}`" in metrics_markdown() for name in METRICS)
