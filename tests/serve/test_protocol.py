"""The two protocols as state machines: any message in any order, and no state between sessions."""

from __future__ import annotations

import base64
import json
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from harness.chunking import (
    EagerFirst,
    Sentences,
    Strategy,
    Timed,
    Tokens,
    Words,
    parse_strategy,
)
from harness.events import ServerTiming, SessionKind
from harness.serve.protocol import (
    Audio,
    Begin,
    Finish,
    Realtime,
    Reply,
    State,
    Transcribe,
    UtteranceLimits,
)

LIMITS = UtteranceLimits(message_bytes=2000, audio_samples=1000)


def realtime() -> Realtime:
    return Realtime(LIMITS, "tiny")


def transcribe() -> Transcribe:
    return Transcribe(LIMITS, "turn", "tiny")


# Messages that are nearly right, so that every state is reached, among plain nonsense.
_audio = st.binary(max_size=700).map(lambda raw: base64.b64encode(raw).decode())
_values = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), _audio,
    st.sampled_from(["tiny", "1word", "6word", "token"]), st.lists(st.text(max_size=5), max_size=6),
)  # fmt: skip
_types = st.sampled_from(
    ["session.update", "input_audio_buffer.append", "input_audio_buffer.commit", "start", "audio",
     "end", "error", ""]
)  # fmt: skip
_fields = st.dictionaries(
    st.sampled_from(["model", "audio", "final", "chunking", "clip", "x"]), _values, max_size=3
)
_events = st.builds(lambda kind, fields: json.dumps({"type": kind, **fields}), _types, _fields)
NO_TIME = ServerTiming(SessionKind.TURN, 0.0, [])
_right = st.sampled_from(
    [
        json.dumps(event)
        for event in (
            {"type": "session.update", "model": "tiny"},
            {"type": "input_audio_buffer.commit", "final": False},
            {"type": "input_audio_buffer.commit", "final": True},
            {"type": "input_audio_buffer.append", "audio": base64.b64encode(b"ab" * 50).decode()},
            {"type": "start", "chunking": ["1word", "6word"]},
            {"type": "audio", "audio": base64.b64encode(b"ab" * 50).decode()},
            {"type": "end"},
        )
    ]
    + [b"ab" * 50]
)
_nonsense = st.one_of(
    st.text(max_size=60), st.binary(max_size=60), st.integers(1, 3000).map(lambda n: "[" * n)
)
MESSAGES = st.lists(
    st.one_of(_right, _right, _events, _nonsense, st.just("<answered>")), max_size=60
)


def check(protocol: Realtime | Transcribe, messages: list[str | bytes]) -> None:
    """Feed messages; the actions must be those of a well-behaved client, errors left out."""
    samples, begun = 0, False
    for message in messages:
        if message == "<answered>":
            if protocol.state is State.ANSWERING:
                protocol.done("text", 1, NO_TIME)
                begun = False
            continue
        before = protocol.state
        new = protocol.receive(message)
        for action in new:
            match action:
                case Begin():
                    assert not begun
                    begun, samples = True, 0
                case Audio():
                    assert begun
                    assert action.samples.dtype == np.float32
                    assert np.abs(action.samples).max() <= 1
                    samples += len(action.samples)
                case Finish():
                    assert begun
                    assert protocol.state is State.ANSWERING
                case Reply():
                    assert json.loads(action.message)["code"] == action.code
                    assert json.loads(action.message)["type"] == "error"
                    assert protocol.state is before
                    assert new == [action]
        assert samples <= LIMITS.audio_samples


@settings(max_examples=400, deadline=None)
@given(MESSAGES)
def test_any_messages_in_any_order(messages: list[str | bytes]) -> None:
    """At least 2 protocols x 400 examples x 15 messages = 12 000 messages."""
    check(realtime(), messages)
    check(transcribe(), messages)


@settings(max_examples=100, deadline=None)
@given(MESSAGES, MESSAGES)
def test_sessions_do_not_leak_into_each_other(
    one: list[str | bytes], two: list[str | bytes]
) -> None:
    for make in (realtime, transcribe):
        first, second = make(), make()
        together: list[object] = []
        for index in range(max(len(one), len(two))):
            together += feed(first, one[index : index + 1])
            feed(second, two[index : index + 1])
        assert together == feed(make(), one)


def feed(protocol: Realtime | Transcribe, messages: list[str | bytes]) -> list[object]:
    actions: list[object] = []
    for message in messages:
        if message != "<answered>":
            actions += map(describe, protocol.receive(message))
        elif protocol.state is State.ANSWERING:
            protocol.done("text", 1, NO_TIME)
    return actions


def describe(action: Any) -> object:
    return action.samples.tobytes() if isinstance(action, Audio) else action


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=2, max_size=1400).filter(lambda raw: len(raw) % 2 == 0))
def test_audio_arrives_exactly_whichever_way(raw: bytes) -> None:
    encoded = base64.b64encode(raw).decode()
    plain, in_json, vllm = transcribe(), transcribe(), realtime()
    vllm.receive('{"type":"session.update","model":"tiny"}')
    vllm.receive('{"type":"input_audio_buffer.commit"}')
    actions = [
        plain.receive(raw)[-1],
        in_json.receive(json.dumps({"type": "audio", "audio": encoded}))[-1],
        vllm.receive(json.dumps({"type": "input_audio_buffer.append", "audio": encoded}))[-1],
    ]
    expected = np.frombuffer(raw, "<i2") / np.float32(32768)
    for action in actions:
        assert isinstance(action, Audio)
        np.testing.assert_array_equal(action.samples, expected)


def test_audio_before_the_commit_that_begins_is_kept() -> None:
    protocol = realtime()
    append = {"type": "input_audio_buffer.append", "audio": base64.b64encode(b"abcd").decode()}
    assert protocol.receive('{"type":"session.update","model":"tiny"}') == []
    assert protocol.receive(json.dumps(append)) == []
    begin, audio = protocol.receive('{"type":"input_audio_buffer.commit"}')
    assert isinstance(begin, Begin)
    assert isinstance(audio, Audio)
    assert len(audio.samples) == 2


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("1word", Words(1)),
        ("6word", Words(6)),
        ("token", Tokens()),
        ("sentence", Sentences()),
        ("eager_first", EagerFirst()),
        ("timed", Timed()),
        ("eager_first_3", EagerFirst(3)),
        ("timed_250ms", Timed(250.0)),
    ],
)
def test_names_of_strategies(name: str, config: Strategy) -> None:
    assert parse_strategy(name) == config
    assert config.name == name


@pytest.mark.parametrize("name", ["", "0word", "100word", "-1word", "1 word", "timed_0ms", "words"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ValueError, match="no chunking strategy is called"):
        parse_strategy(name)
