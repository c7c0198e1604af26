import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.report.text import DASH, interval, ms, percent, plural, points, shorten


@given(st.text(), st.integers(2, 20))
def test_shortened_text_fits(text: str, characters: int) -> None:
    assert len(shorten(text, characters)) <= characters


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, DASH), (0.0, "0.00 ms"), (0.1234, "0.12 ms"), (9.994, "9.99 ms"), (9.996, "10.0 ms"),
     (412.34, "412.3 ms"), (12345.6, "12,345.6 ms"), (-4.2, "-4.20 ms")],
)  # fmt: skip
def test_milliseconds(value: float | None, shown: str) -> None:
    assert ms(value) == shown


def test_shares_and_counts() -> None:
    assert (percent(0.0412), percent(None)) == ("4.1 %", DASH)
    assert (points(0.004), points(-0.01)) == ("+0.4 pp", "-1.0 pp")
    assert (plural(1, "clip"), plural(0, "clip"), plural(1200, "word")) == (
        "1 clip", "0 clips", "1,200 words",
    )  # fmt: skip


def test_intervals() -> None:
    assert interval((400.04, 420.0), ms) == "[400.0, 420.0]"
    assert interval((400.0, None), ms) == f"[400.0, {DASH}]"
    assert interval((None, None), ms) == interval(None, ms) == ""
