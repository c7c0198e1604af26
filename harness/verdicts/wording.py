"""Figures and intervals as verdicts word them."""

from __future__ import annotations

import math

from harness.stats.estimates import Interval


def say(value: float, unit: str) -> str:
    """A figure for people: 347 ms, 81.4 ms, 0.0833."""
    if math.isinf(value):
        return "infinite" if value > 0 else "minus infinity"
    if unit == "1":
        return f"{value:.4f}".rstrip("0").rstrip(".")
    return f"{value:.{0 if abs(value) >= 100 else 1}f} {unit}"


def say_interval(interval: Interval, unit: str) -> str:
    if interval.low is not None and interval.low == interval.high:
        return "(the same whichever clips are drawn)"
    ends = ["unknown" if end is None else say(end, unit) for end in (interval.low, interval.high)]
    return f"({100 * interval.confidence:.3g} % interval {ends[0]} to {ends[1]})"
