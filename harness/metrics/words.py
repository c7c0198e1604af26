"""Which word of the hypothesis is which word of the reference: the one alignment of the harness.

Error rates, the coloured texts of reports and word delays all use it. Its rule:

1. Fewest word edits (so error rates are those of jiwer).
2. Among those, the alignment whose substituted, deleted and inserted words differ by the fewest
   characters. In "the cat" -> "a the hat" it is "the" that matches "the", and "hat" that stands for
   "cat".
3. Among those that are left, from the end of the texts to their start: a pair (equal or
   substituted) before a deletion, a deletion before an insertion.

Words are the units of ``languages.units``. For delays they are compared without case, punctuation
and invisible characters, and neither split nor joined ("do not" is not "don't"), because each keeps
an instant of its own; for error rates they are those of the normaliser.
"""

from __future__ import annotations

import functools
from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

from harness.languages.units import compatible, pattern, without_loose_marks

_EDIT = 1 << 32  # cost of a word edit; below it, those of its characters
_FAR = 1 << 62
_WIDE = 48  # words, from which a row is computed as a whole


Step = tuple[int | None, int | None]  # (index in reference, in hypothesis); None: inserted, deleted


@functools.lru_cache(maxsize=65_536)
def bare(word: str) -> str:
    """A word as it is compared: lower case, letters with their marks and digits only.

    ``""`` for a lone dash. Composed and decomposed letters are the same.
    """
    if word.isascii():
        return "".join(filter(str.isalnum, word.lower()))
    folded = compatible(compatible(word).casefold())
    return without_loose_marks(pattern(r"[^\p{L}\p{N}\p{M}]").sub("", folded))


def match_words(reference: Sequence[str], hypothesis: Sequence[str]) -> list[tuple[int, int]]:
    """Pairs (index in reference, index in hypothesis) of equal words, both increasing."""
    return [
        (i, j)
        for i, j in align_bare(reference, hypothesis)
        if i is not None and j is not None and bare(reference[i]) == bare(hypothesis[j])
    ]


def lost_words(reference: Sequence[str], hypothesis: Sequence[str]) -> set[int]:
    """Indices of the reference's words for which no word of the hypothesis stands, right or not."""
    steps = align_bare(reference, hypothesis)
    return {i for i, j in steps if i is not None and j is None}


def align_bare(reference: Sequence[str], hypothesis: Sequence[str]) -> list[Step]:
    """The alignment of two texts by :func:`bare`; words without letter or digit are left out."""
    said = [(index, bare(word)) for index, word in enumerate(reference) if bare(word)]
    heard = [(index, bare(word)) for index, word in enumerate(hypothesis) if bare(word)]
    steps = align([word for _, word in said], [word for _, word in heard])
    return [
        (None if i is None else said[i][0], None if j is None else heard[j][0]) for i, j in steps
    ]


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[Step, ...]:
    """The alignment of two texts, in order; words are equal if they are the same strings."""
    return _align(tuple(reference), tuple(hypothesis))


class _Band(NamedTuple):
    """The cells that are kept: of alignments with so few edits, none strays from the diagonal more.

    Row i holds [0 .. last - first + 1] = the j from first to last + 1, the ends beyond the band.
    """

    below: int  # the most deletions that no insertions before them make up for
    above: int  # likewise, insertions
    words: int  # of the hypothesis

    def first(self, i: int) -> int:
        return max(0, i - self.below) - 1

    def last(self, i: int) -> int:
        return min(self.words, i + self.above)


@functools.lru_cache(maxsize=8)  # several metrics ask about the same clip
def _align(said: tuple[str, ...], heard: tuple[str, ...]) -> tuple[Step, ...]:
    if said == heard:
        return tuple((index, index) for index in range(len(said)))
    edits, more = Levenshtein.distance(said, heard), len(heard) - len(said)
    band = _Band(below=(edits - more) // 2, above=(edits + more) // 2, words=len(heard))
    # costs[i][j - band.first(i)]: of the first i said words and the first j heard ones
    added = accumulate((_EDIT + len(word) for word in heard[: band.last(0)]), initial=0)
    costs: list[Sequence[int]] = [array("q", [_FAR, *added, _FAR])]
    for i, word in enumerate(said, start=1):
        first = band.first(i)
        over = costs[-1][first - band.first(i - 1) :]  # the same columns
        words = heard[max(0, first) : band.last(i)]
        make = _row if len(words) < _WIDE else _wide_row
        costs.append(make(word, words, over, first < 0))
    return _steps(said, heard, costs, band)


def _row(word: str, heard: Sequence[str], over: Sequence[int], at_start: bool) -> Sequence[int]:
    """A row of costs, from the row over it.

    Args:
        word: of the reference, the row's.
        heard: of the hypothesis, the cells'.
        at_start: whether a cell without a word, j = 0, comes before theirs.
    """
    removed = _EDIT + len(word)
    row = array("q", [_FAR, over[1] + removed] if at_start else [_FAR])
    for k, other in enumerate(heard, start=len(row)):
        row.append(
            min(
                over[k - 1] + _apart(word, other),
                over[k] + removed,
                row[k - 1] + _EDIT + len(other),
            )
        )
    row.append(_FAR)
    return row


def _wide_row(
    word: str, heard: Sequence[str], over: Sequence[int], at_start: bool
) -> Sequence[int]:
    """The same as :func:`_row`, without a loop: worth it from some dozens of words on."""
    removed = _EDIT + len(word)
    edge = [_FAR, over[1] + removed] if at_start else [_FAR]
    above = np.asarray(over, np.int64)[len(edge) - 1 : len(edge) + len(heard)]
    apart = cdist([word], heard, scorer=Levenshtein.distance, dtype=np.int64)[0]
    apart[apart > 0] += _EDIT
    best = np.minimum(above[:-1] + apart, above[1:] + removed)
    # An insertion goes on from the cell before: the least of all cells before, and what was
    # inserted since.
    inserted = np.cumsum(np.fromiter(map(len, heard), np.int64) + _EDIT)
    least = np.minimum.accumulate(np.concatenate([edge[-1:], best - inserted]))
    row = array("q", edge)
    row.frombytes((inserted + least[1:]).tobytes())
    row.append(_FAR)
    return row


def _steps(
    said: tuple[str, ...], heard: tuple[str, ...], costs: Sequence[Sequence[int]], band: _Band
) -> tuple[Step, ...]:
    """Walk back along a cheapest way: of equal ones a pair, then a deletion, then an insertion."""

    def cost(i: int, j: int) -> int:
        return costs[i][j - band.first(i)]

    def is_in(i: int, j: int) -> bool:
        return i >= 0 and band.first(i) <= j <= band.last(i) + 1

    steps: list[Step] = []
    i, j = len(said), len(heard)
    while i or j:
        if i and j and cost(i, j) == cost(i - 1, j - 1) + _apart(said[i - 1], heard[j - 1]):
            i, j = i - 1, j - 1
            steps.append((i, j))
        elif i and is_in(i - 1, j) and cost(i, j) == cost(i - 1, j) + _EDIT + len(said[i - 1]):
            i -= 1
            steps.append((i, None))
        else:
            j -= 1
            steps.append((None, j))
    return tuple(reversed(steps))


@functools.lru_cache(maxsize=65_536)
def _apart(said: str, heard: str) -> int:
    return 0 if said == heard else _EDIT + Levenshtein.distance(said, heard)
