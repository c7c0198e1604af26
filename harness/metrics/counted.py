"""Counted words: those that survive the session's normaliser, as error rates see them.

A first chunk of ``". "``, ``"uh "``, ``"<|en|> "``, ``"[BLANK_AUDIO] "`` or of invisible characters
is text, but no word that the person waits for: latencies to the first word do not end with it.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from harness.events import Trace
from harness.metrics.accuracy import normalise
from harness.metrics.instants import Arrivals, words_of

# What Whisper's normalisers take out whole: annotations in brackets, special tokens.
_ANNOTATION = re.compile(r"[<\[][^>\]]*[>\]]|\([^)]+\)")


class FirstWord(NamedTuple):
    """The first counted word of a session's text."""

    token_ns: int  # the token that brought its first character
    chunk_ns: int  # the chunk that showed it


def first_counted(text: str, language: str) -> int | None:
    """Where the first character of the first counted word stands; None: no word is counted.

    Args:
        language: decides the normaliser.
    """
    bare = _ANNOTATION.sub(lambda found: " " * len(found.group()), text)
    for word in words_of(bare):
        visible = "".join(c for c in word.text if unicodedata.category(c) != "Cf")
        if any(character.isalnum() for character in normalise(visible, language)):
            return word.start
    return None


def first_word(trace: Trace) -> FirstWord | None:
    """When the first counted word came and was shown; None: there is none."""
    at = first_counted("".join(chunk.text for chunk in trace.chunks), trace.session.language)
    if at is None:
        return None
    shown = 0
    for chunk in trace.chunks:
        shown += len(chunk.text)
        if shown > at:
            return FirstWord(Arrivals(trace).brought_ns(at), chunk.at_ns)
    return None
