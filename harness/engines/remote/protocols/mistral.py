"""Mistral's hosted realtime transcription.

Source: Mistral's Python client 2, ``extra/realtime``. Talked to: a fake made from it.

"""

from __future__ import annotations

from typing import Any

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


class Mistral(Adapter):
    """Mistral's hosted realtime transcription."""

    acknowledged = True

    def url(self) -> str:
        return with_query(self._config.url, model=self._config.model)

    def configure(self) -> list[str | bytes]:
        session: dict[str, Any] = {
            "audio_format": {"encoding": "pcm_s16le", "sample_rate": RATE_HZ},
        }
        if self._config.delay_ms is not None:
            session["target_streaming_delay_ms"] = self._config.delay_ms
        return [to_json(type="session.update", session=session)]

    def audio(self, samples: Samples) -> str | bytes | None:
        return to_json(type="input_audio.append", audio=to_base64(pcm16(samples)))

    def end(self) -> list[str | bytes]:
        return [to_json(type="input_audio.flush"), to_json(type="input_audio.end")]

    def parse(self, message: str | bytes) -> ServerEvent:
        event = decode(message)
        match event.get("type"):
            case "transcription.text.delta":
                return ServerEvent(EventKind.TEXT, text_of(event, "text"))
            case "transcription.done":
                return ServerEvent(EventKind.DONE, text_of(event, "text"))
            case "session.created":
                return ServerEvent(EventKind.CREATED)
            case "session.updated":
                return ServerEvent(EventKind.CONFIGURED)
            case "error":
                return nested_error(event)
        return ServerEvent(EventKind.OTHER)
