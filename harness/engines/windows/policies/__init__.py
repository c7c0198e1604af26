"""When is a token of a growing transcript certain enough to be committed?

A live session over an engine of whole utterances decodes the open audio again and again, each time
from the tokens that were committed before. A policy sees the tokens of each pass as they come and
says how many of them are committed. It knows neither audio nor time; ``engines.live`` does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from harness.languages.units import begins_apart, is_blank, pattern

_LETTER = r"[\p{L}\p{N}\p{M}\ufffd]"


class WindowToken(msgspec.Struct, frozen=True):
    """One token of a pass over the open audio."""

    id: int
    text: bytes  # UTF-8; a piece of a character where the tokeniser cut one
    attended_s: float  # the second of the window that its attention is at


class Policy(Protocol):
    """One session's policy; tokens are counted from the first one after the forced prefix."""

    def begin(self, window_s: float) -> None:
        """A pass over a window of this length begins."""

    def push(self, tokens: Sequence[WindowToken]) -> int:
        """The pass's tokens so far, one more than before -> how many are committed by now."""

    def wants_more(self) -> bool:
        """Whether the pass must go on; False: whatever follows would not be committed."""

    def end(self, tokens: Sequence[WindowToken]) -> int:
        """The pass is over -> how many of its tokens are committed in all."""


def starts_word(token: WindowToken) -> bool:
    """Whether a word before this token is over.

    It begins with white space, is punctuation, or is of a script without spaces, where every
    grapheme cluster is a word. A combining mark and a piece of a character go on with one.
    """
    text = token.text.decode(errors="replace")
    return text[:1].isspace() or begins_apart(text) or is_punctuation(token)


def is_punctuation(token: WindowToken) -> bool:
    """Whether there is something in it, and no letter, digit, mark or piece of a character."""
    text = token.text.decode(errors="replace")
    return not is_blank(text) and pattern(_LETTER).search(text) is None


def last_word_end(tokens: Sequence[WindowToken], at_most: int) -> int:
    """The most tokens, ``at_most`` or fewer, after which no word goes on.

    ``tokens[at_most]`` must be there unless the text is known to end.
    """
    end = at_most
    while 0 < end < len(tokens) and not starts_word(tokens[end]):
        end -= 1
    return end
