"""Prometheus' text format."""

from __future__ import annotations

from harness.serve.telemetry import Histogram, ServerCounters


def test_a_histogram_is_cumulative_and_a_bound_belongs_to_its_bucket() -> None:
    histogram = Histogram("x_seconds", "X.")
    for milliseconds in (0.5, 1.0, 1.1, 20_000.0):
        histogram.observe_ns(round(milliseconds * 1e6))
    lines = histogram.lines()
    assert lines[:2] == ["# HELP x_seconds X.", "# TYPE x_seconds histogram"]
    assert 'x_seconds_bucket{le="0.001"} 2' in lines
    assert 'x_seconds_bucket{le="0.0025"} 3' in lines
    assert 'x_seconds_bucket{le="10.0"} 3' in lines
    assert 'x_seconds_bucket{le="+Inf"} 4' in lines
    assert lines[-2:] == ["x_seconds_sum 20.002600", "x_seconds_count 4"]


def test_every_line_is_a_comment_or_a_sample() -> None:
    telemetry = ServerCounters()
    telemetry.errors["invalid_json"] += 2
    telemetry.sessions = 3
    text = telemetry.exposition()
    assert text.endswith("\n")
    assert "stt_sessions 3\n" in text
    assert 'stt_errors_total{code="invalid_json"} 2\n' in text
    for line in text.splitlines():
        assert line.startswith(("# HELP stt_", "# TYPE stt_")) or len(line.rsplit(" ", 1)) == 2
