"""What a client receives of an engine's text under one strategy: pure, live and offline alike.

Strategies act on committed text, so their clients never see text that is taken back. A chunker with
``interim = True`` passes on what is shown: tokens as they come, and every hypothesis as a text that
replaces its segment's.
"""

from __future__ import annotations

from typing import NamedTuple

from harness.chunking.strategy import Chunker
from harness.display import Display


class Released(NamedTuple):
    """A chunk that has no index and no instant yet."""

    text: str
    segment: int | None = None  # it replaces this segment's text; None: it is appended
    closes: bool = False  # the segment's text is final


class Releases:
    """One session: text in, chunks out."""

    def __init__(self, chunker: Chunker) -> None:
        self._chunker = chunker
        self._display = Display()
        self._interim = bool(getattr(chunker, "interim", False))

    @property
    def deadline_ns(self) -> int | None:
        return self._chunker.deadline_ns

    def token(self, text: str, at_ns: int) -> list[Released]:
        return self._committed(text, at_ns)  # the display is asked only for what may change

    def hypothesis(self, segment: int, text: str, at_ns: int, *, final: bool) -> list[Released]:
        """
        Raises:
            TakenBack: the segment was final.
        """
        committed = self._display.hypothesis(segment, text, final=final)
        if self._interim:
            return [Released(text, segment, final)]
        return self._committed(committed, at_ns) if committed else []

    def tick(self, now_ns: int) -> list[Released]:
        return [Released(text) for text in self._chunker.tick(now_ns)]

    def end(self, at_ns: int) -> list[Released]:
        """The last is the session's final chunk; what is still open is committed."""
        text = self._display.end()
        before = [] if self._interim or not text else self._committed(text, at_ns)
        return [*before, Released(self._chunker.flush())]

    def _committed(self, text: str, at_ns: int) -> list[Released]:
        return [Released(chunk) for chunk in self._chunker.push(text, at_ns)]
