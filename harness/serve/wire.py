"""Between asyncio and uvicorn: how many connections there are, how long they wait, what they send.

uvicorn reads whatever comes. One client that sends nothing, or nothing but pings, would cost all
others their files or their time. So every connection is a :class:`Wire`, which hands on to uvicorn
what is within its budget, a few frames at a time:

=====================  =============================================================================
connections            the :class:`Door` lets in so many; who waits longest for a session makes room
time                   a whole request within ``serve.handshake_timeout_s``, again after each answer
requests, messages     more than a budget: read later, which a fast but honest client survives
pings, parts           more than a budget: closed with 1008
close                  what is not taken within some seconds after it is dropped
=====================  =============================================================================
"""

from __future__ import annotations

import asyncio
import logging
import resource
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, cast

from harness.clock import World
from harness.serve.budget import Bucket, FrameCounter
from harness.serve.telemetry import ServerCounters

_log = logging.getLogger("harness.serve")

BACKLOG = 128  # connections that the kernel keeps, and that one turn of the loop accepts
_OTHER_FILES = 32  # that the server itself may need, in addition to what is open when it starts

_FRAMES_AT_ONCE = 64  # parsed in one turn of the event loop: a millisecond or two
_BYTES_AT_ONCE = 4096  # of HTTP
# (at once, a second). An honest client sends up to 1000 messages a second (replay.frame_ms=1), or
# a whole recording at once (replay.pace=flood), which is then read at 40 times its own pace.
_MESSAGES = (1000, 2000)
_CONTROLS = (64, 16)
_PARTS = (256, 64)
_HTTP_BYTES = (65_536, 32_768)
_ANSWER_BYTES = 256  # that each piece of an answer is charged as: a request is short, its cost not

_LEAVING_S = 2.0  # for a client that was asked to leave
_FLUSHING_S = 5.0  # for a client to take what was sent before the end
_POLICY = 1008  # close code: policy violation


class ConnectionLimits(NamedTuple):
    connections: int  # open at the same time
    handshake_s: float  # until a whole request


class Door:
    """The connections that are open, and those of them that have no session yet, or no more."""

    def __init__(self, limits: ConnectionLimits, world: World, telemetry: ServerCounters) -> None:
        self.handshake_s = limits.handshake_s
        self.now_ns = world.now_ns
        self._most = limits.connections
        self._telemetry = telemetry
        self._open: set[Wire] = set()
        self._waiting: dict[Wire, None] = {}  # in the order in which they came

    def let_in(self, wire: Wire) -> bool:
        """Whether there is room; if not, the one that has waited longest is dropped for it."""
        if len(self._open) >= self._most:
            if not self._waiting:
                self.refused("connections", f"{self._most} are open, all of them sessions")
                return False
            next(iter(self._waiting)).drop("connections", "another connection needs its place")
        self._open.add(wire)
        self._waiting[wire] = None
        return True

    def has_session(self, wire: Wire, *, has: bool) -> None:
        if not has and wire in self._open:
            self._waiting[wire] = None
        else:
            self._waiting.pop(wire, None)

    def leave(self, wire: Wire) -> None:
        self._open.discard(wire)
        self._waiting.pop(wire, None)

    def refused(self, reason: str, text: str) -> None:
        self._telemetry.refused[reason] += 1
        _log.warning("a connection was closed: %s", text)


