"""vLLM's realtime protocol, which our own ``serve`` speaks as well.

Source: vLLM 0.32, ``entrypoints/speech_to_text/realtime``. Talked to: vLLM's CPU build.

"""

from __future__ import annotations

from harness.engines import Samples
from harness.engines.remote.adapter import Adapter, EventKind, ServerEvent, pcm16
from harness.engines.remote.messages import (
    decode,
    nested_error,
    served_of,
    shown,
    steps_of,
    text_of,
    timing_of,
    to_base64,
    to_json,
)


class Vllm(Adapter):
    """vLLM's own protocol: the server has no turn detection, a session is one utterance."""

    def configure(self) -> list[str | bytes]:
        return [to_json(type="session.update", model=self._config.model)]

    def probe(self) -> list[str | bytes]:
        # vLLM answers messages in order and refuses an unknown one: its refusal says that the
        # message before it has been dealt with.
        return [to_json(type="session.probe")]

    def start(self) -> list[str | bytes]:
        return [to_json(type="input_audio_buffer.commit", final=False)]

    def audio(self, samples: Samples) -> str | bytes | None:
        return to_json(type="input_audio_buffer.append", audio=to_base64(pcm16(samples)))

    def end(self) -> list[str | bytes]:
        return [to_json(type="input_audio_buffer.commit", final=True)]

    def parse(self, message: str | bytes) -> ServerEvent:
        event = decode(message)
        match event.get("type"):
            case "transcription.delta":
                return ServerEvent(EventKind.TEXT, text_of(event, "delta"), timing=timing_of(event))
            case "transcription.done":
                text, timing = text_of(event, "text"), timing_of(event)
                return ServerEvent(EventKind.DONE, text, steps=steps_of(event), timing=timing)
            case "session.created":
                return ServerEvent(EventKind.CREATED, served=served_of(event))
            case "error" if event.get("code") == "unknown_event":
                return ServerEvent(EventKind.CONFIGURED)
            case "error":
                if isinstance(event.get("error"), dict):
                    return nested_error(event)
                return ServerEvent(
                    EventKind.ERROR, shown(event.get("error")), shown(event.get("code"))
                )
        return ServerEvent(EventKind.OTHER)
