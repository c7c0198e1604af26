"""Engines: the measured things, behind one small protocol.

An engine knows nothing of metrics, reports or config files. It is loaded and warm once it exists;
each session is a stream that is fed audio and answers through a listener. The listener stamps: its
first statement reads the clock. An engine calls it from its own thread (one worker timeline for a
local engine, one asyncio thread for all sockets), in the order in which things happened.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import msgspec
import numpy as np
from numpy.typing import NDArray

from harness.events import SessionKind, Ticks, Word

Samples = NDArray[np.float32]  # [n], 16 kHz, mono, -1..1
Stamp = int | None  # an instant in nanoseconds of ``World.now_ns``; None: now, or not known


class Reference(msgspec.Struct, frozen=True):
    """The reference text of a clip: for the scripted engine and for forced decoding only."""

    text: str
    words: tuple[Word, ...] = ()  # when each was spoken; empty: unknown


class Listener(Protocol):
    """Receives what an engine does for one stream, at the instant it happens."""

    def ready(self) -> None:
        """The stream can take audio in real time; called once, before any token.

        A local engine says it inside ``open``; an engine behind a socket once it is connected and
        configured. The replay sets ``t0`` after it; audio fed earlier is kept and sent then.
        """

    def token(self, text: str, at_ns: int | None = None, after_ns: int | None = None) -> None:
        """One token has reached the host; ``""`` for special tokens and parts of characters.

        Args:
            at_ns: the receipt, from an engine that must stamp a message before it can parse it;
                None: now.
            after_ns: an instant before which the message had not come: it may have waited since
                then for whoever stamped it; None: nothing can wait unseen.
        """

    def hypothesis(
        self, segment: int, text: str, final: bool, at_ns: Stamp = None, after_ns: Stamp = None
    ) -> None:
        """A segment's text as it is heard now: it replaces what the segment was before.

        What an engine may still take back. Segments are shown in the order of their numbers, after
        what ``token`` brought. To commit part of what is open, call ``token`` and then this with
        what is left, both with the same ``at_ns``.

        Args:
            text: exact, white space between segments included; may be empty.
            final: it never changes again; a change of it later fails the session.
            at_ns, after_ns: as of ``token``.
        """

    def speech_started(self) -> None:
        """The engine has noticed that somebody speaks."""

    def turn_ended(self) -> None:
        """The engine has decided that the speaker is done."""

    def span(self, name: str, start_ns: int, end_ns: int, shared_by: int = 1) -> None:
        """Where time went; may come late (device events resolved afterwards), before ``ended``.

        Args:
            shared_by: how many sessions it was done for at once; each gets the whole span.
        """

    def ended(self) -> None:
        """The stream is done: no token follows. The last call."""

    def failed(self, error: str) -> None:
        """The stream cannot go on. The last call."""


class Stream(Protocol):
    """One session. No method waits for the engine."""

    def feed(self, samples: Samples) -> None:
        """More audio; the stream may keep the array."""

    def finish(self) -> None:
        """No more audio follows."""

    def close(self) -> None:
        """End the session at any time; its listener is not called any more."""


class EngineInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured, as it goes into ``environment.json``."""

    model: str  # name as in the config group; `null` and `scripted` for those engines
    kinds: tuple[SessionKind, ...]  # sessions it can serve
    weights: str | None = None  # packaged, a hub id, a folder, random; None: it has no weights
    revision: str | None = None  # of the hub repository or package
    weights_sha256: str | None = None
    random_weights: bool = False  # then text means nothing: no WER, no comparison with real weights
    device: str = "cpu"
    dtype: str | None = None
    parameters: int | None = None
    model_delay_ms: float = 0.0  # live: by how much the model is set to lag behind the audio
    cadence_ms: float | None = None  # live: the engine speaks once in so many ms of audio
    details: dict[str, str | int | float | bool | None] = {}  # whatever else identifies it


class Engine(Protocol):
    """Loaded and warm."""

    info: EngineInfo

    def open(self, listener: Listener, reference: Reference | None = None) -> Stream:
        """Begin one session."""

    def close(self) -> None:
        """Release threads and sockets; open streams are given up.

        Device memory is free again once nothing refers to the engine.
        """


@runtime_checkable
class OnSockets(Protocol):
    """An engine whose receipts come through an event loop of the harness's own process."""

    def loop_ticks(self, start_ns: int, end_ns: int) -> tuple[Ticks, ...]:
        """How late the loop was for what was due in [start, end]; from any thread."""
