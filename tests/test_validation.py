"""Checks of option values name the field, the value and what is allowed."""

from __future__ import annotations

import math

import pytest

from harness.errors import ConfigError
from harness.validation import require, require_number, require_one_of


@pytest.mark.parametrize("value", [0, 1, 2.5, 10])
def test_a_number_in_its_range_is_taken(value: float) -> None:
    require_number("a.b", value, 0, 10)


@pytest.mark.parametrize(
    ("value", "low", "high", "above", "allowed"),
    [
        (-1, 0, math.inf, False, "0 or more"),
        (0, 0, math.inf, True, "above 0"),
        (11, 1, 10, False, "1 or more, at most 10"),
        (math.nan, 0, 10, False, "0 or more, at most 10"),
        (math.inf, 0, math.inf, False, "0 or more"),
        (math.nan, -math.inf, math.inf, False, "a finite number"),
    ],
)
def test_a_number_out_of_its_range_is_refused(
    value: float, low: float, high: float, above: bool, allowed: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        require_number("a.b", value, low, high, above=above)
    assert refused.value.what == "config field a.b"
    assert refused.value.allowed == allowed


@pytest.mark.parametrize("value", ["4", None, True, [4], 1j])
def test_what_is_no_number_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match=r"(?s)a\.b.*allowed: 0 or more"):
        require_number("a.b", value, 0)  # type: ignore[arg-type]


def test_a_choice_and_a_condition() -> None:
    require_one_of("a.b", "x", ("x", "y"))
    with pytest.raises(ConfigError, match=r"(?s)a\.b: 'z'.*allowed: x, y"):
        require_one_of("a.b", "z", ("x", "y"))
    require(True, "a.b", 1, "odd")
    with pytest.raises(ConfigError, match=r"(?s)a\.b: 2.*allowed: odd"):
        require(False, "a.b", 2, "odd")
