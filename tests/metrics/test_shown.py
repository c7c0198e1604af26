"""Since when each word was shown, stayed and was final."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.chunking import Tokens, Words
from harness.events import Trace
from harness.metrics.instants import text_chunks
from harness.metrics.shown import displayed_text, shown_words, takes_back
from tests.traces import MS, T0_MS, Step, figures, interim, make_trace


def instants(trace: Trace) -> list[tuple[str, float, float, float]]:
    """(word, first shown, stable, final), ms after audio time zero."""
    return [
        (w.text, *((ns / MS) - T0_MS for ns in (w.first_ns, w.shown_ns, w.final_ns)))
        for w in shown_words(trace)
    ]


REVISED: list[Step] = [
    (500, 0, "It was the best of time.", False),
    (900, 0, "It was the best of times. It was the", False),
    (1300, 0, "It was the best of times, it was the worst", False),
    (1400, 0, "It was the best of times,", True),
    (1400, 1, " it was the first", False),
    (1700, 1, " it was the worst", True),
]


def test_words_that_change_are_stable_later_than_they_are_shown() -> None:
    assert instants(interim(REVISED)) == [
        ("It", 500, 500, 1400), ("was", 500, 500, 1400), ("the", 500, 500, 1400),
        ("best", 500, 500, 1400), ("of", 500, 500, 1400), ("times,", 900, 900, 1400),
        ("it", 900, 1400, 1700), ("was", 900, 1400, 1700), ("the", 900, 1400, 1700),
        ("worst", 1300, 1700, 1700),
    ]  # fmt: skip


def test_a_word_that_is_taken_back_and_comes_again_was_first_shown_the_first_time() -> None:
    steps: list[Step] = [
        (500, 0, "It was", False), (600, 0, "It", False), (700, 0, "It was", True),
    ]  # fmt: skip
    assert instants(interim(steps)) == [("It", 500, 500, 700), ("was", 500, 700, 700)]


def test_what_is_open_at_the_end_is_final_then() -> None:
    assert instants(interim([(500, 0, "It was", False)])) == [
        ("It", 500, 500, 2500), ("was", 500, 500, 2500),
    ]  # fmt: skip


def test_the_first_counted_word_ends_ttft_though_it_is_taken_back() -> None:
    steps: list[Step] = [(2100, 0, "...", False), (2200, 0, "Hm it", False), (2400, 0, "It", True)]
    clip = figures(interim(steps, ended_ms=2600))
    assert (clip.first_text_ms, clip.ttft_ms) == (100, 200)
    assert clip.hypothesis == "It"
    assert clip.why_null["hold_ms"] == clip.why_null["split_words"]


@given(st.lists(st.sampled_from(["a", " b", " c d", ". ", " "]), max_size=8))
def test_of_an_engine_that_only_appends_nothing_is_different(texts: list[str]) -> None:
    tokens = [(text, 2100.0 + 10 * k) for k, text in enumerate(texts)]
    for strategy in (Words(1), Words(2), Tokens()):
        trace = make_trace(tokens, chunking=strategy, ended_ms=2400)
        assert not takes_back(trace)
        assert displayed_text(trace) == trace.text == "".join(texts)
        for word in shown_words(trace):
            assert word.first_ns == word.shown_ns == word.final_ns
            assert trace.chunks[word.chunk] in text_chunks(trace)
