"""What the instrument leaves open: a rule with less margin than that decides nothing.

A receipt may have been stamped late by ``receipt_error_ms``, a frame was sent late by
``send_lateness_ms``. Errors of receipts count in full, for the worst of the runs compared. Late
sending counts in full against a stated limit; two arms of one driver share it, so that in a
comparison only its difference counts (in full where that of the other is not known).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from harness.metrics.metric import Metric
from harness.stats.estimates import percentile
from harness.verdicts.rules.rule import Clips, Material, Rule, RuleResult

_OF_THE_INSTRUMENT = ("receipt_error_ms", "send_lateness_ms", "loop_lag_ms")
_CENTRAL = ("p50", "mean")  # judged by the median error; percentiles beyond by its p95


class LeftOpen(NamedTuple):
    """How far the instrument may be off, in ms; ``quantile`` of what was seen of it."""

    receipt_ms: float
    sending_ms: float
    quantile: float

    @property
    def total_ms(self) -> float:
        return self.receipt_ms + self.sending_ms

    def __str__(self) -> str:
        q = f"p{100 * self.quantile:g}"
        return (
            f"the instrument itself may be off by {self.total_ms:.1f} ms"
            f" (receipt_error_ms {q} {self.receipt_ms:.1f}, send_lateness_ms {q}"
            f" {self.sending_ms:.1f})"
        )


def too_close(rule: Rule, result: RuleResult, material: Material) -> str | None:
    """Why a rule on a latency cannot be decided by this instrument; None: it can."""
    margin_ms = _margin_ms(rule, result)
    if margin_ms is None:
        return None
    left_open = _left_open(rule, material)
    if left_open.total_ms <= margin_ms:
        return None
    return f"{left_open}, more than the margin of {margin_ms:.1f} ms"


def _margin_ms(rule: Rule, result: RuleResult) -> float | None:
    """How far the figure is from the limit; None: no latency, or no figure."""
    metric = getattr(rule, "metric", None)
    if not isinstance(metric, Metric) or metric.unit != "ms" or metric.name in _OF_THE_INSTRUMENT:
        return None
    if result.limit is None:
        return None
    if result.unit == "ms" and result.observed is not None:
        return abs(result.limit - result.observed)
    if result.old is not None and result.new is not None and result.limit > 0:  # so many times
        return abs(result.old / result.limit - result.new)
    return None


def _left_open(rule: Rule, material: Material) -> LeftOpen:
    quantile = 0.5 if getattr(rule, "statistic", "p95") in _CENTRAL else 0.95
    named = getattr(rule, "reference", None)
    references = [
        clips for name, clips in material.references.items()
        if hasattr(rule, "reference") and named in (None, name)
    ]  # fmt: skip
    receipts = [_quantile(clips, "receipt_error_ms", quantile) for clips in
                (material.clips, *references)]  # fmt: skip
    here = _quantile(material.clips, "send_lateness_ms", quantile)
    sending = [abs(here - _quantile(clips, "send_lateness_ms", quantile)) for clips in references]
    return LeftOpen(max(receipts), max(sending, default=here), quantile)


def _quantile(clips: Clips, name: str, quantile: float) -> float:
    """Of all sessions; 0 where nothing was seen: simulated time, or a run of before."""
    values: Sequence[float] = [value for clip in clips for value in clip.figure(name) or ()]
    return max(0.0, percentile(values, quantile)) if values else 0.0
