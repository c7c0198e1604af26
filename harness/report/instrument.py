"""How exact the instrument itself was: what the harness added to, or could not see of, a run."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from harness.metrics import Distribution
from harness.metrics.instrument import loop_lateness_ms
from harness.report.arms import Arm
from harness.report.text import ms
from harness.stats.estimates import percentile

# Metric -> what it tells, in the order in which a session meets them.
WATCHED = {
    "send_lateness_ms": "frames sent after they were due",
    "loop_lag_ms": "event loop late for what was due",
    "receipt_error_ms": "how late a receipt may have been stamped",
}
NOT_RECORDED = "not recorded"


class InstrumentFigure(msgspec.Struct, frozen=True):
    """One figure of the instrument, of every arm."""

    name: str  # of the metric
    label: str  # `Send lateness`
    what: str
    arms: tuple[str, ...]  # `p50 0.12 ms, p95 0.34 ms`, or that it was not recorded


def instrument(arms: Sequence[Arm]) -> list[InstrumentFigure]:
    return [
        InstrumentFigure(name, label_of(name), what, tuple(_words(arm, name) for arm in arms))
        for name, what in WATCHED.items()
    ]


def label_of(name: str) -> str:
    return name.removesuffix("_ms").replace("_", " ").capitalize()


def values_of(arm: Arm, name: str) -> list[float]:
    """All values of an arm, in ms; empty where the run did not record it."""
    if name == "loop_lag_ms":  # every tick, not the largest of each session
        return [late for trace in arm.traces.values() for late in loop_lateness_ms(trace)]
    return arm.values(name)


def _words(arm: Arm, name: str) -> str:
    stated = arm.summary.metrics.get(name)
    if isinstance(stated, Distribution) and stated.n and name != "loop_lag_ms":
        p50, p95, largest, n = stated.p50, stated.p95, stated.max, stated.n
    elif values := values_of(arm, name):
        p50, p95 = percentile(values, 0.5), percentile(values, 0.95)
        largest, n = max(values), len(values)
    else:
        return NOT_RECORDED
    return f"p50 {ms(p50)}, p95 {ms(p95)}, max {ms(largest)}; n = {n:,}"


def in_words(arms: Sequence[Arm], name: str) -> str:
    """One figure of every arm; said once where all say the same."""
    words = [_words(arm, name) for arm in arms]
    if len(set(words)) == 1:
        return words[0]
    return "; ".join(f"{arm.label} {said}" for arm, said in zip(arms, words, strict=True))
