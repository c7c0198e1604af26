"""What one connection may ask of the server: so many at once, and so many a second after that."""

from __future__ import annotations

from typing import NamedTuple

from harness.clock import NS_PER_S


class Bucket:
    """A token bucket: ``burst`` at once, ``per_s`` a second after that."""

    def __init__(self, burst: float, per_s: float, now_ns: int) -> None:
        self._burst = burst
        self._per_s = per_s
        self._left = burst
        self._at_ns = now_ns

    def take(self, count: float, now_ns: int) -> float:
        """Take ``count``, even more than there is; returns seconds until that is earned."""
        earned = (now_ns - self._at_ns) / NS_PER_S * self._per_s
        self._left = min(self._burst, self._left + earned) - count
        self._at_ns = now_ns
        return max(0.0, -self._left / self._per_s)


class Counted(NamedTuple):
    """The frames of a piece of a stream."""

    end: int  # offset after the piece
    messages: int  # whole ones
    fragments: int  # parts of messages
    controls: int  # pings, pongs, closes


class FrameCounter:
    """Counts the WebSocket frames of a stream by their headers (RFC 6455, 5.2), cheaply.

    So that a flood of frames is seen before each of them is parsed. It checks nothing else: what
    is malformed ends the connection in the parser, which reads the same bytes.
    """

    def __init__(self) -> None:
        self._head = b""  # of a header that is not whole yet
        self._skip = 0  # bytes of payload still to come

    def count(self, data: bytes, start: int, most: int) -> Counted:
        """Read from ``start`` up to the end of ``data``, or until ``most`` headers were read."""
        at, size = start, len(data)
        messages = fragments = controls = 0
        while at < size and messages + fragments + controls < most:
            if self._skip:
                skipped = min(self._skip, size - at)
                self._skip -= skipped
                at += skipped
                continue
            head = self._head + data[at : at + _LONGEST_HEAD - len(self._head)]
            length = _head_length(head)
            if length is None:
                self._head = head
                at = size
                break
            at += length - len(self._head)
            self._head = b""
            self._skip = _payload_length(head)
            if head[0] & 0x08:
                controls += 1
            elif head[0] & 0x80 and head[0] & 0x0F:
                messages += 1
            else:  # not the last part, or not the first
                fragments += 1
        return Counted(at, messages, fragments, controls)


_LONGEST_HEAD = 14  # bytes: 2, a length of 8, a mask of 4


def _head_length(head: bytes) -> int | None:
    """Bytes of the header that ``head`` begins with; None: it is not whole."""
    if len(head) < 2:
        return None
    length = 2 + {126: 2, 127: 8}.get(head[1] & 0x7F, 0) + (4 if head[1] & 0x80 else 0)
    return length if length <= len(head) else None


def _payload_length(head: bytes) -> int:
    short = head[1] & 0x7F
    if short < 126:
        return short
    return int.from_bytes(head[2 : 4 if short == 126 else 10], "big")
