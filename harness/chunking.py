"""Chunking strategies: which of the engine's text is released to the client, and when.

Rules that hold under every strategy (property tests in ``tests/test_chunking.py``):

* Text is kept exactly: all chunks joined are all tokens joined.
* A *word* is a run of non-space characters. It is whole once white space follows it (the next word
  begins) or the stream ends, so neither punctuation nor a sub-word token splits a word; only the
  ``token`` strategy, which passes on whatever arrives, may.
* White space belongs to the word it precedes.
* What is not yet released when the stream ends is flushed as the one final chunk.

A chunker is pure: it reads no clock and starts no timer. It is told the instant of every token and
says by ``deadline_ns`` when it wants to be asked again. So a recorded token stream can be chunked
again offline (:func:`rechunk`) under any strategy, exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Protocol

import msgspec

from harness.config import (
    ChunkingConfig,
    EagerFirstChunking,
    SentenceChunking,
    TimedChunking,
    TokenChunking,
    WordsChunking,
)
from harness.events import Chunk, Token

# Possessive, and begun only where a word can begin: linear in text that has no white space, which
# a model stuck in a loop (or one that speaks Chinese) does produce.
_WHOLE_WORD = re.compile(r"(?:\s++|\A)\S++(?=\s)")
_SENTENCE_END = re.compile(r"[.!?…。！？][\"'”’)\]]*$")  # noqa: RUF001 full-width marks are meant


class Chunker(Protocol):
    """One session's state of one strategy."""

    deadline_ns: int | None  # the instant at which `tick` has something to release; None: never

    def push(self, text: str, at_ns: int) -> list[str]:
        """Take one token's text; returns the chunks that are ready now."""

    def tick(self, now_ns: int) -> list[str]:
        """Returns the chunks that are ready because time has passed."""

    def flush(self) -> str:
        """End of the stream: everything held, possibly ``""``."""


class _WordHolder:
    """Splits a text stream into whole words; strategies say how many are released together."""

    deadline_ns: int | None = None

    def __init__(self) -> None:
        self._words: list[str] = []  # whole, not yet released
        self._tail = ""  # what may still grow

    def _take(self, text: str) -> int:
        """Returns how many words have become whole."""
        self._tail += text
        whole = _WHOLE_WORD.findall(self._tail)
        self._tail = self._tail[sum(map(len, whole)) :]
        self._words += whole
        return len(whole)

    def _release(self, count: int) -> str:
        text = "".join(self._words[:count])
        del self._words[:count]
        return text

    def tick(self, now_ns: int) -> list[str]:
        return []

    def flush(self) -> str:
        text = self._release(len(self._words)) + self._tail
        self._tail = ""
        return text


class _Words(_WordHolder):
    """Release every ``first`` words at first, every ``then`` words from there on."""

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


class _Tokens(_WordHolder):
    def push(self, text: str, at_ns: int) -> list[str]:
        return [text] if text else []


class _Sentences(_WordHolder):
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


class _Timed(_WordHolder):
    """No whole word is held longer than ``every_ms``."""

    def __init__(self, every_ms: float) -> None:
        super().__init__()
        self._every_ns = round(every_ms * 1e6)

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


def make_chunker(config: ChunkingConfig) -> Chunker:
    """A fresh chunker for one session."""
    match config:
        case WordsChunking(words=words):
            return _Words(words, words)
        case EagerFirstChunking(words=words):
            return _Words(1, words)
        case TokenChunking():
            return _Tokens()
        case SentenceChunking():
            return _Sentences()
        case TimedChunking(every_ms=every_ms):
            return _Timed(every_ms)


def chunking_label(config: ChunkingConfig) -> str:
    """How the strategy is called in log lines, such as ``1-word``."""
    match config:
        case WordsChunking(words=words):
            return f"{words}-word"
        case EagerFirstChunking(words=words):
            return f"eager-first-{words}-word"
        case TokenChunking():
            return "token"
        case SentenceChunking():
            return "sentence"
        case TimedChunking(every_ms=every_ms):
            return f"{every_ms:g}-ms"


def chunking_name(config: ChunkingConfig) -> str:
    """The strategy's name in results: that of its config file when the values are that file's."""
    match config:
        case WordsChunking(words=words):
            return f"{words}word"
        case EagerFirstChunking(words=words):
            return "eager_first" if words == EagerFirstChunking.words else f"eager_first_{words}"
        case TokenChunking():
            return "token"
        case SentenceChunking():
            return "sentence"
        case TimedChunking(every_ms=every_ms):
            default = every_ms == TimedChunking.every_ms
            return "timed" if default else f"timed_{every_ms:g}ms"


def rechunk(tokens: Iterable[Token], ended_ns: int, config: ChunkingConfig) -> tuple[Chunk, ...]:
    """The chunks another strategy would have released for recorded tokens, delivery at no cost.

    Args:
        tokens: in the order in which the engine produced them.
        ended_ns: when the engine said it was done: what is still held is released then.
    """
    chunker = make_chunker(config)
    chunks: list[Chunk] = []

    def release(texts: list[str], at_ns: int) -> None:
        for text in texts:
            chunks.append(Chunk(index=len(chunks), text=text, at_ns=at_ns, is_final=False))

    def wake_before(now_ns: int) -> None:
        while (due_ns := chunker.deadline_ns) is not None and due_ns <= now_ns:
            release(chunker.tick(due_ns), due_ns)

    for token in tokens:
        wake_before(token.at_ns)
        release(chunker.push(token.text, token.at_ns), token.at_ns)
    wake_before(ended_ns)
    chunks.append(Chunk(index=len(chunks), text=chunker.flush(), at_ns=ended_ns, is_final=True))
    return tuple(chunks)


class ChunkMessage(msgspec.Struct, frozen=True):
    """What a client receives; the field names of the system this project began with."""

    success: bool
    text: str  # stripped, as clients of that system expect
    is_final: bool
    chunk_index: int
    first_token_latency_ms: int | None  # request to first non-blank chunk; None until known
    processing_time_ms: float  # request to this chunk


def chunk_message(chunk: Chunk, request_ns: int, first_ns: int | None) -> ChunkMessage:
    """The message of one chunk.

    Args:
        request_ns: the request instant ``R`` that latencies are counted from.
        first_ns: of the first chunk that is not blank, this one included; None: none yet.
    """
    return ChunkMessage(
        success=True,
        text=chunk.text.strip(),
        is_final=chunk.is_final,
        chunk_index=chunk.index,
        first_token_latency_ms=None if first_ns is None else round((first_ns - request_ns) / 1e6),
        processing_time_ms=round((chunk.at_ns - request_ns) / 1e6, 1),
    )


def chunk_messages(chunks: Iterable[Chunk], request_ns: int) -> list[ChunkMessage]:
    """The messages of one session, in order."""
    messages: list[ChunkMessage] = []
    first_ns: int | None = None
    for chunk in chunks:
        if first_ns is None and chunk.text.strip():
            first_ns = chunk.at_ns
        messages.append(chunk_message(chunk, request_ns, first_ns))
    return messages
