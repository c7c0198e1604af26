"""The figures that other tools' histories keep: of what exists and of which less is better."""

from __future__ import annotations

from harness.metrics import Distribution, Ratio
from harness.metrics.registry import all_metrics
from harness.runs.records import Summary

_SHOWN = ("p50", "p95")


def figures_of(
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
