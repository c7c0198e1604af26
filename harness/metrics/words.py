"""Which word of the hypothesis is which word of the reference.

Fewest word edits; among those, the alignment whose substituted, deleted and inserted words differ
by the fewest characters. So in "the cat" -> "a the hat" it is "the" that matches "the", and "hat"
that stands for "cat". Words are compared without case and punctuation; words are neither split nor
joined ("do not" is not "don't"), because each keeps an instant of its own.
"""

from __future__ import annotations

import functools
from array import array
from collections.abc import Sequence

from rapidfuzz.distance import Levenshtein

_EDIT = 1 << 32  # cost of a word edit; below it, those of its characters
_FAR = 1 << 62


def bare(word: str) -> str:
    """A word as it is compared: lower case, letters and digits only; ``""`` for a lone dash."""
    return "".join(character for character in word.casefold() if character.isalnum())


def match_words(reference: Sequence[str], hypothesis: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs (index in reference, index in hypothesis) of equal words, both increasing."""
    said = [(index, bare(word)) for index, word in enumerate(reference) if bare(word)]
    heard = [(index, bare(word)) for index, word in enumerate(hypothesis) if bare(word)]
    pairs = _align(tuple(word for _, word in said), tuple(word for _, word in heard))
    return [(said[i][0], heard[j][0]) for i, j in pairs]


@functools.lru_cache(maxsize=8)  # several metrics ask about the same clip
def _align(said: tuple[str, ...], heard: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    # An alignment with k edits never strays more than k off the diagonal: no other cell is kept.
    band = Levenshtein.distance(said, heard)
    # [i][j - _before(i, band)]: of the first i said words and the first j heard ones
    costs: list[array[int]] = []
    above: Sequence[int] = ()
    for i in range(len(said) + 1):
        before = _before(i, band)
        shift = before - _before(i - 1, band)
        row = array("q", [_FAR]) * (min(len(heard), i + band) - before + 2)
        for k in range(1, len(row) - 1):
            j = before + k
            if i == j == 0:
                row[k] = 0
                continue
            row[k] = min(
                above[k - 1 + shift] + _apart(said[i - 1], heard[j - 1]) if i and j else _FAR,
                above[k + shift] + _EDIT + len(said[i - 1]) if i else _FAR,
                row[k - 1] + _EDIT + len(heard[j - 1]) if j else _FAR,
            )
        costs.append(row)
        above = row
    return _matches(said, heard, costs, band)


def _before(i: int, band: int) -> int:
    """The j of the first cell that row i keeps; this one and its last cell are beyond the band."""
    return max(0, i - band) - 1


def _matches(
    said: tuple[str, ...], heard: tuple[str, ...], costs: Sequence[Sequence[int]], band: int
) -> tuple[tuple[int, int], ...]:
    """Walk back along a cheapest way; among equal ones, the diagonal first."""

    def cost(i: int, j: int) -> int:
        return costs[i][j - _before(i, band)]

    pairs = []
    i, j = len(said), len(heard)
    while i and j:
        if cost(i, j) == cost(i - 1, j - 1) + _apart(said[i - 1], heard[j - 1]):
            i, j = i - 1, j - 1
            if said[i] == heard[j]:
                pairs.append((i, j))
        elif cost(i, j) == cost(i - 1, j) + _EDIT + len(said[i - 1]):
            i -= 1
        else:
            j -= 1
    return tuple(reversed(pairs))


@functools.lru_cache(maxsize=65_536)
def _apart(said: str, heard: str) -> int:
    return 0 if said == heard else _EDIT + Levenshtein.distance(said, heard)
