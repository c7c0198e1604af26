"""Messages from and to clients: two protocols as state machines, without a socket.

A session is idle, listening (an utterance was begun) or answering (its audio is complete). Each
message of a client becomes actions; one that is malformed, too large or out of order becomes an
error event, changes nothing, and the session goes on.

* ``Realtime`` speaks vLLM's ``/v1/realtime``. Where vLLM keeps silent or dies (a final commit that
  was never begun, audio while it answers, a binary frame) this one answers with an error event.
  Its greeting says what is served (``engine``), and each text comes with the times it took
  (``timing``); other clients pass over both.
* ``Transcribe`` speaks the chunk messages of the system that this project began with: binary PCM16
  or base64 in; ``text_chunk`` messages out, of which the last says ``is_final``.
"""

from __future__ import annotations

import base64
import binascii
import enum
from typing import Any, Protocol

import msgspec
import numpy as np

from harness.audio import RATE_HZ
from harness.chunking import parse_strategy
from harness.chunking.messages import ChunkMessage
from harness.clock import wall_time
from harness.engines import Samples
from harness.events import ServedEngine, ServerTiming

_NOTHING_TOLD = ServedEngine()

MAX_LANES = 4  # chunking strategies side by side on the same tokens


class Begin(msgspec.Struct, frozen=True):
    """A new utterance."""

    chunking: tuple[str, ...] = ()  # strategies side by side; empty: the session's default
    clip: str | None = None  # the dataset clip that the client plays, where it plays one


class Audio(msgspec.Struct, frozen=True, eq=False):
    samples: Samples


class Finish(msgspec.Struct, frozen=True):
    """The utterance is complete."""


class Reply(msgspec.Struct, frozen=True):
    message: str
    code: str  # of the error


Action = Begin | Audio | Finish | Reply


class State(enum.Enum):
    IDLE = enum.auto()
    LISTENING = enum.auto()
    ANSWERING = enum.auto()


class UtteranceLimits(msgspec.Struct, frozen=True):
    message_bytes: int
    audio_samples: int  # of one utterance


class ServeProtocol(Protocol):
    state: State

    def greeting(self, session: str) -> str: ...

    def receive(self, message: str | bytes) -> list[Action]: ...

    def chunk(
        self, lane: str, text: str, message: ChunkMessage, timing: ServerTiming
    ) -> str | None:
        """``text`` is exact, white space included; None: the protocol has no message for it."""

    def blank(self, timing: ServerTiming) -> str | None:
        """A step of the engine's without text; None: the protocol has no message for it."""

    def done(self, text: str, tokens: int, timing: ServerTiming) -> str | None:
        """The message that ends an answer; None: its last chunk did. Idle from here on."""

    def error(self, text: str, code: str) -> str: ...

    def abandon(self) -> None:
        """The utterance failed: idle from here on."""


class _Refused(Exception):  # noqa: N818 an answer to the client, not a failure
    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


class _Dropped(Exception):  # noqa: N818 the client knows already
    pass


class _Base:
    """State, limits and the decoding that both protocols share."""

    def __init__(self, limits: UtteranceLimits, served: ServedEngine) -> None:
        self.state = State.IDLE
        self._limits = limits
        self._served = served
        self._audio_samples = 0
        self._is_full = False  # an error was sent: the utterance is longer than allowed

    def receive(self, message: str | bytes) -> list[Action]:
        try:
            self._check_size(message)
            return self._receive(message)
        except _Dropped:
            return []
        except _Refused as refused:
            return [Reply(self.error(str(refused), refused.code), refused.code)]

    def _check_size(self, message: str | bytes) -> None:
        if len(message) > self._limits.message_bytes:
            raise _Refused(
                f"message of {len(message)} bytes; allowed: {self._limits.message_bytes}",
                "too_large",
            )

    def _receive(self, message: str | bytes) -> list[Action]:
        raise NotImplementedError

    def error(self, text: str, code: str) -> str:
        return _json(type="error", error=text, code=code)

    def abandon(self) -> None:
        self.state = State.IDLE
        self._audio_samples = 0
        self._is_full = False

    def _event(self, message: str | bytes) -> dict[str, Any]:
        if isinstance(message, bytes):
            raise _Refused("binary message; this endpoint takes JSON text", "invalid_json")
        try:
            event = msgspec.json.decode(message)
        except (msgspec.DecodeError, RecursionError):
            raise _Refused("Invalid JSON", "invalid_json") from None
        if not isinstance(event, dict) or not isinstance(event.get("type"), str):
            raise _Refused("not an object with a text in 'type'", "invalid_event")
        return event

    def _base64(self, event: dict[str, Any]) -> Samples:
        audio = event.get("audio")
        if not isinstance(audio, str):
            raise _Refused("no text in 'audio'", "invalid_event")
        try:
            return self._pcm16(base64.b64decode(audio, validate=True))
        except (binascii.Error, ValueError):
            raise _Refused("Invalid audio data: not base64", "invalid_audio") from None

    def _pcm16(self, pcm: bytes) -> Samples:
        if not pcm or len(pcm) % 2:
            raise _Refused(
                f"Invalid audio data: {len(pcm)} bytes are no PCM16 samples", "invalid_audio"
            )
        if self.state is State.ANSWERING:
            raise _Refused("audio while the answer to the last is on its way", "out_of_order")
        count = len(pcm) // 2
        if self._is_full or self._audio_samples + count > self._limits.audio_samples:
            if self._is_full:
                raise _Dropped
            self._is_full = self.state is State.LISTENING
            allowed_s = self._limits.audio_samples / RATE_HZ
            raise _Refused(
                f"utterance longer than {allowed_s:g} s; from here on its audio is dropped",
                "audio_too_long",
            )
        self._audio_samples += count
        return np.frombuffer(pcm, "<i2").astype(np.float32) / np.float32(32768)


