"""Release every n whole words: ``1word``, ``6word``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from harness.chunking.strategy import Chunker, Strategy, WordHolder
from harness.validation import require_number


@dataclass
class Words(Strategy):
    registered_as = "words"
    offered = ("1word", "2word", "3word", "6word")

    words: int = 1  # release every n whole words

    def __post_init__(self) -> None:
        require_number("chunking.words", self.words, 1)

    def chunker(self) -> Chunker:
        return WordsChunker(self.words, self.words)

    @property
    def name(self) -> str:
        return f"{self.words}word"

    @property
    def label(self) -> str:
        return f"{self.words}-word"

    @classmethod
    def from_name(cls, name: str) -> Self | None:
        match = re.fullmatch(r"([1-9]\d?)word", name)
        return cls(int(match[1])) if match else None

    @classmethod
    def names(cls) -> str:
        return "1word .. 99word"


class WordsChunker(WordHolder):
    """Release ``first`` words at first, every ``then`` words from there on."""

    def __init__(self, first: int, then: int) -> None:
        super().__init__()
        self._wanted, self._then = first, then

    def push(self, text: str, at_ns: int) -> list[str]:
        self._take(text)
        ready = []
        while len(self._words) >= self._wanted:
            ready.append(self._release(self._wanted))
            self._wanted = self._then
        return ready
