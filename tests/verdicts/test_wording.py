"""Figures and intervals as verdicts word them."""

from __future__ import annotations

import math

import pytest

from harness.stats.estimates import Interval
from harness.verdicts.wording import say, say_interval


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (347.2, "ms", "347 ms"), (81.44, "ms", "81.4 ms"), (-0.04, "ms", "-0.0 ms"),
        (0.08331, "1", "0.0833"), (0.5, "1", "0.5"), (2.0, "1", "2"),
        (math.inf, "ms", "infinite"), (-math.inf, "1", "minus infinity"),
    ],
)  # fmt: skip
def test_a_figure_has_as_many_digits_as_a_reader_needs(value: float, unit: str, said: str) -> None:
    assert say(value, unit) == said


def test_an_interval_says_its_confidence_and_what_is_unknown() -> None:
    assert say_interval(Interval(1.0, 2.0, 0.9), "ms") == "(90 % interval 1.0 ms to 2.0 ms)"
    assert say_interval(Interval(1.0, None, 0.9), "1") == "(90 % interval 1 to unknown)"
    assert say_interval(Interval(1.0, 1.0, 0.9), "1") == "(the same whichever clips are drawn)"
