from __future__ import annotations

import unicodedata

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.languages.units import spoken_words, words_of
from harness.metrics import Edits
from harness.metrics.accuracy import (
    AlignedWord,
    aligned_words,
    char_edits,
    normalise,
    normaliser_id,
    told_as_cer,
    total_edits,
    word_edits,
)
from harness.metrics.words import match_words


def test_case_punctuation_and_english_spelling_are_no_errors():
    assert word_edits("It was the BEST of times,", "it was the best of times", "en").errors == 0
    assert word_edits("Mr. Smith doesn't favour it.", "mister smith does not favor it", "en") == (
        Edits(reference=6, hits=6, substitutions=0, deletions=0, insertions=0)
    )


def test_other_languages_get_the_basic_rules():
    assert normalise("Mr. Smith's  Grüße!", "de") == "mr smith s grüße"
    assert normaliser_id("en") == "whisper-normalizer 0.1.15 english"
    assert normaliser_id("de") == "whisper-normalizer 0.1.15 basic, marks kept"


def test_one_of_each_edit():
    edits = word_edits("a quick brown fox ran", "a quick brawn fox then ran", "de")

    assert edits == Edits(reference=5, hits=4, substitutions=1, deletions=0, insertions=1)
    assert edits.errors == 2


def test_an_empty_hypothesis_is_all_deletions():
    assert word_edits("two words", "", "en").deletions == 2
    assert char_edits("two", "", "de").deletions == 3


def test_an_empty_reference_is_all_insertions():
    assert word_edits("", "two words", "en") == Edits(0, 0, 0, 0, 2)
    assert char_edits("", "two", "de") == Edits(0, 0, 0, 0, 3)


def test_both_empty_is_no_edit():
    nothing = Edits(0, 0, 0, 0, 0)
    assert word_edits("", "", "en") == char_edits("", "", "en") == nothing
    assert aligned_words("!", "", "en") == ()


def test_alignment_shows_each_edit():
    assert aligned_words("a b c", "a x c d", "de") == (
        AlignedWord("equal", "a", "a"),
        AlignedWord("substitute", "b", "x"),
        AlignedWord("equal", "c", "c"),
        AlignedWord("insert", None, "d"),
    )


def test_corpus_edits_are_sums_not_means():
    clips = [word_edits("a", "x", "de"), word_edits("a b c", "a b c", "de")]

    total = total_edits(clips)

    assert total.errors / total.reference == 0.25


words = st.lists(st.sampled_from(["a", "bb", "ccc", "dd"]), max_size=8).map(" ".join)


@given(words, words)
def test_edits_account_for_every_word(reference, hypothesis):
    edits = word_edits(reference, hypothesis, "de")

    assert edits.reference == len(reference.split())
    assert edits.hits + edits.substitutions + edits.insertions == len(hypothesis.split())
    aligned = aligned_words(reference, hypothesis, "de")
    assert sum(step.edit != "equal" for step in aligned) == edits.errors
    assert [step.reference for step in aligned if step.reference] == reference.split()


# --- texts of all languages ----------------------------------------------------------------------


@pytest.mark.parametrize("tag", ["en-US", "EN", "eng", "en_US"])
def test_english_by_any_tag_is_english(tag: str) -> None:
    said, heard = "Mr. Smith doesn't favour it, OK?", "mister smith does not favor it ok"
    assert word_edits(said, heard, tag) == word_edits(said, heard, "en")
    assert word_edits(said, heard, tag).errors == 0


@pytest.mark.parametrize(
    ("said", "heard", "language", "words", "characters"),
    [
        ("की", "का", "hi", (1, 1), (1, 1)),
        ("नमस्ते दुनिया", "नमस्ते दुनिया", "hi", (0, 2), (0, 7)),
        ("كَتَبَ", "كُتِبَ", "ar", (1, 1), (2, 3)),
        ("schön", "schon", "de", (1, 1), (1, 5)),
        ("今天天气", "今天 天氣\u3002", "zh", (1, 4), (1, 4)),
        ("ス\u30fcパ\u30fc", "スパ\u30fc", "ja", (1, 4), (1, 4)),
        ("น้ำ", "น้ํา", "th", (0, 1), (0, 1)),
        ("我用 iPhone", "我用iphone", "zh", (0, 3), (0, 8)),
        ("$", "", "en", (0, 0), (0, 0)),
        ("İstanbul Iş\u0131k", "istanbul \u0131ş\u0131k", "tr", (0, 2), (0, 13)),
        ("\uff21\uff22 1\ufe0f\u20e3", "ab 1", "de", (0, 2), (0, 4)),
    ],
)  # fmt: skip
def test_errors_of_every_script(said, heard, language, words, characters) -> None:
    for edits, (errors, reference) in (
        (word_edits(said, heard, language), words),
        (char_edits(said, heard, language), characters),
    ):
        assert (edits.errors, edits.reference) == (errors, reference)


SIGNS = "ab It's $5. [x] (y) éüßİकीा\u0964بَ今天\u3002が\u30fcน้ำကော가Åﬁ\u2260\u0301"
TAGS = st.sampled_from(["en", "de", "hi", "zh", "th", "tr"])
any_text = st.text(SIGNS, max_size=16) | st.text(max_size=10)


@given(any_text, TAGS)
def test_how_letters_are_composed_makes_no_error(text: str, language: str) -> None:
    for form in ("NFC", "NFD"):
        assert normalise(unicodedata.normalize(form, text), language) == normalise(text, language)


@given(any_text, TAGS, st.data())
def test_invisible_characters_make_no_error(text: str, language: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text)))
    sign = data.draw(st.sampled_from("\u200b\u200d\u00ad\ufeff\u200f\u2060\ufe0f"))
    assert normalise(text[:at] + sign + text[at:], language) == normalise(text, language)


@given(any_text, TAGS)
def test_every_normalised_word_is_spoken(text: str, language: str) -> None:
    found = normalise(text, language)
    assert [word.text for word in words_of(found)] == spoken_words(found)


vocabulary = st.lists(st.sampled_from(["a", "ab", "abc", "b", "bc", "d"]), max_size=8).map(" ".join)


@given(vocabulary, vocabulary)
def test_errors_are_as_many_as_those_of_jiwer(said: str, heard: str) -> None:
    if said:
        of_words, of_characters = (
            jiwer.process_words(said, heard),
            jiwer.process_characters(said, heard),
        )
        for edits, theirs in (
            (word_edits(said, heard, "de"), of_words),
            (char_edits(said, heard, "de"), of_characters),
        ):
            errors = theirs.substitutions + theirs.deletions + theirs.insertions
            assert edits.errors == errors
            assert edits.reference == theirs.hits + theirs.substitutions + theirs.deletions


@given(vocabulary, vocabulary)
def test_reports_and_word_delays_align_alike(said: str, heard: str) -> None:
    steps = aligned_words(said, heard, "de")
    i = j = 0
    pairs = []
    for step in steps:
        if step.edit == "equal":
            pairs.append((i, j))
        i += step.reference is not None
        j += step.hypothesis is not None
    assert pairs == match_words(said.split(), heard.split())


def test_cer_is_told_where_most_is_of_scripts_without_spaces() -> None:
    assert told_as_cer(["今天天气 OK", "hello"])
    assert not told_as_cer(["hello there", "今"])
    assert not told_as_cer(["한국어", ""])
    assert not told_as_cer([])