class Realtime(_Base):
    """vLLM's protocol: ``session.update``, ``commit``, ``append``..., ``commit(final)``."""

    def __init__(
        self, limits: UtteranceLimits, model: str, served: ServedEngine = _NOTHING_TOLD
    ) -> None:
        super().__init__(limits, served)
        self._model = model
        self._model_validated = False
        self._early: list[Samples] = []  # appended before the commit that begins

    def greeting(self, session: str) -> str:
        created = int(wall_time().timestamp())
        return _json(type="session.created", id=session, created=created, engine=self._served)

    def _receive(self, message: str | bytes) -> list[Action]:
        event = self._event(message)
        match event["type"]:
            case "session.update":
                self._update(event.get("model"))
                return []
            case "input_audio_buffer.append":
                samples = self._base64(event)
                if self.state is State.IDLE:
                    self._early.append(samples)
                    return []
                return [Audio(samples)]
            case "input_audio_buffer.commit":
                return self._commit(event.get("final", False))
        raise _Refused(f"Unknown event type: {event['type'][:80]}", "unknown_event")

    def _update(self, model: object) -> None:
        if model is None:
            raise _Refused("Missing required field: model", "invalid_event")
        if model != self._model:
            name = model[:80] if isinstance(model, str) else "(not a text)"
            raise _Refused(f"The model `{name}` does not exist.", "model_not_found")
        self._model_validated = True

    def _commit(self, final: object) -> list[Action]:
        if not isinstance(final, bool):
            raise _Refused("'final' is not a boolean", "invalid_event")
        if not self._model_validated:
            raise _Refused(
                "Model not validated. Make sure to validate the model by sending a session.update"
                " event.",
                "model_not_validated",
            )
        if self.state is State.ANSWERING:
            raise _Refused("commit while the answer to the last is on its way", "out_of_order")
        if not final:
            if self.state is State.LISTENING:
                return []  # as vLLM: begun already
            self.state = State.LISTENING
            early, self._early = self._early, []
            return [Begin(), *map(Audio, early)]
        if self.state is State.IDLE:
            raise _Refused(
                "final commit without a first one: send input_audio_buffer.commit before it",
                "out_of_order",
            )
        self.state = State.ANSWERING
        return [Finish()]

    def chunk(
        self, lane: str, text: str, message: ChunkMessage, timing: ServerTiming
    ) -> str | None:
        if message.is_final and not text:
            return None
        return _json(type="transcription.delta", delta=text, timing=timing)

    def blank(self, timing: ServerTiming) -> str | None:
        return _json(type="transcription.delta", delta="", timing=timing)

    def done(self, text: str, tokens: int, timing: ServerTiming) -> str | None:
        self.abandon()
        usage = {"prompt_tokens": 0, "completion_tokens": tokens, "total_tokens": tokens}
        return _json(type="transcription.done", text=text, usage=usage, timing=timing)


class Transcribe(_Base):
    """``start`` (optional), binary PCM16 or ``audio``..., ``end``."""

    def __init__(
        self, limits: UtteranceLimits, kind: str, model: str, served: ServedEngine = _NOTHING_TOLD
    ) -> None:
        super().__init__(limits, served)
        self._kind = kind
        self._model = model

    def greeting(self, session: str) -> str:
        facts = {"kind": self._kind, "model": self._model, "engine": self._served}
        return _json(type="ready", session=session, **facts)

    def _receive(self, message: str | bytes) -> list[Action]:
        if isinstance(message, bytes):
            return self._audio(self._pcm16(message))
        event = self._event(message)
        match event["type"]:
            case "start":
                return [self._start(event)]
            case "audio":
                return self._audio(self._base64(event))
            case "end" if self.state is State.LISTENING:
                self.state = State.ANSWERING
                return [Finish()]
            case "end":
                raise _Refused("'end' without audio before it", "out_of_order")
        raise _Refused(f"Unknown event type: {event['type'][:80]}", "unknown_event")

    def _audio(self, samples: Samples) -> list[Action]:
        if self.state is State.LISTENING:
            return [Audio(samples)]
        self.state = State.LISTENING
        return [Begin(), Audio(samples)]

    def _start(self, event: dict[str, Any]) -> Begin:
        if self.state is not State.IDLE:
            raise _Refused("'start' before the last utterance was answered", "out_of_order")
        names = event.get("chunking", [])
        names = [names] if isinstance(names, str) else names
        if (
            not isinstance(names, list)
            or len(names) > MAX_LANES
            or not all(isinstance(name, str) for name in names)
            or len(set(names)) < len(names)
        ):
            raise _Refused(
                f"'chunking' is not a name or a list of up to {MAX_LANES} different names",
                "invalid_event",
            )
        clip = event.get("clip")
        if clip is not None and not isinstance(clip, str):
            raise _Refused("'clip' is not a text", "invalid_event")
        for name in names:
            try:
                parse_strategy(name)
            except ValueError as error:
                raise _Refused(str(error), "unknown_chunking") from error
        self.state = State.LISTENING
        return Begin(tuple(names), clip)

    def chunk(
        self, lane: str, text: str, message: ChunkMessage, timing: ServerTiming
    ) -> str | None:
        return _json(
            type="text_chunk", **msgspec.to_builtins(message), chunking=lane, exact_text=text
        )

    def blank(self, timing: ServerTiming) -> str | None:
        return None

    def done(self, text: str, tokens: int, timing: ServerTiming) -> str | None:
        self.abandon()
        return None


def _json(**message: Any) -> str:
    return msgspec.json.encode(message).decode()
