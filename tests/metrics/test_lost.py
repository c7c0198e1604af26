"""Speech that nothing stands for in the text."""

from __future__ import annotations

import pytest

from harness.events import SessionKind, Word
from harness.metrics.instants import NO_WORDS, Missing
from harness.metrics.lost import NO_PAUSE, after_pauses, mute_s, phrases
from harness.metrics.words import lost_words
from tests.traces import make_trace

# Each is spoken for 200 ms; pauses of 1000 ms after b and of 1100 after h.
WORDS = tuple(
    (name, end) for name, end in zip(
        "abcdefghij", (300, 500, 1700, 1900, 2100, 2300, 2500, 2700, 4000, 4200), strict=True)
)  # fmt: skip


def measured(text: str) -> tuple[float | Missing, tuple[int, int] | Missing]:
    trace = make_trace([(text, 4500)], words=WORDS, kind=SessionKind.LIVE)
    return mute_s(trace), after_pauses(trace)


def test_stretches_between_pauses_of_a_second() -> None:
    words = [Word(text, (end - 200) / 1000, end / 1000) for text, end in WORDS]
    words.insert(2, Word("-", 0.9, 1.0))  # nothing is said
    assert list(phrases(words)) == [[0, 1], [3, 4, 5, 6, 7, 8], [9, 10]]


@pytest.mark.parametrize(
    ("text", "mute", "lost"),
    [
        ("a b c d e f g h i j", 0.0, (0, 7)),  # c d e f g, i j
        ("a b e f g h i j", 0.4, (2, 7)),  # c d: 1500 to 1900
        ("a b c d e f g i j", 0.2, (0, 7)),  # h is the sixth after the pause
        ("a b c x e f g h i j", 0.0, (0, 7)),  # wrong, but not lost
        ("a j", 3.7, (6, 7)),  # b to i: 300 to 4000, pauses inside
        ("", 4.1, (7, 7)),  # 100 to 4200
    ],
)
def test_lost_words(text: str, mute: float, lost: tuple[int, int]) -> None:
    found, after = measured(text)
    assert found == pytest.approx(mute)
    assert after == lost


def test_without_timings_or_pauses_there_are_none() -> None:
    assert mute_s(make_trace([("a", 500)])) == after_pauses(make_trace([("a", 500)])) == NO_WORDS
    assert after_pauses(make_trace([("a", 500)], words=WORDS[:2])) == NO_PAUSE


def test_lost_words_are_indices_of_the_reference() -> None:
    assert lost_words(["-", "One", "two,", "three"], ["...", "one", "3"]) == {2}
