"""Release whole sentences."""

from __future__ import annotations

import re
from dataclasses import dataclass

from harness.chunking.strategy import Chunker, Strategy, WordHolder

_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]]*$")  # noqa: RUF001 full-width marks are meant


@dataclass
class Sentences(Strategy):
    registered_as = "sentence"

    def chunker(self) -> Chunker:
        return _SentencesChunker()


class _SentencesChunker(WordHolder):
    def push(self, text: str, at_ns: int) -> list[str]:
        seen = len(self._words)
        self._take(text)
        ready, begin = [], 0
        for index in range(seen, len(self._words)):
            if _SENTENCE_END.search(self._words[index]):
                ready.append("".join(self._words[begin : index + 1]))
                begin = index + 1
        del self._words[:begin]
        return ready
