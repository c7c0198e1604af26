"""Three realtime transcription protocols behind one adapter: text in, text out, no socket.

Every protocol sends JSON text frames and carries audio as base64 PCM16 mono:

=========  ==========================  ===================================  ======================
           vllm (and our ``serve``)    mistral                              openai
=========  ==========================  ===================================  ======================
greeting   session.created             session.created                      session.created
configure  session.update, no reply    session.update -> session.updated    the same as mistral
start      commit(final=false)
audio      input_audio_buffer.append   input_audio.append                   as vllm, at 24 kHz
end        commit(final=true)          input_audio.flush, input_audio.end   commit
text       transcription.delta         transcription.text.delta             ....delta, of an item
final      transcription.done          transcription.done                   ....completed
=========  ==========================  ===================================  ======================

Sources: vLLM 0.32 ``entrypoints/speech_to_text/realtime``; Mistral's Python client 2
``extra/realtime``; OpenAI's realtime transcription guide. Only vLLM was talked to.
"""

from __future__ import annotations

import base64
import enum
import re
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec
import numpy as np
import soxr

from harness.engines import Samples
from harness.engines.remote.options import PROTOCOLS, RealtimeOptions
from harness.events import ServedEngine, ServerTiming
from harness.text import shorten

T = TypeVar("T")

RATE_HZ = 16_000
_SHOWN = 200  # characters of what a server says
_LONGEST_DELAY_MS = 60_000.0  # that a model lags behind the audio
_MOST_STEPS = 10**9  # that a session has


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
    return np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2").tobytes()


def _json(**message: Any) -> str:
    return msgspec.json.encode(message).decode()


def _base64(pcm: bytes) -> str:
    return base64.b64encode(pcm).decode()


def _decode(message: str | bytes) -> dict[str, Any]:
    if isinstance(message, bytes):
        raise ValueError(f"a binary frame of {len(message)} bytes")  # noqa: TRY004 content, not a type error
    try:
        return msgspec.json.decode(message, type=dict[str, Any])
    except msgspec.DecodeError as error:
        shown = shorten(message, _SHOWN)
        raise ValueError(f"not a JSON object ({error}): {shown!r}") from error
    except RecursionError as error:
        raise ValueError("JSON that is nested too deeply") from error


def _text(message: dict[str, Any], field: str) -> str:
    value = message.get(field)
    if not isinstance(value, str):
        raise ValueError(f"{message.get('type')} without a text in {field!r}")  # noqa: TRY004
    return value


def _said(value: object) -> str:
    """What an error says, whatever is in its place: short, and with nothing that acts."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return "" if value is None else f"(a {type(value).__name__})"
    return shorten(str(value), _SHOWN)


def _timing(message: dict[str, Any]) -> ServerTiming | None:
    return None if "timing" not in message else _own(message, "timing", ServerTiming)


def _served(message: dict[str, Any]) -> ServedEngine | None:
    if "engine" not in message:
        return None
    served = _own(message, "engine", ServedEngine)
    sha256 = served.weights_sha256
    if not 0 <= served.model_delay_ms <= _LONGEST_DELAY_MS:
        raise ValueError("session.created with an 'engine' whose 'model_delay_ms' cannot be")
    if sha256 is not None and re.fullmatch("[0-9a-f]{8,128}", sha256) is None:
        raise ValueError("session.created with an 'engine' whose 'weights_sha256' is none")
    return served


def _own(message: dict[str, Any], field: str, kind: type[T]) -> T:
    """What our own server adds to the protocol."""
    try:
        return msgspec.convert(message[field], kind)
    except msgspec.ValidationError as error:
        what = f"{message.get('type')} with a {field!r} that is none"
        raise ValueError(f"{what}: {error}") from error


def _steps(message: dict[str, Any]) -> int | None:
    """Tokens that the server says it made; None: it does not say, or no such number."""
    usage = message.get("usage")
    steps = usage.get("completion_tokens") if isinstance(usage, dict) else None
    is_count = isinstance(steps, int) and not isinstance(steps, bool) and 0 <= steps <= _MOST_STEPS
    return steps if is_count else None


class Vllm(Adapter):
    """vLLM's own protocol: the server has no turn detection, a session is one utterance."""

    def configure(self) -> list[str | bytes]:
        return [_json(type="session.update", model=self._config.model)]

    def probe(self) -> list[str | bytes]:
        # vLLM answers messages in order and refuses an unknown one: its refusal says that the
        # message before it has been dealt with.
        return [_json(type="session.probe")]

    def start(self) -> list[str | bytes]:
        return [_json(type="input_audio_buffer.commit", final=False)]

    def audio(self, samples: Samples) -> str | bytes | None:
        return _json(type="input_audio_buffer.append", audio=_base64(pcm16(samples)))

    def end(self) -> list[str | bytes]:
        return [_json(type="input_audio_buffer.commit", final=True)]

    def parse(self, message: str | bytes) -> ServerEvent:
        event = _decode(message)
        match event.get("type"):
            case "transcription.delta":
                return ServerEvent(EventKind.TEXT, _text(event, "delta"), timing=_timing(event))
            case "transcription.done":
                text, timing = _text(event, "text"), _timing(event)
                return ServerEvent(EventKind.DONE, text, steps=_steps(event), timing=timing)
            case "session.created":
                return ServerEvent(EventKind.CREATED, served=_served(event))
            case "error" if event.get("code") == "unknown_event":
                return ServerEvent(EventKind.CONFIGURED)
            case "error":
                if isinstance(event.get("error"), dict):
                    return _nested_error(event)
                return ServerEvent(
                    EventKind.ERROR, _said(event.get("error")), _said(event.get("code"))
                )
        return ServerEvent(EventKind.OTHER)


