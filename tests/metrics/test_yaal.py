"""YAAL and LongYAAL are OmniSTEval's."""

from __future__ import annotations

import pytest

from harness.events import SessionKind
from harness.metrics.instants import NO_TEXT, NO_WORDS, ONLY_LIVE, Missing
from harness.metrics.yaal import long_yaal_ms, yaal, yaal_ms
from tests.traces import make_trace

# What YAALScorer of omnisteval 0.1.10 (PyPI) gives: delays, source length, words of the reference,
# end of the recording; short form, long form. It needs sacrebleu and mosestokenizer, and so is not
# among the development dependencies.
OMNISTEVAL = [
    ([100, 1500, 1900, 2700, 2900, 3100], 3400, 7, 4400, 819.0476190476192, 819.0476190476192),
    ([100, 1000, 1500, 1600, 1900, 2000, 2000, 2200, 3900, 4100, 4300, 4800], 2000, 1, 2300,
     886.6666666666667, 954.1666666666666),
    ([200, 200, 1000, 3000, 3000, 3900, 3900, 4100, 4100, 4300], 2000, 12, 2400, 300.0, 300.0),
    ([600, 1700, 2400, 2700], 2300, 6, 3000, 958.3333333333334, 1275.0),
    ([300, 1200, 1900, 1900, 3700, 3800, 4200], 3700, 2, 3700,
     532.1428571428571, 532.1428571428571),
    ([500, 1000, 1600, 2000, 2000, 2100, 3000, 3000, 3200], 2700, 3, 3400,
     783.3333333333334, 844.4444444444445),
    ([100, 200, 600, 800, 2900, 3000, 3100, 3200, 3200, 4000, 4200, 4500], 400, 3, 700,
     133.33333333333331, 266.6666666666667),
    ([2800, 2801, 2802], 2700, 6, 3400, None, 2351.0),
    ([100, 600, 700, 800, 1500, 1600, 2100, 3500, 4600], 800, 7, 1800,
     377.77777777777777, 661.1111111111111),
    ([4800], 1100, 11, 1100, None, None),
]  # fmt: skip


@pytest.mark.parametrize(("delays", "source", "words", "recording", "short", "long"), OMNISTEVAL)
def test_both_are_those_of_omnisteval(
    delays: list[float],
    source: float,
    words: int,
    recording: float,
    short: float | None,
    long: float | None,
) -> None:
    assert yaal(delays, source, words) == (short and pytest.approx(short))
    found = yaal(delays, source, words, recording_ms=recording)
    assert found == (long and pytest.approx(long))


# The same with its SoftSegmenter: "fig oak" from 100 to 500, "elm yew" from 1600 to 2000; when each
# word came, and long_yaal.
RESEGMENTED = [
    ([("fig", 460), ("elm", 1980)], 370),
    ([("figs", 440), ("oak", 560), ("elm", 2020), ("yew", 2180)], 300),
    ([("fig", 500), ("oaks", 560), ("elm", 1960), ("yew", 2000)], 345),
    ([("fig", 320), ("oak", 680)], 300),
    ([("fig", 520), ("oaks", 640), ("elm", 1920), ("yew", 2240)], 350),
    ([("fig", 340), ("oaks", 520), ("yew", 2200)], 230),
    ([("fig", 500), ("oaks", 620), ("elm", 1920), ("yew", 2160)], 340),
    ([("fig", 480), ("oak", 600), ("elm", 1800), ("yews", 2180)], 270),
    ([("fig", 340), ("oak", 600), ("elms", 1980), ("yew", 2220)], 325),
    ([("fig", 500), ("oak", 680), ("elm", 1820)], 305),
]  # fmt: skip


@pytest.mark.parametrize(("heard", "expected"), RESEGMENTED)
def test_sessions_of_two_stretches_are_those_of_omnisteval(
    heard: list[tuple[str, float]], expected: float
) -> None:
    trace = make_trace(
        [(f"{word} ", at) for word, at in heard],
        words=[("fig", 300), ("oak", 500), ("elm", 1800), ("yew", 2000)],
        kind=SessionKind.LIVE,
    )
    assert long_yaal_ms(trace) == pytest.approx(expected)


def test_words_after_the_end_of_the_audio_do_not_count() -> None:
    tokens = [("a", 500), (" b", 1000), (" c", 2100), (" d", 2200)]
    trace = make_trace(tokens, kind=SessionKind.LIVE)  # of 2000 ms, words after the next token
    # a when b came: 1000; b when c came, and the rest, had all of the audio.
    assert yaal_ms(trace) == 1000
    late = make_trace([("a", 2100)], kind=SessionKind.LIVE)
    assert isinstance(yaal_ms(late), Missing)


def test_long_yaal_counts_from_the_start_of_each_stretch() -> None:
    tokens = [("a ", 500), ("b ", 700), ("x ", 1600), ("c ", 1800)]
    words = [("a", 300), ("b", 500), ("c", 1900)]  # c from 1700, 1200 after b
    trace = make_trace(tokens, words=words, kind=SessionKind.LIVE)
    # From 100, 400 long, over at 1800, three words with "x", which follows "b": 400, 600, 1500 less
    # 0, 133, 267. From 1700, 200 long, over at 200: 100.
    first = (400 + 600 + 1500 - 400 / 3 - 800 / 3) / 3
    assert long_yaal_ms(trace) == pytest.approx((first + 100) / 2)


def test_missing() -> None:
    assert yaal_ms(make_trace([("a", 2100)])) == long_yaal_ms(make_trace()) == ONLY_LIVE
    assert yaal_ms(make_trace(kind=SessionKind.LIVE)) == NO_TEXT
    assert long_yaal_ms(make_trace(kind=SessionKind.LIVE)) == NO_WORDS
