"""Chunking strategies: which of the engine's text is released to the client, and when.

Rules that hold under every strategy (property tests in ``tests/chunking/test_strategies.py``):

* Text is kept exactly: all chunks joined are all committed text joined.
* A *word* is a run of non-space characters; in scripts that are written without spaces, one
  grapheme cluster, as ``languages.units`` has it. It is whole once white space follows it, the next
  one begins, or the stream ends, so neither punctuation nor a sub-word token nor a combining mark
  splits a word; only the ``token`` strategy, which passes on whatever arrives, may.
* White space belongs to the word it precedes.
* Under ``words``, ``eager_first`` and ``sentence`` the chunks do not depend on how the text is cut
  into tokens.
* What is not yet released when the stream ends is flushed as the one final chunk.

A chunker is pure: it reads no clock and starts no timer. It is told the instant of every token and
says by ``deadline_ns`` when it wants to be asked again. So a recorded token stream can be chunked
again offline (:func:`rechunk`) under any strategy, exactly.

``strategy`` says what a strategy is; each has a file of its own; ``messages`` makes what a client
receives.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from harness.chunking.eager_first import EagerFirst
from harness.chunking.interim import Interim
from harness.chunking.release import Released, Releases
from harness.chunking.sentences import Sentences
from harness.chunking.strategy import Chunker, Strategy
from harness.chunking.timed import Timed
from harness.chunking.tokens import Tokens
from harness.chunking.words import Words
from harness.events import Chunk, Hypothesis, Token
from harness.registry import Registry

STRATEGIES: Registry[type[Strategy]] = Registry(
    "chunking strategy",
    {
        "words": "harness.chunking.words:Words",
        "eager_first": "harness.chunking.eager_first:EagerFirst",
        "token": "harness.chunking.tokens:Tokens",
        "sentence": "harness.chunking.sentences:Sentences",
        "timed": "harness.chunking.timed:Timed",
        "interim": "harness.chunking.interim:Interim",
    },
    group="harness.chunking",
)

__all__ = [
    "STRATEGIES", "Chunker", "EagerFirst", "Interim", "Sentences", "Strategy", "Timed", "Tokens",
    "Words", "offered", "parse_strategy", "rechunk",
]  # fmt: skip


def parse_strategy(name: str) -> Strategy:
    """The strategy whose :attr:`~Strategy.name` this is, as clients of ``serve`` choose one.

    They are sent committed text only: strategies that take text back are not for them.

    Raises:
        ValueError: no strategy is called so; the text says what is allowed, in one line.
    """
    kinds = [kind for _, kind in STRATEGIES.loaded() if not kind.takes_back]
    for kind in kinds:
        if (found := kind.from_name(name)) is not None:
            return found
    allowed = ", ".join(kind.names() for kind in kinds)
    raise ValueError(f"no chunking strategy is called {name[:40]!r}; allowed: {allowed}")


def offered() -> list[Strategy]:
    """What a page offers to choose from: every strategy that can be loaded, with usual options.

    Without those that take text back: pages show text that only grows.
    """
    found = (
        kind.from_name(name)
        for _, kind in STRATEGIES.loaded()
        if not kind.takes_back
        for name in kind.offered or (kind.kind(),)
    )
    return [strategy for strategy in found if strategy is not None]


def rechunk(
    updates: Iterable[Token | Hypothesis], ended_ns: int, strategy: Strategy
) -> tuple[Chunk, ...]:
    """The chunks another strategy would have released for recorded text, delivery at no cost.

    Args:
        updates: in the order in which the engine made them (``Trace.updates``).
        ended_ns: when the engine said it was done: what is still held is released then.
    """
    releases = Releases(strategy.chunker())
    chunks: list[Chunk] = []

    def keep(released: Iterable[Released], at_ns: int) -> None:
        for text, segment, closes in released:
            chunks.append(Chunk(len(chunks), text, at_ns, False, segment, closes))

    def wake_before(now_ns: int) -> None:
        while (due_ns := releases.deadline_ns) is not None and due_ns <= now_ns:
            keep(releases.tick(due_ns), due_ns)

    for update in updates:
        wake_before(update.at_ns)
        if isinstance(update, Token):
            keep(releases.token(update.text, update.at_ns), update.at_ns)
        else:
            segment, text, final, at_ns = update.segment, update.text, update.final, update.at_ns
            keep(releases.hypothesis(segment, text, at_ns, final=final), at_ns)
    wake_before(ended_ns)
    keep(releases.end(ended_ns), ended_ns)
    return (*chunks[:-1], msgspec.structs.replace(chunks[-1], is_final=True))
