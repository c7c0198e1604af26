"""Pass on every token as it arrives: the only strategy that may split a word."""

from __future__ import annotations

from dataclasses import dataclass

from harness.chunking.strategy import Chunker, Strategy, WordHolder


@dataclass
class Tokens(Strategy):
    registered_as = "token"

    def chunker(self) -> Chunker:
        return TokensChunker()


class TokensChunker(WordHolder):
    def push(self, text: str, at_ns: int) -> list[str]:
        return [text] if text else []
