"""pytest-benchmark's file format: seconds, one benchmark a latency."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from harness.machine.environment import Environment
from harness.metrics import ClipMetrics
from harness.metrics.registry import all_metrics
from harness.metrics.summary import samples_by_clip


def pytest_benchmark(
    name: str, clips: Sequence[ClipMetrics], environment: Environment
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
                        "clips": len(groups), "metrics_version": environment.metrics_version,
                    },
                    "stats": _stats(seconds),
                }
            )  # fmt: skip
    machine = environment.machine
    revision, _, dirty = (environment.git_revision or "unversioned").partition("+")
    return {
        "machine_info": {
            "node": "", "processor": machine.cpu, "machine": machine.platform,
            "python_version": environment.python, "system": machine.platform,
            "cpu": {"brand_raw": machine.cpu, "count": machine.cores},
        },
        "commit_info": {"id": revision, "dirty": bool(dirty)},
        "benchmarks": benchmarks,
        "datetime": environment.made_at,
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
