"""Chunking strategies by the names that clients choose them with."""

from __future__ import annotations

import re

from harness.config import (
    ChunkingConfig,
    EagerFirstChunking,
    SentenceChunking,
    TimedChunking,
    TokenChunking,
    WordsChunking,
)

_FIXED: dict[str, ChunkingConfig] = {
    "token": TokenChunking(),
    "sentence": SentenceChunking(),
    "timed": TimedChunking(),
    "eager_first": EagerFirstChunking(),
}


def parse_chunking(name: str) -> ChunkingConfig:
    """Inverse of ``chunking.chunking_name``, within bounds that a client cannot abuse.

    Raises:
        ValueError: no strategy is called so.
    """
    if match := re.fullmatch(r"([1-9]\d?)word", name):
        return WordsChunking(words=int(match[1]))
    if match := re.fullmatch(r"eager_first_([1-9]\d?)", name):
        return EagerFirstChunking(words=int(match[1]))
    if match := re.fullmatch(r"timed_([1-9]\d{0,4})ms", name):
        return TimedChunking(every_ms=float(match[1]))
    if name not in _FIXED:
        raise ValueError(
            f"no chunking is called {name[:40]!r}; allowed: 1word .. 99word, token, sentence,"
            " timed, timed_1ms .. timed_99999ms, eager_first, eager_first_1 .. eager_first_99"
        )
    return _FIXED[name]
