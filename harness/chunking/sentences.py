"""Release whole sentences."""

from __future__ import annotations

from dataclasses import dataclass

from harness.chunking.strategy import Chunker, Strategy, WordHolder
from harness.languages.units import pattern

# Unicode's ends of sentences (full stops of all scripts), and what closes after them.
_STOP = r"[\p{STerm}…]"
_CLOSING = r"[\p{Pe}\p{Pf}\"']"
_UNHEARD = r"[\p{M}\p{Cf}\p{DI}]"
_ENDS = rf"{_STOP}(?:{_CLOSING}|{_UNHEARD})*$"
_MAY_CLOSE = rf"{_STOP}|{_CLOSING}"
_ONLY_CLOSES = rf"(?:{_STOP}|{_CLOSING}|{_UNHEARD})*$"


@dataclass
class Sentences(Strategy):
    """Full stops end a sentence where white space or another unit follows: ``好。我`` are two."""

    registered_as = "sentence"

    def chunker(self) -> Chunker:
        return _SentencesChunker()


class _SentencesChunker(WordHolder):
    def __init__(self) -> None:
        super().__init__()
        self._ended = False  # what is held ends a sentence, but a sign that closes it may follow

    def push(self, text: str, at_ns: int) -> list[str]:
        seen = len(self._words)
        self._take(text)
        ready, begin = [], 0

        def cut(index: int) -> None:
            nonlocal begin
            ready.append("".join(self._words[begin:index]))
            begin, self._ended = index, False

        for index in range(seen, len(self._words)):
            word = self._words[index]
            if self._ended and pattern(_ONLY_CLOSES).match(word) is None:
                cut(index)
            self._ended = self._ended or pattern(_ENDS).search(word) is not None
            # A word is whole, so what comes after it has begun.
            more = self._words[index + 1] if index + 1 < len(self._words) else self._tail
            if self._ended and pattern(_MAY_CLOSE).match(more) is None:
                cut(index + 1)
        del self._words[:begin]
        return ready
