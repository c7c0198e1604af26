"""Figures for other tools: pytest-benchmark, github-action-benchmark, Bencher.

They keep history and draw it; their own thresholds know neither clips nor repeats, so what may be
merged is for a gate to say.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from harness.metrics import ClipMetrics, Distribution, Ratio, Summary
from harness.metrics.registry import all_metrics
from harness.metrics.summary import samples_by_clip

_SHOWN = ("p50", "p95")


def pytest_benchmark(
    name: str, clips: Sequence[ClipMetrics], environment: Mapping[str, Any]
) -> dict[str, Any]:
    """A file that ``pytest-benchmark compare`` reads: seconds, one benchmark a latency."""
    benchmarks = []
    for metric in all_metrics():
        if metric.unit != "ms" or metric.scope == "corpus":
            continue
        groups = samples_by_clip(metric.name, clips)
        seconds = sorted(value / 1000 for group in groups.values() for value in group)
        if len(seconds) >= 2:
            benchmarks.append(
                {
                    "group": metric.name, "name": f"{metric.name}[{name}]",
                    "fullname": f"harness::{metric.name}[{name}]", "params": {"arm": name},
                    "param": name, "options": {},
                    "extra_info": {
                        "clips": len(groups), "metrics_version": environment["metrics_version"],
                    },
                    "stats": _stats(seconds),
                }
            )  # fmt: skip
    machine = environment["machine"]
    revision, _, dirty = (environment["git_revision"] or "unversioned").partition("+")
    return {
        "machine_info": {
            "node": "", "processor": machine["cpu"], "machine": machine["platform"],
            "python_version": environment["python"], "system": machine["platform"],
            "cpu": {"brand_raw": machine["cpu"], "count": machine["cores"]},
        },
        "commit_info": {"id": revision, "dirty": bool(dirty)},
        "benchmarks": benchmarks,
        "datetime": environment["made_at"],
        "version": "5.1.0",  # the release whose fields these are
    }  # fmt: skip


def _stats(seconds: Sequence[float]) -> dict[str, Any]:
    mean, deviation = statistics.fmean(seconds), statistics.stdev(seconds)
    q1, median, q3 = statistics.quantiles(seconds, n=4, method="inclusive")
    fence = 1.5 * (q3 - q1)
    inside = [v for v in seconds if q1 - fence <= v <= q3 + fence]
    far = sum(abs(v - mean) > deviation for v in seconds)
    beyond = len(seconds) - len(inside)
    return {
        "min": seconds[0], "max": seconds[-1], "mean": mean, "stddev": deviation,
        "rounds": len(seconds), "iterations": 1, "median": median, "iqr": q3 - q1,
        "q1": q1, "q3": q3, "ld15iqr": inside[0], "hd15iqr": inside[-1],
        "stddev_outliers": far, "iqr_outliers": beyond, "outliers": f"{far};{beyond}",
        "total": sum(seconds), "ops": 1 / mean if mean > 0 else 0.0, "data": list(seconds),
    }  # fmt: skip


def github_action_benchmark(summaries: Mapping[str, Summary]) -> list[dict[str, Any]]:
    """The file of its tool ``customSmallerIsBetter``."""
    return [
        {
            "name": f"{arm}: {name}", "unit": unit, "value": value,
            "range": "" if low is None or high is None else f"{low:.4g} to {high:.4g}",
            "extra": f"metrics version {summary.metrics_version}",
        }
        for arm, summary in summaries.items()
        for name, unit, value, low, high in _figures(summary)
    ]  # fmt: skip


def bencher(summaries: Mapping[str, Summary]) -> dict[str, dict[str, dict[str, float]]]:
    """Bencher Metric Format: benchmark = arm, measure = metric and statistic."""
    return {
        arm: {
            name.replace(" ", "-").replace("_", "-"): {
                key: figure
                for key, figure in (("value", value), ("lower_value", low), ("upper_value", high))
                if figure is not None
            }
            for name, _, value, low, high in _figures(summary)
        }
        for arm, summary in summaries.items()
    }


def _figures(
    summary: Summary,
) -> list[tuple[str, str, float, float | None, float | None]]:
    """(name, unit, value, low, high) of what exists and of which less is better."""
    figures: list[tuple[str, str, float, float | None, float | None]] = []
    smaller_is_better = {one.name for one in all_metrics() if one.better == "lower"}
    for name, metric in summary.metrics.items():
        if name not in smaller_is_better:
            continue
        if isinstance(metric, Ratio):
            if metric.value is not None:
                figures.append((name, metric.unit, metric.value, *(metric.ci95 or (None, None))))
            continue
        for statistic in _SHOWN:
            value = _statistic(metric, statistic)
            if value is not None:
                interval = metric.ci95.get(statistic, (None, None))
                figures.append((f"{name} {statistic}", metric.unit, value, *interval))
    return figures


def _statistic(metric: Distribution, name: str) -> float | None:
    return {"p50": metric.p50, "p95": metric.p95}[name]
