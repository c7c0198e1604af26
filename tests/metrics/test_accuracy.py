from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from harness.metrics import Edits
from harness.metrics.accuracy import (
    AlignedWord,
    aligned_words,
    char_edits,
    normalise,
    normaliser_id,
    total_edits,
    word_edits,
)


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
