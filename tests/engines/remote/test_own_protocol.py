"""A protocol of one's own: one class. Binary frames, another header, no greeting."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from websockets.asyncio.server import ServerConnection

from harness.clock import RealWorld
from harness.engines.remote.adapter import (
    Adapter,
    EventKind,
    ServerEvent,
    make_adapter,
    pcm16,
)
from harness.engines.remote.engine import RealtimeClient
from harness.engines.remote.options import PROTOCOLS, RealtimeOptions
from harness.errors import ConfigError
from tests.engines.fake_vllm import running
from tests.engines.remote.test_session import speak

KEY = "a-key-of-twenty-letters"


class Binary(Adapter):
    """PCM as binary frames; text comes as JSON; the end is an empty frame."""

    greets = False
    joins = False

    def headers(self, key: str) -> dict[str, str]:
        return {"X-Key": key}

    def subprotocols(self, key: str | None) -> list[str]:
        return ["stt"]

    def audio(self, samples):
        return pcm16(samples)

    def end(self):
        return [b""]

    def parse(self, message):
        event = json.loads(message)
        kind = EventKind.DONE if event["final"] else EventKind.TEXT
        return ServerEvent(kind, event["text"])


@pytest.fixture
def own_protocol():
    PROTOCOLS.add("binary")(Binary)
    yield
    PROTOCOLS.remove("binary")


async def session(link: ServerConnection) -> None:
    """Answers how many bytes of audio it heard, to whoever shows the key in its header."""
    assert link.request.headers["X-Key"] == KEY
    heard = 0
    async for frame in link:
        assert isinstance(frame, bytes)
        heard += len(frame)
        if not frame:
            break
    await link.send(json.dumps({"text": "heard ", "final": False}))
    await link.send(json.dumps({"text": f"{heard} bytes", "final": True}))


def test_a_protocol_from_outside_is_one_class(own_protocol) -> None:
    config = RealtimeOptions(model="any", protocol="binary", kind="turn", answer_timeout_s=60)
    assert isinstance(make_adapter(config), Binary)
    with running(session) as url:
        engine = RealtimeClient(replace(config, url=url), RealWorld(), key=KEY)
        try:
            heard = speak(engine, 0.08)
        finally:
            engine.close()
    assert heard.calls[-1] == "ended", heard.calls
    assert heard.tokens == ["heard "]


def test_an_unknown_protocol_says_what_is_allowed() -> None:
    with pytest.raises(ConfigError, match=r"(?s)engine.protocol.*allowed: vllm, mistral, openai"):
        RealtimeOptions(model="any", protocol="smoke_signals")
