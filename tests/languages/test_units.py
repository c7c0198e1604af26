"""Words and clusters: the same units whatever pieces the text comes in."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.languages.units import (
    begins_apart,
    clusters_of,
    compatible,
    composed,
    is_blank,
    is_spoken,
    join_words,
    spoken_words,
    whole_words,
    words_of,
)

TEXTS = st.text("ab .-é\u0301\u200b \n我用ひカ。ไทยกำ", max_size=30)


def texts_of(text: str) -> list[str]:
    return [word.text for word in words_of(text)]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("it was  the\tbest", ["it", "was", "the", "best"]),
        ("don't stop - now", ["don't", "stop", "-", "now"]),
        ("我用 iPhone 打电话", ["我", "用", "iPhone", "打", "电", "话"]),
        ("über größe", ["über", "größe"]),
        ("a\u200bb c", ["a\u200bb", "c"]),
        ("", []),
    ],
)
def test_units_are_decided_by_the_script(text: str, words: list[str]) -> None:
    assert texts_of(text) == words


@given(TEXTS)
def test_a_unit_stands_where_it_says(text: str) -> None:
    found = list(words_of(text))
    assert all(text[word.start : word.end] == word.text for word in found)
    assert all(a.end <= b.start for a, b in itertools.pairwise(found))


@given(TEXTS, st.integers(0, 30))
def test_what_is_whole_stays_whole_when_text_is_added(text: str, at: int) -> None:
    """Releases of a prefix are releases of the whole."""
    early, all_of_it = whole_words(text[:at]), whole_words(text)
    assert all_of_it[: len(early)] == early
    assert text.startswith("".join(all_of_it))


def test_words_are_joined_as_their_scripts_are_written() -> None:
    assert "".join(join_words(["it", "was"])) == "it was"
    assert "".join(join_words(["我", "用", "iPhone"])) == "我用iPhone"
    assert begins_apart("我")
    assert not begins_apart("a")


def test_blank_and_spoken() -> None:
    assert all(map(is_blank, ["", " \n", "\u200b", " \ufeff "]))
    assert not is_blank("-")
    assert [is_spoken(text) for text in ("-", "...", "a", "7", "我")] == [
        False, False, True, True, True,
    ]  # fmt: skip
    assert spoken_words("yes - 我") == ["yes", "我"]


def test_forms_of_one_letter_are_one() -> None:
    assert composed("e\u0301\u200b") == "é"
    assert compatible("\uff21\uff42") == "Ab"
    assert clusters_of("e\u0301x") == ["e\u0301", "x"]
