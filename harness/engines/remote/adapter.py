"""What the harness needs to know of a protocol, and nothing of sockets: messages out, events in."""

from __future__ import annotations

import enum

import msgspec
import numpy as np

from harness.engines import Samples
from harness.engines.remote.options import PROTOCOLS, RealtimeOptions
from harness.events import ServedEngine, ServerTiming

RATE_HZ = 16_000


class EventKind(enum.Enum):
    CREATED = "created"  # the server greets
    CONFIGURED = "configured"  # it has taken the configuration
    TEXT = "text"  # a delta, possibly empty
    DONE = "done"  # the final text
    ERROR = "error"
    OTHER = "other"  # nothing that a measurement needs


class ServerEvent(msgspec.Struct, frozen=True):
    kind: EventKind
    text: str = ""  # of a delta or of the final text, exact; of an error, fit to be shown
    code: str = ""  # of an error, fit to be shown
    steps: int | None = None  # DONE: tokens that the server says it made
    timing: ServerTiming | None = None  # TEXT, DONE: what our own server adds
    served: ServedEngine | None = None  # CREATED: what our own server says of its engine


class Adapter:
    """One protocol, for one session: what is sent and received is text, bytes and events.

    A protocol of one's own is a subclass that is made with the options, and an entry point in the
    group ``harness.protocols``; then ``engine.protocol=NAME``. It says at least :meth:`audio`,
    :meth:`end` and :meth:`parse`.
    """

    greets = True  # the server speaks first: an event of kind CREATED
    acknowledged = False  # the server confirms its configuration: an event of kind CONFIGURED
    joins = True  # the deltas joined are the final text; else the final text is not compared

    def __init__(self, config: RealtimeOptions) -> None:
        self._config = config

    def url(self) -> str:
        """Where to connect, with the query that the protocol wants."""
        return self._config.url

    def headers(self, key: str) -> dict[str, str]:
        """The headers that carry the key."""
        return {"Authorization": f"Bearer {key}"}

    def subprotocols(self, key: str | None) -> list[str]:
        """WebSocket sub-protocols to offer; some servers take the key as one."""
        return []

    def configure(self) -> list[str | bytes]:
        """Messages to send once the server has greeted."""
        return []

    def probe(self) -> list[str | bytes]:
        """Messages whose answer shows, in place of a confirmation, that it was configured."""
        return []

    def start(self) -> list[str | bytes]:
        """Messages to send once it is configured, before audio."""
        return []

    def audio(self, samples: Samples) -> str | bytes | None:
        """A message with these samples; None: too few yet to make one of the server's rate."""
        raise NotImplementedError

    def end(self) -> list[str | bytes]:
        """Messages that say that no audio follows, with what the resampler still held."""
        raise NotImplementedError

    def parse(self, message: str | bytes) -> ServerEvent:
        """Raises ``ValueError`` on what is not a message of this protocol."""
        raise NotImplementedError


def make_adapter(config: RealtimeOptions) -> Adapter:
    """The adapter of ``engine.protocol``, for one session."""
    adapter: Adapter = PROTOCOLS.get(config.protocol)(config)
    return adapter


def pcm16(samples: Samples) -> bytes:
    """Little-endian PCM16; exact for samples that were made from PCM16."""
    scaled = np.rint(samples * np.float32(32768))
    np.clip(scaled, -32768, 32767, out=scaled)
    pcm: bytes = scaled.astype("<i2").tobytes()
    return pcm
