"""What one session by itself is to keep: limits on its own figures, all of them or it is not good.

Goodput is the share of good sessions: of a run in gates, of a number of streams in ``capacity``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.languages.units import is_blank, is_spoken
from harness.metrics import ClipMetrics
from harness.stats.estimates import percentile
from harness.verdicts.rules import Within, quantile


def is_good(clip: ClipMetrics, objectives: Sequence[Within]) -> bool:
    """Whether a session met every objective; one that failed, or did not answer, did not."""
    answered = not is_blank(clip.hypothesis) or not is_spoken(clip.reference)
    return clip.failed is None and answered and all(_keeps(clip, o) for o in objectives)


def _keeps(clip: ClipMetrics, objective: Within) -> bool:
    values = _values(clip, objective)
    if not values:  # no gap where there is one chunk; no TTFT where nothing was said
        return objective.metric.scope == "series" or not is_spoken(clip.reference)
    q = quantile(objective.statistic or "mean")
    value = sum(values) / len(values) if q is None else percentile(values, q)
    low = -math.inf if objective.low is None else objective.low
    high = math.inf if objective.high is None else objective.high
    return low <= value <= high


def _values(clip: ClipMetrics, objective: Within) -> tuple[float, ...]:
    value = clip.figure(objective.metric.name)
    return value if isinstance(value, tuple) else () if value is None else (value,)


def never_measured(
    clips: Sequence[ClipMetrics], objectives: Sequence[Within]
) -> tuple[Within, str] | None:
    """The first objective that no session could break, and why; None: there is none.

    Where no session ended with text, nothing can be said of any.
    """
    ended = [clip for clip in clips if clip.failed is None and not is_blank(clip.hypothesis)]
    for objective in objectives if ended else ():
        if not any(_values(clip, objective) for clip in ended):
            return objective, ended[0].why_null.get(objective.metric.name, "no sample")
    return None
