"""github-action-benchmark's file format, of its tool ``customSmallerIsBetter``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.export.figures import figures_of
from harness.runs.records import Summary


def github_action_benchmark(summaries: Mapping[str, Summary]) -> list[dict[str, Any]]:
    """The file of its tool ``customSmallerIsBetter``."""
    return [
        {
            "name": f"{arm}: {name}", "unit": unit, "value": value,
            "range": "" if low is None or high is None else f"{low:.4g} to {high:.4g}",
            "extra": f"metrics version {summary.metrics_version}",
        }
        for arm, summary in summaries.items()
        for name, unit, value, low, high in figures_of(summary)
    ]  # fmt: skip
