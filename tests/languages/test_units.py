"""What a word is in texts of any script."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.languages.units import (
    clusters_of,
    composed,
    is_blank,
    join_words,
    spoken_words,
    whole_words,
    without,
    words_of,
)

INVISIBLE = "\u200b\u200c\u200d\u200e\u200f\u00ad\u2060\ufeff\u202a\u202c\u2066\u2069\ufe0f\u034f"
LETTERS = "ab1 .,-\u3002\uff01\u300c今天气かが\u30fcパｶ\uff9eน้ำကောក្ຫກາकीा\u0964بَéü"
texts = st.text(LETTERS, max_size=20) | st.text(max_size=12)


def words(text: str) -> list[str]:
    return [word.text for word in words_of(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It was - \u201cthe\u201d best.", ["It", "was", "-", "\u201cthe\u201d", "best."]),
        ("今天 天气", list("今天天气")),
        ("我用iPhone 15打", ["我", "用", "iPhone", "15", "打"]),
        ("ス\u30fcパ\u30fc", list("ス\u30fcパ\u30fc")),
        ("か\u3099っ", ["か\u3099", "っ"]),
        ("ｶ\uff9e", ["ｶ\uff9e"]),
        ("น้ำไทย", ["น้ำ", "ไ", "ท", "ย"]),
        ("နေကောင်း", ["နေ", "ကော", "င်း"]),
        ("की का", ["की", "का"]),
        ("كَتَب", ["كَتَب"]),
        ("한국어 말", ["한국어", "말"]),
        ("hel\u200blo wor\u00adld", ["hel\u200blo", "wor\u00adld"]),
        ("\u200b \ufeff \u0301", []),
        ("\ufeffa\u200b 今\u200d", ["a\u200b", "今\u200d"]),
    ],
)  # fmt: skip
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@pytest.mark.parametrize("text", ["", " \n", "\u200b", " \ufeff\u2066 ", "\u3000", "\x1c"])
def test_what_is_not_seen_is_blank(text: str) -> None:
    assert is_blank(text)
    assert not is_blank(text + ".")
    assert not is_blank(text + "\u0940")  # a mark is seen, on the letter of the chunk before


def test_what_is_spoken_has_a_letter_or_digit() -> None:
    assert spoken_words("你好\uff0c - 5 \u300cकी\u300d \u0964") == [
        "你", "好", "5", "की",
    ]  # fmt: skip


def test_clusters_keep_marks_with_their_letter() -> None:
    assert clusters_of("नमस्ते a") == [
        "न", "म", "स्ते", " ", "a",
    ]  # fmt: skip


@given(texts)
def test_words_and_what_is_between_them_are_the_text(text: str) -> None:
    end = 0
    for word in words_of(text):
        assert text[word.start : word.end] == word.text
        assert is_blank(without(r"\p{M}", text[end : word.start])[0])
        assert not is_blank(word.text)
        end = word.end
    assert is_blank(without(r"\p{M}", text[end:])[0])


@given(st.text("ab.-\t \n\x1c\x1f", max_size=20))
def test_in_plain_text_words_are_what_is_between_white_space(text: str) -> None:
    assert words(text) == text.split()


@given(texts)
def test_whole_words_are_those_that_nothing_can_change(text: str) -> None:
    whole = whole_words(text)
    assert text.startswith("".join(whole))
    for more in ("", "a", "\u0301", "今", "\u200d", " ", "ำ"):
        assert words(text + more)[: len(whole)] == [word for one in whole for word in words(one)]


@given(texts, st.data())
def test_invisible_characters_make_no_word_and_split_none(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text)))
    sign = data.draw(st.sampled_from(INVISIBLE))
    assert composed(text[:at] + sign + text[at:]) == composed(text)
    assert words(composed(text)) == words(composed(text[:at] + sign + text[at:]))


@given(texts)
def test_composed_letters_are_the_same_as_those_taken_apart(text: str) -> None:
    assert composed(unicodedata.normalize("NFD", text)) == composed(text)


@given(st.lists(st.sampled_from(["a", "bc", "今", "天", "か\u3099"]), max_size=6))
def test_joined_words_are_those_words(said: list[str]) -> None:
    assert words("".join(join_words(said))) == said


def test_a_long_text_without_white_space_is_cut_in_linear_time() -> None:
    """Cut in about a second; if it were not linear, in hours."""
    assert len(words("今" * 200_000)) == 200_000
    assert len(words("\u200b" * 200_000 + "\u0301 " * 100_000)) == 0
    assert len(whole_words("a\u0301" * 200_000)) == 0