class Wire(asyncio.Protocol):
    """One connection: HTTP first, and WebSocket frames once uvicorn changes the protocol."""

    def __init__(self, door: Door, inner: asyncio.Protocol) -> None:
        now_ns = door.now_ns()
        self._door = door
        self._inner = inner
        self._loop = asyncio.get_running_loop()
        self._real: asyncio.Transport
        self._told = False  # the inner protocol has a connection that is not lost
        self._over = False  # closed here: nothing is read or written any more
        self._reading = True  # the inner protocol takes data
        self._held, self._at = b"", 0  # received, and how far it was handed on
        self._later: asyncio.Handle | None = None  # goes on handing on
        self._deadline: asyncio.TimerHandle | None = None
        self._frames: FrameCounter | None = None  # None: HTTP
        self._answered = False  # WebSocket: the handshake is through
        self._http = Bucket(*_HTTP_BYTES, now_ns)
        self._messages = Bucket(*_MESSAGES, now_ns)
        self._controls = Bucket(*_CONTROLS, now_ns)
        self._parts = Bucket(*_PARTS, now_ns)

    # --- asyncio's side --------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._real = cast("asyncio.Transport", transport)
        if not self._door.let_in(self):
            self._real.write(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\n\r\n")
            self.close()
            self._over = True
            return
        self._told = True
        self.expect(self._door.handshake_s)
        self._inner.connection_made(_Link(self, self._real))

    def connection_lost(self, exc: Exception | None) -> None:
        self._over = True
        self._door.leave(self)
        for handle in (self._deadline, self._later):
            if handle is not None:
                handle.cancel()
        self._tell_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._over:
            return
        self._held, self._at = self._held[self._at :] + data, 0
        if self._later is None:
            self._hand_on()

    def eof_received(self) -> bool | None:
        return None if self._over else self._inner.eof_received()

    def pause_writing(self) -> None:
        if self._told:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._told:
            self._inner.resume_writing()

    # --- what is handed on -----------------------------------------------------------------------

    def _hand_on(self) -> None:
        """Give the inner protocol the next piece, unless it rests or the budget is spent."""
        self._later = None
        start = self._at
        if self.is_closing or not self._reading or start == len(self._held):
            self._read_more()
        elif (wait_s := self._take_piece()) is not None:
            self._inner.data_received(self._held[start : self._at])
            self._go_on(wait_s)
            self._read_more()

    def _go_on(self, wait_s: float) -> None:
        """Hand on what follows in the next turn of the loop, or later."""
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if wait_s > 0:
            self._later = self._loop.call_later(wait_s, self._hand_on)
        elif self._reading and self._at < len(self._held):
            self._later = self._loop.call_soon(self._hand_on)

    def _take_piece(self) -> float | None:
        """Move on by one piece; returns seconds until the next may follow; None: too much."""
        now_ns = self._door.now_ns()
        if self._frames is None:
            start, self._at = self._at, min(self._at + _BYTES_AT_ONCE, len(self._held))
            return self._http.take(self._at - start, now_ns)
        counted = self._frames.count(self._held, self._at, _FRAMES_AT_ONCE)
        self._at = counted.end
        if self._controls.take(counted.controls, now_ns):
            self._expel("control_frames", f"more than {_CONTROLS[1]} pings or pongs a second")
            return None
        if self._parts.take(counted.fragments, now_ns):
            self._expel("fragments", f"more than {_PARTS[1]} parts of messages a second")
            return None
        return self._messages.take(counted.messages, now_ns)

    def _read_more(self) -> None:
        """Read on once all was handed on; until then the client is not read."""
        if self._real.is_closing():
            return
        all_is_handed_on = self._later is None and self._at == len(self._held)
        if self._reading and not self._over and all_is_handed_on:
            self._real.resume_reading()
        else:
            self._real.pause_reading()

    # --- the inner protocol's side ---------------------------------------------------------------

    @property
    def inner(self) -> asyncio.Protocol:
        return self._inner

    @property
    def is_closing(self) -> bool:
        return self._over or self._real.is_closing()

    @property
    def is_reading(self) -> bool:
        return self._reading and not self.is_closing

    def upgrade(self, inner: asyncio.Protocol) -> None:
        """From here on the client sends frames."""
        self._inner = inner
        self._frames = FrameCounter()
        if not self.is_closing:
            self._cancel_deadline()
            self._door.has_session(self, has=True)

    def set_reading(self, *, wanted: bool) -> None:
        self._reading = wanted
        if self._later is None:
            self._go_on(0)
        self._read_more()

    def write(self, data: bytes) -> None:
        if self._over:
            return
        self._real.write(data)
        if self._frames is None:
            self._http.take(_ANSWER_BYTES, self._door.now_ns())
            self.expect(self._door.handshake_s)
        elif data[:1] == b"\x88":  # a close frame: no session any more
            self._door.has_session(self, has=False)
            self.expect(_LEAVING_S)
        self._answered = self._frames is not None

    def close(self) -> None:
        """As a transport's; a client that does not take what was sent does not stay for ever."""
        if not self.is_closing:
            self._real.close()
            self.expect(_FLUSHING_S)

    def abort(self) -> None:
        self._over = True
        self._real.abort()

    # --- the end ---------------------------------------------------------------------------------

    def expect(self, within_s: float) -> None:
        """Replace the deadline, by which there is another one or the connection is dropped."""
        self._cancel_deadline()
        unsent = self._real.get_write_buffer_size()
        self._deadline = self._loop.call_later(within_s, self._too_late, within_s, unsent)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_late(self, within_s: float, unsent_before: int) -> None:
        if 0 < self._real.get_write_buffer_size() < unsent_before:
            self.expect(within_s)  # slow, but it reads
        else:
            self.drop("timeout", f"nothing was asked or taken for {within_s:g} s")

    def drop(self, reason: str, text: str) -> None:
        """End it without a message: the client is gone."""
        if not self._over:
            self._door.refused(reason, text)
        self._door.leave(self)
        self.abort()

    def _expel(self, reason: str, text: str) -> None:
        """Say why, and end it; what still comes is neither read nor parsed."""
        if not self._answered:
            self.drop(reason, text)
            return
        self._door.refused(reason, text)
        self._real.write(_close_frame(_POLICY, text))
        self._over = True
        self._held, self._at = b"", 0
        self._read_more()
        self.expect(_LEAVING_S)
        self._tell_lost(None)

    def _tell_lost(self, exc: Exception | None) -> None:
        if self._told:
            self._told = False
            self._inner.connection_lost(exc)


def _close_frame(code: int, text: str) -> bytes:
    """A server's close frame; ``text`` has fewer than 124 bytes (RFC 6455, 5.5)."""
    payload = code.to_bytes(2, "big") + text.encode()
    return bytes((0x88, len(payload))) + payload


class _Link(asyncio.Transport):
    """What the inner protocol takes for its transport."""

    def __init__(self, wire: Wire, real: asyncio.Transport) -> None:
        super().__init__()
        self._wire = wire
        self._real = real

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._real.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._wire.is_closing

    def close(self) -> None:
        self._wire.close()

    def abort(self) -> None:
        self._wire.abort()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._wire.upgrade(cast("asyncio.Protocol", protocol))

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._wire.inner

    def is_reading(self) -> bool:
        return self._wire.is_reading

    def pause_reading(self) -> None:
        self._wire.set_reading(wanted=False)

    def resume_reading(self) -> None:
        self._wire.set_reading(wanted=True)

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self._wire.write(bytes(data))

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        self._wire.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        self._real.write_eof()

    def can_write_eof(self) -> bool:
        return self._real.can_write_eof()

    def get_write_buffer_size(self) -> int:
        return self._real.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._real.get_write_buffer_limits()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._real.set_write_buffer_limits(high, low)


def wired(door: Door, protocol: Callable[..., asyncio.Protocol]) -> Callable[..., Wire]:
    """uvicorn's factory of HTTP protocols, each behind a :class:`Wire`."""

    def make(*args: Any, **options: Any) -> Wire:
        return Wire(door, protocol(*args, **options))

    return make


def most_connections(asked: int) -> int:
    """``asked``, or fewer where this process may not open so many files."""
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return asked
    free = max(1, allowed - len(list(Path("/dev/fd").iterdir())) - BACKLOG - _OTHER_FILES)
    if free < asked:
        _log.warning(
            "connections taken: %d instead of %d, as this process may open %d files (ulimit -n)",
            free,
            asked,
            allowed,
        )
    return min(asked, free)
