"""Pass on everything as it is shown, text that may still be taken back too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from harness.chunking.strategy import Chunker, Strategy
from harness.chunking.tokens import TokensChunker


@dataclass
class Interim(Strategy):
    """Every update of the display is a chunk; an open segment's text replaces the one before."""

    takes_back: ClassVar[bool] = True

    def chunker(self) -> Chunker:
        return _InterimChunker()


class _InterimChunker(TokensChunker):
    interim = True
