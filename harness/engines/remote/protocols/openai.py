"""OpenAI's realtime transcription, with turn detection off.

Source: OpenAI's realtime transcription guide. Talked to: a fake made from it.

"""

from __future__ import annotations

import numpy as np
import soxr

from harness.engines import Samples
from harness.engines.remote.adapter import RATE_HZ, Adapter, EventKind, ServerEvent, pcm16
from harness.engines.remote.messages import (
    decode,
    nested_error,
    text_of,
    to_base64,
    to_json,
    with_query,
)
from harness.engines.remote.options import RealtimeOptions


class OpenAI(Adapter):
    """OpenAI's realtime transcription, turn detection off: the one commit is the one turn."""

    acknowledged = True
    RATE_HZ = 24_000  # the only rate it takes

    def __init__(self, config: RealtimeOptions) -> None:
        super().__init__(config)
        self._resampler = soxr.ResampleStream(RATE_HZ, self.RATE_HZ, 1, dtype="float32")

    def url(self) -> str:
        return with_query(self._config.url, intent="transcription")

    def configure(self) -> list[str | bytes]:
        audio = {
            "input": {
                "format": {"type": "audio/pcm", "rate": self.RATE_HZ},
                "transcription": {"model": self._config.model},
                "turn_detection": None,
            }
        }
        return [to_json(type="session.update", session={"type": "transcription", "audio": audio})]

    def audio(self, samples: Samples) -> str | bytes | None:
        return self._append(self._resampler.resample_chunk(samples))

    def end(self) -> list[str | bytes]:
        tail = self._append(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        return [*([tail] if tail else []), to_json(type="input_audio_buffer.commit")]

    def _append(self, samples: Samples) -> str | None:
        if len(samples) == 0:
            return None
        return to_json(type="input_audio_buffer.append", audio=to_base64(pcm16(samples)))

    def parse(self, message: str | bytes) -> ServerEvent:
        event = decode(message)
        match event.get("type"):
            case "conversation.item.input_audio_transcription.delta":
                return ServerEvent(EventKind.TEXT, text_of(event, "delta"))
            case "conversation.item.input_audio_transcription.completed":
                return ServerEvent(EventKind.DONE, text_of(event, "transcript"))
            case "session.created" | "transcription_session.created":
                return ServerEvent(EventKind.CREATED)
            case "session.updated" | "transcription_session.updated":
                return ServerEvent(EventKind.CONFIGURED)
            case "error" | "conversation.item.input_audio_transcription.failed":
                return nested_error(event)
        return ServerEvent(EventKind.OTHER)
