"""The units that text is cut into: words, and grapheme clusters where a script has no spaces.

Which of the two is decided by each character's script, not by the language's tag: so mixed text
(``我用 iPhone 打电话``) is cut as its readers see it, and a chunker needs to know no language.

* White space separates units. In between, a grapheme cluster (UAX 29) whose first character is of
  a script that is written without spaces (Han, Hiragana, Katakana, Thai, Lao, Khmer, Myanmar; their
  full-width punctuation too) is a unit by itself; all other characters in a row are one.
* Combining marks belong to the letter before them, also those that UAX 29 counts apart (Myanmar).
* Invisible characters (zero width, soft hyphen, byte order mark, signs of direction) belong to what
  stands before them. They change no unit: the units are those of the text without them.

Where a unit ends is known once the next one begins or white space follows, whatever pieces the text
comes in.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import regex

# Default ignorable and format characters, but for signs that are seen (before Arabic numbers).
INVISIBLE = r"[[\p{DI}\p{Cf}]--[\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd]]"
_SPACE = r"[\s\x1c-\x1f]"  # as str.isspace has it
# Scripts without spaces. Blocks for what belongs to several scripts: punctuation, the long mark.
_CLUSTERED = (
    r"[[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
    r"\u3001-\u303f\u30a0-\u30ff\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff9f]--\p{M}]"
)
_LEAD = rf"(?:{_SPACE}|\p{{M}})*+"  # of text without invisible characters
_UNIT = (
    rf"(?:(?={_CLUSTERED})\X\p{{M}}*+"
    rf"|(?!{_CLUSTERED}|{_SPACE}).(?:(?!{_CLUSTERED}|{_SPACE}).)*+)"
)


@cache
def pattern(source: str) -> regex.Pattern[str]:
    """A compiled pattern of the ``regex`` library, whose properties are Unicode's (version 1)."""
    import regex  # where texts are plain, nobody waits for it

    return regex.compile(source, regex.V1 | regex.DOTALL)


# \G: each begins where the last one ended, so that the search is linear.
_UNITS = rf"\G{_LEAD}({_UNIT})"
_ASCII_UNITS = re.compile(r"(\S+)")
# Possessive, and begun only where a word can begin: linear in text that has no white space, which
# a model stuck in a loop does produce.
_WHOLE_ASCII = re.compile(r"(?:\s++|\A)\S++(?=\s)")
# NFKC takes the vowels am of Thai and Lao apart, into two clusters.
_AM = (("\u0e4d\u0e32", "\u0e33"), ("\u0ecd\u0eb2", "\u0eb3"))


class TextWord(NamedTuple):
    """A unit of a text, and where it stands: characters from the text's start."""

    text: str
    start: int
    end: int  # of the character after it


def words_of(text: str) -> Iterator[TextWord]:
    """The units of a text, in order; punctuation that stands alone is a unit too."""
    if text.isascii():
        return (TextWord(m[1], m.start(1), m.end(1)) for m in _ASCII_UNITS.finditer(text))
    return (TextWord(text[start:end], start, end) for start, end in _spans(text))


def units_of(text: str) -> list[str]:
    """The texts of :func:`words_of`, where nobody asks for places."""
    if text.isascii():
        found: list[str] = _ASCII_UNITS.findall(text)
        return found
    return [text[start:end] for start, end in _spans(text)]


def _spans(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each unit: those of the text without what is not seen."""
    seen, places = without(INVISIBLE, text)
    for match in pattern(_UNITS).finditer(seen):
        start, end = match.span(1)
        # With the invisible characters that follow it.
        yield places[start], places[end] if end < len(seen) else len(text)


def spoken_words(text: str) -> list[str]:
    """The units that hold a letter or digit: a lone dash is not spoken."""
    return [word for word in units_of(text) if is_spoken(word)]


def whole_words(text: str) -> list[str]:
    """The units at the start of a text that may go on, each with the white space before it.

    The last unit is left out unless white space follows: what comes next may belong to it.
    """
    if text.isascii():
        return _WHOLE_ASCII.findall(text)
    ends = [end for _, end in _spans(text)]
    if ends and ends[-1] == len(text):
        ends.pop()
    return [text[start:end] for start, end in pairwise([0, *ends])]


def begins_apart(text: str) -> bool:
    """Whether a text begins with a unit of its own even if no white space stands before it."""
    return not text.isascii() and pattern(rf"{INVISIBLE}*+{_CLUSTERED}").match(text) is not None


def join_words(words: list[str]) -> list[str]:
    """Each word with the space before it, where their scripts have one; joined they are a text."""
    return [
        word if not index or begins_apart(word) or begins_apart(words[index - 1]) else f" {word}"
        for index, word in enumerate(words)
    ]


def clusters_of(text: str) -> list[str]:
    """Grapheme clusters (UAX 29), marks with the letter before them; spaces are clusters too."""
    return list(text) if text.isascii() else pattern(r"\X\p{M}*+").findall(text)


def is_blank(text: str) -> bool:
    """Whether nothing of a text is seen: white space and invisible characters only."""
    if text.isascii():
        return not text or text.isspace()
    return pattern(rf"(?:{_SPACE}|{INVISIBLE})*+").fullmatch(text) is not None


def is_spoken(text: str) -> bool:
    """Whether a text holds a letter or a digit."""
    if text.isascii():
        return any(map(str.isalnum, text))
    return pattern(r"[\p{L}\p{N}]").search(text) is not None


def without(source: str, text: str) -> tuple[str, Sequence[int]]:
    """A text without what a pattern finds, and where each character that is left stood."""
    left: list[int] = []
    end = 0
    for match in pattern(source).finditer(text):
        left += range(end, match.start())
        end = match.end()
    if not end:
        return text, range(len(text))
    left += range(end, len(text))
    return "".join(text[at] for at in left), left


def composed(text: str) -> str:
    """A text without its invisible characters, its letters composed (NFC)."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFC", pattern(INVISIBLE).sub("", text))


def compatible(text: str) -> str:
    """:func:`composed`, and without differences of form alone (NFKC): full width, ligatures."""
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKC", composed(text))
    for apart, together in _AM:
        text = text.replace(apart, together)
    return text


def without_loose_marks(text: str) -> str:
    """A text without combining marks that stand at its start or after white space, on no letter."""
    return text if text.isascii() else pattern(r"(?<![^\s])\p{M}++").sub("", text)
