"""Bencher Metric Format: benchmark = arm, measure = metric and statistic."""

from __future__ import annotations

from collections.abc import Mapping

from harness.export.figures import figures_of
from harness.runs.records import Summary


def bencher(summaries: Mapping[str, Summary]) -> dict[str, dict[str, dict[str, float]]]:
    """Bencher Metric Format: benchmark = arm, measure = metric and statistic."""
    return {
        arm: {
            name.replace(" ", "-").replace("_", "-"): {
                key: figure
                for key, figure in (("value", value), ("lower_value", low), ("upper_value", high))
                if figure is not None
            }
            for name, _, value, low, high in figures_of(summary)
        }
        for arm, summary in summaries.items()
    }
