"""Hold no whole word longer than a stated time."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from harness.chunking.strategy import Chunker, Strategy, WordHolder
from harness.clock import NS_PER_MS
from harness.validation import require_number


@dataclass
class Timed(Strategy):
    registered_as = "timed"

    every_ms: float = 200.0  # the longest that a whole word is held

    def __post_init__(self) -> None:
        require_number("chunking.every_ms", self.every_ms, 0, above=True)

    def chunker(self) -> Chunker:
        return _TimedChunker(self.every_ms)

    @property
    def name(self) -> str:
        return "timed" if self.every_ms == Timed.every_ms else f"timed_{self.every_ms:g}ms"

    @property
    def label(self) -> str:
        return f"{self.every_ms:g}-ms"

    @classmethod
    def from_name(cls, name: str) -> Self | None:
        match = re.fullmatch(r"timed(?:_([1-9]\d{0,4})ms)?", name)
        return cls(float(match[1] or Timed.every_ms)) if match else None

    @classmethod
    def names(cls) -> str:
        return "timed, timed_1ms .. timed_99999ms"


class _TimedChunker(WordHolder):
    def __init__(self, every_ms: float) -> None:
        super().__init__()
        self._every_ns = round(every_ms * NS_PER_MS)

    def push(self, text: str, at_ns: int) -> list[str]:
        if self._take(text) and self.deadline_ns is None:
            self.deadline_ns = at_ns + self._every_ns
        return []

    def tick(self, now_ns: int) -> list[str]:
        if self.deadline_ns is None or now_ns < self.deadline_ns:
            return []
        self.deadline_ns = None
        return [self._release(len(self._words))]

    def flush(self) -> str:
        self.deadline_ns = None
        return super().flush()
