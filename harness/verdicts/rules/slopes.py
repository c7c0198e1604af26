"""The test of a slope by its interval: of a session's delay, of a run's memory."""

from __future__ import annotations

import math
from typing import cast

from scipy import special

from harness.stats.estimates import Interval

_Z95 = float(special.ndtri(0.975))


def slope_within(
    slope: float,
    ci95: tuple[float | None, float | None],
    high: float,
    alpha: float,
    points: float = math.inf,
) -> tuple[float, Interval]:
    """P-value against "``slope`` is more than ``high``", and the interval that goes with alpha.

    Args:
        points: that the slope is of, where it is one of many that are looked at: the worst of them
            lies far out, where a few points are worth less than the normal distribution says.
    """
    below, above = slope - cast("float", ci95[0]), cast("float", ci95[1]) - slope
    # Each side of Sen's interval as if normal: Kendall's statistic nearly is. Student's t of as
    # many points falls slower; in simulated runs of 44 to 100 sessions 0 to 5 % fail by chance.
    z = _Z95 * (slope - high) / max(above if slope <= high else below, 1e-9)
    if math.isinf(points):
        p_value, wide = special.ndtr(z), special.ndtri(1 - alpha) / _Z95
    else:
        p_value, wide = special.stdtr(points - 2, z), special.stdtrit(points - 2, 1 - alpha) / _Z95
    low, high = float(slope - wide * below), float(slope + wide * above)
    return float(p_value), Interval(low, high, 1 - 2 * alpha)
