"""What a chunking strategy is: its options and its code in one dataclass.

A new strategy is one file::

    @dataclass
    class Pairs(Strategy):
        words: int = 2  # released together

        def chunker(self) -> Chunker:
            return _PairsChunker(self.words)

and one entry point in the group ``harness.chunking`` (or :func:`harness.chunking_strategy` from
Python). Its fields are config fields (``chunking.words=2``); ``run``, ``rechunk``, ``serve`` and
the reports ask the strategy for all they need.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import ClassVar, Protocol, Self

from harness.errors import ConfigError
from harness.languages.units import whole_words


class Chunker(Protocol):
    """One session's state of one strategy.

    With an attribute ``interim = True`` hypotheses are passed on as well (``release``).
    """

    deadline_ns: int | None  # the instant at which `tick` has something to release; None: never

    def push(self, text: str, at_ns: int) -> list[str]:
        """Take one token's text; returns the chunks that are ready now."""

    def tick(self, now_ns: int) -> list[str]:
        """Returns the chunks that are ready because time has passed."""

    def flush(self) -> str:
        """End of the stream: everything held, possibly ``""``."""


@dataclass
class Strategy:
    """Options of one strategy; subclasses are dataclasses that make chunkers."""

    registered_as: ClassVar[str] = ""  # its name in the registry; empty: the class's, in small
    offered: ClassVar[tuple[str, ...]] = ()  # names that pages offer; empty: the default's
    takes_back: ClassVar[bool] = False  # its clients are shown text that may be taken back

    def chunker(self) -> Chunker:
        """A fresh chunker for one session."""
        raise NotImplementedError

    @property
    def name(self) -> str:
        """How results call it; equal options, equal name. :meth:`from_name` is the inverse."""
        changed = [
            f"{f.name}={getattr(self, f.name)}"
            for f in fields(self)
            if f.default is MISSING or getattr(self, f.name) != f.default
        ]
        return "_".join([self.kind(), *changed])

    @property
    def label(self) -> str:
        """How log lines call it."""
        return self.name

    @classmethod
    def kind(cls) -> str:
        return cls.registered_as or cls.__name__.lower()

    @classmethod
    def from_name(cls, name: str) -> Self | None:
        """The options whose :attr:`name` this is, within bounds that a client cannot abuse.

        None: it is not a name of this strategy.
        """
        try:
            default = cls()
        except (TypeError, ConfigError):  # options without a default must come from a config
            return None
        return default if name == default.name else None

    @classmethod
    def names(cls) -> str:
        """The names that :meth:`from_name` takes, for errors."""
        return ", ".join(cls.offered or (cls.kind(),))


class WordHolder:
    """Splits a text stream into whole words; subclasses say how many are released together.

    A *word* is a unit of :mod:`harness.languages.units`: a run of non-space characters, or one
    grapheme cluster of a script without spaces. It is whole once the next one begins, white space
    follows it, or the stream ends.
    """

    deadline_ns: int | None = None

    def __init__(self) -> None:
        self._words: list[str] = []  # whole, not yet released
        self._tail = ""  # what may still grow

    def _take(self, text: str) -> int:
        """Returns how many words have become whole."""
        self._tail += text
        whole = whole_words(self._tail)
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