class Mistral(Adapter):
    """Mistral's hosted realtime transcription."""

    acknowledged = True

    def url(self) -> str:
        return _with_query(self._config.url, model=self._config.model)

    def configure(self) -> list[str | bytes]:
        session: dict[str, Any] = {
            "audio_format": {"encoding": "pcm_s16le", "sample_rate": RATE_HZ},
        }
        if self._config.delay_ms is not None:
            session["target_streaming_delay_ms"] = self._config.delay_ms
        return [_json(type="session.update", session=session)]

    def audio(self, samples: Samples) -> str | bytes | None:
        return _json(type="input_audio.append", audio=_base64(pcm16(samples)))

    def end(self) -> list[str | bytes]:
        return [_json(type="input_audio.flush"), _json(type="input_audio.end")]

    def parse(self, message: str | bytes) -> ServerEvent:
        event = _decode(message)
        match event.get("type"):
            case "transcription.text.delta":
                return ServerEvent(EventKind.TEXT, _text(event, "text"))
            case "transcription.done":
                return ServerEvent(EventKind.DONE, _text(event, "text"))
            case "session.created":
                return ServerEvent(EventKind.CREATED)
            case "session.updated":
                return ServerEvent(EventKind.CONFIGURED)
            case "error":
                return _nested_error(event)
        return ServerEvent(EventKind.OTHER)


class OpenAI(Adapter):
    """OpenAI's realtime transcription, turn detection off: the one commit is the one turn."""

    acknowledged = True
    RATE_HZ = 24_000  # the only rate it takes

    def __init__(self, config: RealtimeOptions) -> None:
        super().__init__(config)
        self._resampler = soxr.ResampleStream(RATE_HZ, self.RATE_HZ, 1, dtype="float32")

    def url(self) -> str:
        return _with_query(self._config.url, intent="transcription")

    def configure(self) -> list[str | bytes]:
        audio = {
            "input": {
                "format": {"type": "audio/pcm", "rate": self.RATE_HZ},
                "transcription": {"model": self._config.model},
                "turn_detection": None,
            }
        }
        return [_json(type="session.update", session={"type": "transcription", "audio": audio})]

    def audio(self, samples: Samples) -> str | bytes | None:
        return self._append(self._resampler.resample_chunk(samples))

    def end(self) -> list[str | bytes]:
        tail = self._append(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        return [*([tail] if tail else []), _json(type="input_audio_buffer.commit")]

    def _append(self, samples: Samples) -> str | None:
        if len(samples) == 0:
            return None
        return _json(type="input_audio_buffer.append", audio=_base64(pcm16(samples)))

    def parse(self, message: str | bytes) -> ServerEvent:
        event = _decode(message)
        match event.get("type"):
            case "conversation.item.input_audio_transcription.delta":
                return ServerEvent(EventKind.TEXT, _text(event, "delta"))
            case "conversation.item.input_audio_transcription.completed":
                return ServerEvent(EventKind.DONE, _text(event, "transcript"))
            case "session.created" | "transcription_session.created":
                return ServerEvent(EventKind.CREATED)
            case "session.updated" | "transcription_session.updated":
                return ServerEvent(EventKind.CONFIGURED)
            case "error" | "conversation.item.input_audio_transcription.failed":
                return _nested_error(event)
        return ServerEvent(EventKind.OTHER)


def _nested_error(event: dict[str, Any]) -> ServerEvent:
    error = event.get("error")
    if not isinstance(error, dict):
        raise ValueError(f"{event.get('type')} without an object in 'error'")  # noqa: TRY004
    message = error.get("message")
    if isinstance(message, dict):  # Mistral: {"detail": ...}
        message = message.get("detail")
    return ServerEvent(
        EventKind.ERROR, _said(message), _said(error.get("code") or error.get("type"))
    )


def _with_query(url: str, **query: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{urlencode(query)}"
