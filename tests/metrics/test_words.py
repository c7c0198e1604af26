from __future__ import annotations

import tracemalloc
from functools import cache
from itertools import pairwise
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz.distance import Levenshtein

from harness.metrics import words as words_module
from harness.metrics.words import align, bare, match_words


def test_case_and_punctuation_do_not_matter():
    assert match_words(["Hello,", "World!"], ["hello", "world."]) == [(0, 0), (1, 1)]


def test_a_missed_word_leaves_the_others_matched():
    assert match_words(["a", "b", "c", "d"], ["a", "c", "d"]) == [(0, 0), (2, 1), (3, 2)]


def test_an_added_word_leaves_the_others_matched():
    assert match_words(["a", "b"], ["a", "x", "b"]) == [(0, 0), (1, 2)]


def test_among_equal_alignments_the_characters_decide():
    # One hypothesis word for two said: "cot" stands for "cat", so "the" (not the dog) is lost.
    assert match_words(["the", "cat", "sat"], ["cot", "sat"]) == [(2, 1)]
    # Either "the" may match; the one whose neighbours then look alike does.
    assert match_words(["the", "dog", "the"], ["the", "dig"]) == [(0, 0)]
    assert match_words(["the", "dog", "the"], ["dig", "the"]) == [(2, 1)]


def test_lone_punctuation_is_no_word():
    assert match_words(["a", "-", "b"], ["a", "b", "..."]) == [(0, 0), (2, 1)]


@pytest.mark.parametrize(("said", "heard"), [([], []), (["a"], []), ([], ["a"]), (["a"], ["b"])])
def test_nothing_to_match(said, heard):
    assert match_words(said, heard) == []


@pytest.mark.parametrize(
    ("said", "heard", "steps"),
    [
        ("a b", "b c", [(0, 0), (1, 1)]),  # two pairs before a deletion and an insertion
        ("a a", "a", [(0, None), (1, 0)]),  # from the end: the last one is the one that was heard
        ("a", "a a", [(None, 0), (0, 1)]),
        ("a x", "y a", [(0, 0), (1, 1)]),
        ("ab x c", "x c ab", [(0, None), (1, 0), (2, 1), (None, 2)]),
    ],
)
def test_ties_go_to_pairs_then_deletions_then_insertions(said, heard, steps):
    assert list(align(said.split(), heard.split())) == steps


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("Hello,", "hello"),
        ("-", ""),
        ("की\u0964", "की"),
        ("e\u0301té", "été"),
        ("كَتَب", "كَتَب"),
        ("\u200bhel\u00adlo", "hello"),
        ("\uff21", "a"),
        ("\u3002", ""),
        ("\u0301", ""),
    ],
)
def test_bare_words_keep_their_marks(word, expected):
    assert bare(word) == expected


def test_words_of_other_vowel_signs_do_not_match():
    assert match_words(["की"], ["का"]) == []
    assert match_words(["की"], ["की\u0964"]) == [(0, 0)]


words = st.lists(st.sampled_from(["a", "ab", "abc", "b", "bc", "d"]), max_size=7)


@given(words, words)
def test_no_alignment_is_cheaper(said, heard):
    """Against a plain recursion over all alignments: word edits first, then character edits."""

    @cache
    def cheapest(i: int, j: int) -> tuple[int, int]:
        if i == 0 or j == 0:
            return i + j, sum(map(len, said[:i])) + sum(map(len, heard[:j]))
        ways = []
        same = said[i - 1] == heard[j - 1]
        for before, edits, letters in (
            (cheapest(i - 1, j - 1), not same, Levenshtein.distance(said[i - 1], heard[j - 1])),
            (cheapest(i - 1, j), 1, len(said[i - 1])),
            (cheapest(i, j - 1), 1, len(heard[j - 1])),
        ):
            ways.append((before[0] + edits, before[1] + letters))
        return min(ways)

    pairs = match_words(said, heard)

    assert all(said[i] == heard[j] for i, j in pairs)
    assert all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(pairs))
    assert _cost(said, heard, pairs) == cheapest(len(said), len(heard))


@pytest.mark.parametrize("wide", [0, 48])
@given(words, words)
def test_the_band_changes_nothing(wide, said, heard):
    """Against the same costs in a full matrix, walked back in the same order."""
    edit = 1 << 32
    n = len(heard)

    def apart(i: int, j: int) -> int:
        same = said[i] == heard[j]
        return 0 if same else edit + Levenshtein.distance(said[i], heard[j])

    costs = [[0] * (n + 1) for _ in range(len(said) + 1)]
    for i, row in enumerate(costs):
        for j in range(n + 1):
            ways = [costs[i - 1][j - 1] + apart(i - 1, j - 1)] if i and j else []
            ways += [costs[i - 1][j] + edit + len(said[i - 1])] if i else []
            ways += [row[j - 1] + edit + len(heard[j - 1])] if j else []
            row[j] = min(ways, default=0)
    pairs = []
    i, j = len(said), n
    while i and j:
        if costs[i][j] == costs[i - 1][j - 1] + apart(i - 1, j - 1):
            i, j = i - 1, j - 1
            pairs += [(i, j)] if said[i] == heard[j] else []
        elif costs[i][j] == costs[i - 1][j] + edit + len(said[i - 1]):
            i -= 1
        else:
            j -= 1

    words_module._align.cache_clear()
    with mock.patch.object(words_module, "_WIDE", wide):
        assert match_words(said, heard) == pairs[::-1]


def test_a_long_text_with_few_errors_takes_little_memory():
    said = [f"w{i}" for i in range(3000)]
    tracemalloc.start()
    try:
        pairs = match_words(said, [*said[:1500], "other", *said[1502:]])
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(pairs) == 2998
    assert most_bytes < 10e6  # a full matrix is 72 MB


def _cost(said, heard, pairs) -> tuple[int, int]:
    """The cheapest cost of an alignment that matches exactly these pairs."""
    total, letters, i, j = 0, 0, 0, 0
    for next_i, next_j in [*pairs, (len(said), len(heard))]:
        edits, apart = _between(tuple(said[i:next_i]), tuple(heard[j:next_j]))
        total, letters, i, j = total + edits, letters + apart, next_i + 1, next_j + 1
    return total, letters


@cache
def _between(said: tuple[str, ...], heard: tuple[str, ...]) -> tuple[int, int]:
    if not said or not heard:
        return len(said) + len(heard), sum(map(len, said)) + sum(map(len, heard))
    ways = [
        (_between(said[1:], heard[1:]), 1, Levenshtein.distance(said[0], heard[0])),
        (_between(said[1:], heard), 1, len(said[0])),
        (_between(said, heard[1:]), 1, len(heard[0])),
    ]
    return min((before[0] + edits, before[1] + letters) for before, edits, letters in ways)
