"""TTFT waits for a word that counts; any text before it is noise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.metrics.budget import budget_ms
from harness.metrics.counted import first_counted
from harness.metrics.instants import Missing
from harness.metrics.latency import first_text_ms, hold_ms, ttft_ms
from tests.traces import make_trace

WORDS = "it was the best of times"


@pytest.mark.parametrize(
    "noise",
    [
        ". ",
        "uh ",
        "Um, ",
        "<|en|> ",
        "[BLANK_AUDIO] ",
        "[ Silence ] ",
        "(coughs) ",
        "\u200b ",
        "... ",
    ],
)
def test_noise_is_no_word(noise: str) -> None:
    assert first_counted(noise, "en") is None
    assert first_counted(noise + WORDS, "en") == len(noise)


@pytest.mark.parametrize(
    ("text", "language", "at"),
    [
        ("\u200bit was", "en", 1),  # what is not seen is not waited for
        ("\u00abBonjour\u00bb", "fr", 1),
        ("...it", "en", 3),
        ("uh,it", "en", 3),
        ("<|en|>it", "en", 6),
        ("$5", "en", 1),
        ("$ it", "en", 2),
        ("\u0928\u092e\u0938\u094d\u0924\u0947", "hi", 0),
        ("42 times", "en", 0),
        ("", "en", None),
        ("  ", "en", None),
    ],
)
def test_words_count_from_their_first_letter(text: str, language: str, at: int | None) -> None:
    assert first_counted(text, language) == at


@given(st.lists(st.sampled_from(WORDS.split()), min_size=1, max_size=6))
def test_words_alone_are_counted_from_the_first(words: list[str]) -> None:
    assert first_counted(" ".join(words), "en") == 0
    assert first_counted(" " + " ".join(words), "en") == 1


def test_ttft_is_the_first_word_and_first_text_is_any_text() -> None:
    """Noise at 20 ms, the first real word at 840 ms."""
    tokens = [(". ", 2020), ("it ", 2840), ("was ", 2900)]
    trace = make_trace(tokens, chunks=tokens, reference="it was", ended_ms=3000)
    assert ttft_ms(trace) == 840
    assert first_text_ms(trace) == 20


def test_text_without_a_word_has_no_ttft() -> None:
    trace = make_trace([(". ", 2020)], chunks=[(". ", 2020)], ended_ms=3000)
    assert isinstance(ttft_ms(trace), Missing)
    assert first_text_ms(trace) == 20


def test_the_last_word_is_held_from_its_last_character() -> None:
    """A word at 100 ms and an end at 5100 ms: held for 5 s, as the causes say."""
    trace = make_trace([("word", 2100)], ended_ms=7100)
    assert hold_ms(trace) == (5000,)


def test_no_part_of_a_budget_is_negative() -> None:
    spans = [("decode", 2000, 2100)]
    trace = make_trace([("it", 2050), ("was", 2090)], spans=spans, ended_ms=2100)
    budget = budget_ms(trace)
    assert isinstance(budget, dict)
    assert all(part >= 0 for part in budget.values())
    assert sum(budget.values()) == pytest.approx(ttft_ms(trace))
