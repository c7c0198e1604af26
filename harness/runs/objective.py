"""One figure of a run by its name, such as ``ttft_ms.p50``: what an optimiser makes small."""

from __future__ import annotations

import math

from harness.metrics import Distribution
from harness.metrics.objective import require_objective
from harness.runs.records import Summary


def objective(summary: Summary, name: str) -> float:
    """The figure ``name`` of a run; not a number where the run has none, or is not valid.

    ::

        harness.objective(run.summary, "ttft_ms.p50")  # milliseconds
        harness.objective(run.summary, "wer")  # a share

    Raises:
        ConfigError: no metric, or no statistic of it, has this name.
    """
    require_objective(name)
    metric, _, statistic = name.partition(".")
    figure = summary.metrics.get(metric)
    if figure is None or summary.validity:
        return math.nan
    found = getattr(figure, statistic) if isinstance(figure, Distribution) else figure.value
    return math.nan if found is None else float(found)
