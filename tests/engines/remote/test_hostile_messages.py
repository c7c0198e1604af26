"""20 000 messages that no server should send: an event or a refusal each, never anything else."""

# ruff: noqa: S311, PT017 nothing here is a secret; outcomes differ from try to try
from __future__ import annotations

import random

import pytest

from harness.engines.remote.adapter import EventKind, ServerEvent, make_adapter
from harness.engines.remote.options import RealtimeOptions
from tests.mutations import bytes_changed, encoded, mutated

SENT = {
    "vllm": [
        {"type": "session.created", "id": "x", "engine": {"random_weights": False,
         "weights_sha256": "ab" * 32, "model_delay_ms": 480.0}},
        {"type": "transcription.delta", "delta": "It was", "timing": {"kind": "turn", "at_ms": 1.0,
         "spans": [["decode", 0.0, 1.0, 1]]}},
        {"type": "transcription.done", "text": "It was", "usage": {"completion_tokens": 7}},
        {"type": "error", "error": "no", "code": "invalid_json"},
    ],
    "mistral": [
        {"type": "session.updated", "session": {"id": 1}},
        {"type": "transcription.text.delta", "text": "It"},
        {"type": "transcription.done", "text": "It"},
        {"type": "error", "error": {"message": {"detail": "no"}, "code": 3}},
    ],
    "openai": [
        {"type": "session.updated", "session": {"id": 1}},
        {"type": "conversation.item.input_audio_transcription.delta", "item_id": 1, "delta": "It"},
        {"type": "conversation.item.input_audio_transcription.completed", "transcript": "It"},
        {"type": "error", "error": {"message": "no", "code": "bad"}},
    ],
}  # fmt: skip
EACH = 20_000 // 12 + 1


@pytest.mark.parametrize("protocol", SENT)
def test_every_message_is_an_event_or_a_refusal(protocol: str) -> None:
    drawn = random.Random(protocol)
    adapter = make_adapter(RealtimeOptions(protocol=protocol))
    seen = dict.fromkeys(("event", "refused"), 0)
    for message in SENT[protocol]:
        assert adapter.parse(encoded(message).decode()).kind is not EventKind.OTHER
        for _ in range(EACH):
            changed = encoded(mutated(message, drawn))
            if drawn.randrange(3) == 0:
                changed = bytes_changed(changed, drawn)
            text = changed.decode("utf-8", "replace")
            try:
                event = adapter.parse(drawn.choice((text, text, changed)))
            except ValueError as refusal:
                seen["refused"] += 1
                assert "\n" not in str(refusal)
                assert len(str(refusal)) < 1000
            else:
                seen["event"] += 1
                assert isinstance(event, ServerEvent)
                if event.kind is EventKind.ERROR:
                    assert len(event.text) <= 201
                    assert event.text.isprintable()
    assert min(seen.values()) > EACH  # both were tried
