"""The first word at once, then every n whole words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from harness.chunking.strategy import Chunker, Strategy
from harness.chunking.words import WordsChunker
from harness.validation import require_number


@dataclass
class EagerFirst(Strategy):
    registered_as = "eager_first"

    words: int = 6  # the first word at once, then every n whole words

    def __post_init__(self) -> None:
        require_number("chunking.words", self.words, 1)

    def chunker(self) -> Chunker:
        return WordsChunker(1, self.words)

    @property
    def name(self) -> str:
        return "eager_first" if self.words == EagerFirst.words else f"eager_first_{self.words}"

    @property
    def label(self) -> str:
        return f"eager-first-{self.words}-word"

    @classmethod
    def from_name(cls, name: str) -> Self | None:
        match = re.fullmatch(r"eager_first(?:_([1-9]\d?))?", name)
        return cls(int(match[1] or EagerFirst.words)) if match else None

    @classmethod
    def names(cls) -> str:
        return "eager_first, eager_first_1 .. eager_first_99"
