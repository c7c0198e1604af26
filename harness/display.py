"""What a client shows: text that only grows, and after it segments that may still change.

``token`` appends. ``hypothesis`` sets the text of a segment: open, it may be replaced; once final,
it never changes. Two views of one session: *shown* is all of it; *committed* is what cannot change
any more: what tokens brought, and final segments up to the first one that is still open. Of an
engine that only appends both are the same.

Segments are shown in the order of their numbers. At the end of a session nothing can change any
more: what is shown then is committed.
"""

from __future__ import annotations

from typing import NamedTuple


class TakenBack(ValueError):  # noqa: N818 what an engine did, not a defect of ours
    """Text that was final was changed; the message says which."""


class _Segment(NamedTuple):
    text: str
    final: bool


class Display:
    """One session's display."""

    def __init__(self) -> None:
        self.committed = ""
        self._segments: dict[int, _Segment] = {}  # not committed, by number
        self._closed: dict[int, str] = {}  # committed ones

    @property
    def open(self) -> str:
        """What is shown after the committed text."""
        return "".join(self._segments[number].text for number in sorted(self._segments))

    @property
    def shown(self) -> str:
        return self.committed + self.open

    def token(self, text: str) -> str:
        """Append committed text, before what is open; returns it."""
        self.committed += text
        return text

    def hypothesis(self, segment: int, text: str, *, final: bool) -> str:
        """Set a segment's text; returns the text that has been committed by it.

        Raises:
            TakenBack: the segment is final, and this is another text; or its place is before text
                that is committed.
        """
        before = self._closed.get(segment)
        held = self._segments.get(segment)
        if held is not None and held.final:
            before = held.text
        if before is not None:
            if text != before:
                raise TakenBack(
                    f"segment {segment} was final as {_short(before)} and became {_short(text)}"
                )
            return ""
        last = next(reversed(self._closed), segment)  # they are committed in order
        if segment < last:
            raise TakenBack(f"segment {segment} came after segment {last} was final")
        self._segments[segment] = _Segment(text, final)
        return self._commit()

    def end(self) -> str:
        """The session is over: what is open is committed; returns it."""
        text = self.open
        self._segments.clear()
        return self.token(text)

    def _commit(self) -> str:
        committed = ""
        for number in sorted(self._segments):
            segment = self._segments[number]
            if not segment.final:
                break
            committed += segment.text
            self._closed[number] = segment.text
            del self._segments[number]
        return self.token(committed)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:20]}...{text[-17:]}")
