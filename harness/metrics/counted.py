"""Counted words: those that survive the normaliser, as error rates see them.

A first chunk of ``". "``, ``"uh "``, ``"<|en|> "``, ``"[BLANK_AUDIO] "`` or of invisible characters
is text, but no word that the person waits for: latencies to the first word do not end with it.
Whoever counts words or looks for the first one asks here.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from harness.events import Trace
from harness.languages.units import (
    INVISIBLE,
    clusters_of,
    is_blank,
    pattern,
    without,
    words_of,
)
from harness.metrics.accuracy import normalise
from harness.metrics.instants import Arrivals
from harness.metrics.shown import displayed_text, displays, takes_back

# What Whisper's normalisers take out whole, one after the other: annotations, special tokens.
_ANNOTATIONS = (r"[<\[][^>\]]*[>\]]", r"\([^)]+\)")
_LETTERS = r"[\p{L}\p{N}\p{M}]+"
_ASCII_LETTERS = re.compile(r"[^\W_]+")


class CountedWord(NamedTuple):
    """A counted word, and where it stands in the text: characters from its start."""

    text: str  # without invisible characters
    start: int  # of the first letter or digit that counts
    end: int  # of the character after the word


class FirstWord(NamedTuple):
    """The first counted word of a session's text."""

    token_ns: int  # the token that brought its first letter
    chunk_ns: int  # the chunk that showed it


def counted_words(text: str, language: str) -> Iterator[CountedWord]:
    """The words of a text that are counted, in order.

    Punctuation before a word is not of it: ``"... it"`` and ``"...it"`` both begin with the ``i``.

    Args:
        language: decides the normaliser.
    """
    text, places = _seen(text)
    for word in words_of(text):
        if normalise(word.text, language):
            yield CountedWord(
                word.text,
                places[word.start + _first_letter(word.text, language)],
                places[word.end - 1] + 1,
            )


def count_words(text: str, language: str) -> int:
    """How many words of a text are counted."""
    return sum(1 for _ in counted_words(text, language))


def first_counted(text: str, language: str) -> int | None:
    """Where the first letter of the first counted word stands; None: no word is counted."""
    return next((word.start for word in counted_words(text, language)), None)


def first_word(trace: Trace) -> FirstWord | None:
    """When the first counted word came and was shown; None: there is none."""
    language = trace.session.language
    if takes_back(trace):
        for shown in displays(trace):
            if first_counted(shown.text, language) is not None:
                return FirstWord(shown.chunk.at_ns, shown.chunk.at_ns)
        return None
    at = first_counted(displayed_text(trace), language)
    if at is None:
        return None
    ends = accumulate(len(chunk.text) for chunk in trace.chunks)
    chunk = next(chunk for chunk, end in zip(trace.chunks, ends, strict=True) if end > at)
    return FirstWord(Arrivals(trace).brought_ns(at), chunk.at_ns)


def first_words(trace: Trace) -> int:
    """How many counted words the client has once the first is shown; 0: there is none."""
    for shown in displays(trace):
        if not is_blank(shown.chunk.text) and (
            words := count_words(shown.text, trace.session.language)
        ):
            return words
    return 0


def _seen(text: str) -> tuple[str, Sequence[int]]:
    """The text without what is neither seen nor said, and where each of its characters stood."""
    places: Sequence[int] = range(len(text))
    if not text.isascii():
        text, places = _composed(*without(INVISIBLE, text))
    for annotation in _ANNOTATIONS if any(sign in text for sign in "<[(") else ():
        text, left = without(annotation, text)
        places = [places[at] for at in left]
    return text, places


def _composed(text: str, places: Sequence[int]) -> tuple[str, Sequence[int]]:
    """As normalisers see it: letters composed, each where its first part stood."""
    if unicodedata.is_normalized("NFC", text):
        return text, places
    whole, firsts, at = [], [], 0
    for cluster in clusters_of(text):
        one = unicodedata.normalize("NFC", cluster)
        whole.append(one)
        firsts += [places[at]] * len(one)
        at += len(cluster)
    return "".join(whole), firsts


def _first_letter(word: str, language: str) -> int:
    """Of a counted word: where the first run of letters that is counted by itself begins."""
    letters = _ASCII_LETTERS if word.isascii() else pattern(_LETTERS)
    runs = list(letters.finditer(word))
    counted = (run.start() for run in runs if normalise(run[0], language))
    return next(counted, runs[0].start() if runs else 0)
