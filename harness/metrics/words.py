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

from rapidfuzz.distance import Levenshtein

from harness.languages.units import compatible, pattern, without_loose_marks

_EDIT = 1 << 32  # cost of a word edit; below it, those of its characters
_FAR = 1 << 62


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
    said = [(index, bare(word)) for index, word in enumerate(reference) if bare(word)]
    heard = [(index, bare(word)) for index, word in enumerate(hypothesis) if bare(word)]
    steps = align([word for _, word in said], [word for _, word in heard])
    return [
        (said[i][0], heard[j][0])
        for i, j in steps
        if i is not None and j is not None and said[i][1] == heard[j][1]
    ]


def align(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[Step, ...]:
    """The alignment of two texts, in order; words are equal if they are the same strings."""
    return _align(tuple(reference), tuple(hypothesis))


@functools.lru_cache(maxsize=8)  # several metrics ask about the same clip
def _align(said: tuple[str, ...], heard: tuple[str, ...]) -> tuple[Step, ...]:
    if said == heard:
        return tuple((index, index) for index in range(len(said)))
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
    return _steps(said, heard, costs, band)


def _before(i: int, band: int) -> int:
    """The j of the first cell that row i keeps; this one and its last cell are beyond the band."""
    return max(0, i - band) - 1


def _steps(
    said: tuple[str, ...], heard: tuple[str, ...], costs: Sequence[Sequence[int]], band: int
) -> tuple[Step, ...]:
    """Walk back along a cheapest way: of equal ones a pair, then a deletion, then an insertion."""

    def cost(i: int, j: int) -> int:
        return costs[i][j - _before(i, band)]

    steps: list[Step] = []
    i, j = len(said), len(heard)
    while i or j:
        if i and j and cost(i, j) == cost(i - 1, j - 1) + _apart(said[i - 1], heard[j - 1]):
            i, j = i - 1, j - 1
            steps.append((i, j))
        elif i and (not j or cost(i, j) == cost(i - 1, j) + _EDIT + len(said[i - 1])):
            i -= 1
            steps.append((i, None))
        else:
            j -= 1
            steps.append((None, j))
    return tuple(reversed(steps))


@functools.lru_cache(maxsize=65_536)
def _apart(said: str, heard: str) -> int:
    return 0 if said == heard else _EDIT + Levenshtein.distance(said, heard)
