from __future__ import annotations

import json
import statistics

import pytest
from pytest_benchmark.stats import Stats
from verdicts.clips import ENVIRONMENT, make_clips, make_summary, spread

from harness.export.bencher import bencher
from harness.export.github_action_benchmark import github_action_benchmark
from harness.export.pytest_benchmark import pytest_benchmark
from harness.metrics import METRICS_VERSION

CLIPS = make_clips(spread(), errors=1)
SUMMARIES = {"1word": make_summary(CLIPS)}


def test_pytest_benchmark_has_the_fields_that_it_reads():
    file = json.loads(json.dumps(pytest_benchmark("1word", CLIPS, ENVIRONMENT)))
    by_name = {bench["name"]: bench for bench in file["benchmarks"]}
    stats = by_name["ttft_ms[1word]"]["stats"]
    assert set(Stats.fields) <= set(stats)
    assert stats["rounds"] == 33
    assert stats["median"] == pytest.approx(0.351)
    assert stats["mean"] == pytest.approx(statistics.fmean(c.ttft_ms for c in CLIPS) / 1000)
    assert file["commit_info"] == {"id": "abc", "dirty": True}
    assert by_name["ttft_ms[1word]"]["extra_info"]["metrics_version"] == METRICS_VERSION


def test_pytest_benchmark_agrees_with_its_own_statistics():
    data = pytest_benchmark("a", CLIPS, ENVIRONMENT)["benchmarks"][0]["stats"]
    theirs = Stats()
    for value in data["data"]:
        theirs.update(value)
    for field in ("min", "max", "mean", "stddev", "median", "ops", "total", "rounds"):
        assert data[field] == pytest.approx(getattr(theirs, field))


def test_github_action_benchmark_is_a_list_of_figures():
    figures = {figure["name"]: figure for figure in github_action_benchmark(SUMMARIES)}
    ttft = figures["1word: ttft_ms p50"]
    assert (ttft["unit"], ttft["value"]) == ("ms", 351.0)
    assert " to " in ttft["range"]
    assert ttft["extra"] == f"metrics version {METRICS_VERSION}"
    assert figures["1word: wer"]["value"] == pytest.approx(0.1)
    assert all(isinstance(figure["value"], int | float) for figure in figures.values())


def test_what_is_better_larger_or_does_not_exist_is_left_out():
    names = {figure["name"] for figure in github_action_benchmark(SUMMARIES)}
    assert not any("rtfx" in name or "gap_ms" in name for name in names)


def test_bencher_has_bounds_around_each_value():
    measures = bencher(SUMMARIES)["1word"]
    p50 = measures["ttft-ms-p50"]
    assert p50["lower_value"] <= p50["value"] <= p50["upper_value"]
    assert set(measures["ttft-ms-p95"]) == {"value", "lower_value"}  # no upper side with n = 33
