"""The harness against the real vLLM: ``nox -s vllm``, minutes long, never part of the tests.

``STT_VLLM_VENV`` names the folder for vLLM's environment. What the server says is recorded into
``tests/data/vllm_transcript.json``, which keeps the fake of the ordinary tests honest.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from harness.engines.remote import connect_realtime
from harness.engines.remote.adapter import make_adapter
from harness.engines.remote.engine import RealtimeClient
from harness.engines.remote.options import RealtimeOptions
from harness.errors import UsageError
from tests.engines.listening import WORLD, Heard, loud

from .server import MAX_SESSIONS, MAX_STEPS, MODEL, kill, vllm_server

VENV = os.environ.get("STT_VLLM_VENV")
TRANSCRIPT = Path(__file__).parent.parent / "data" / "vllm_transcript.json"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(VENV is None, reason="run it with `nox -s vllm`"),
]
STEP_MS = 80.0


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    assert VENV is not None
    with vllm_server(Path(VENV), tmp_path_factory.mktemp("vllm")) as running:
        yield running


@pytest.fixture
def config(running: tuple[str, subprocess.Popen[bytes]]) -> RealtimeOptions:
    # Random weights say whatever they say: a blank run means nothing here.
    return RealtimeOptions(url=running[0], model=MODEL, step_ms=STEP_MS, blank_speech_s=None)


def speak(engine: RealtimeClient, count: int, seconds: float, frame_s: float) -> list[Heard]:
    """``count`` sessions at once, in real time."""
    heard = [Heard() for _ in range(count)]
    streams = [engine.open(h) for h in heard]
    assert all(h.is_ready.wait(30) for h in heard)
    audio, t0_ns, size = loud(seconds), WORLD.now_ns() + 20_000_000, round(frame_s * 16_000)
    for start in range(0, len(audio), size):
        WORLD.sleep_until_ns(t0_ns + round((start + size) / 16_000 * 1e9))
        for stream in streams:
            stream.feed(audio[start : start + size])
    for stream in streams:
        stream.finish()
    assert all(h.is_over.wait(60) for h in heard)
    for h in heard:  # receipts count from the instant of audio time zero
        h.token_ns = [at_ns - t0_ns for at_ns in h.token_ns]
    return heard


def say(what: str, heard: list[Heard]) -> None:
    first = [h.token_ns[0] / 1e6 for h in heard]
    text = [
        next(at_ns for at_ns, text in zip(h.token_ns, h.tokens, strict=True) if text.strip()) / 1e6
        for h in heard
    ]
    steady = [g for h in heard for g in np.diff(h.token_ns[3:-20]) / 1e6]
    setup = [(end - start) / 1e6 for h in heard for _, start, end in h.spans]
    print(  # noqa: T201
        f"\n{what}: setup {statistics.median(setup):.1f} ms, first delta"
        f" {statistics.median(first):.0f} ms, first text {statistics.median(text):.0f} ms,"
        f" gap p50 {np.percentile(steady, 50):.1f} p95 {np.percentile(steady, 95):.1f} ms"
        f" (n={len(steady)})"
    )


def test_wrong_model_shows_before_the_run(config: RealtimeOptions) -> None:
    with pytest.raises(UsageError, match="wrong model: The model `nope` does not exist"):
        connect_realtime(replace(config, model="nope"), WORLD)


@pytest.mark.parametrize("frame_ms", [20, 80])
def test_a_session(config: RealtimeOptions, frame_ms: int) -> None:
    engine = connect_realtime(config, WORLD)
    speak(engine, 1, 2.0, frame_ms / 1000)  # the first session is slow: kernels are made
    heard = [h for _ in range(3) for h in speak(engine, 1, 4.0, frame_ms / 1000)]
    engine.close()
    assert [h.error for h in heard] == [None] * 3
    assert len({h.text for h in heard}) == 1
    assert heard[0].text.strip()
    assert len(heard[0].tokens) >= 4.0 / (STEP_MS / 1000)  # a step for every 80 ms
    say(f"1 session, frames of {frame_ms} ms", heard)


def test_as_many_sessions_as_it_takes(config: RealtimeOptions) -> None:
    engine = connect_realtime(config, WORLD)
    heard = speak(engine, MAX_SESSIONS, 4.0, 0.08)
    engine.close()
    assert [h.error for h in heard] == [None] * MAX_SESSIONS
    assert len({len(h.tokens) for h in heard}) == 1
    say(f"{MAX_SESSIONS} sessions, frames of 80 ms", heard)


def test_one_session_more_waits_without_a_word(config: RealtimeOptions) -> None:
    engine = connect_realtime(replace(config, slot_timeout_s=2.0), WORLD)
    heard = speak(engine, MAX_SESSIONS + 1, 4.0, 0.08)
    engine.close()
    errors = [h.error for h in heard if h.error is not None]
    assert len(errors) == 1
    assert errors[0].startswith("session waits for a slot: not one message in 2.0 s of speech")


def test_audio_beyond_its_longest_session_is_cut_off_without_a_word(
    config: RealtimeOptions,
) -> None:
    engine = connect_realtime(replace(config, queue_s=60.0), WORLD)
    heard = Heard()
    stream = engine.open(heard)
    for _ in range(MAX_STEPS * 80 // 1000 + 10):
        stream.feed(loud(1.0))
    stream.finish()
    assert heard.is_over.wait(120)
    engine.close()
    assert heard.error is not None
    assert heard.error.startswith("truncated: ")


def test_record_the_transcript(config: RealtimeOptions) -> None:
    """What the fake is compared with: client messages, and the answers up to the next of them."""
    adapter = make_adapter(config)
    transcript: list[dict[str, object]] = []
    with connect(config.url, proxy=None) as socket:
        transcript.append({"client": None, "server": collect(socket)})
        for message in (
            '{"type":"session.update"}',
            '{"type":"session.update","model":"nope"}',
            "{nope",
            '{"type":"session.probe"}',
            '{"type":"input_audio_buffer.append","audio":""}',
            '{"type":"input_audio_buffer.append","audio":"!!"}',
            '{"type":"input_audio_buffer.commit"}',
            *adapter.configure(),
            *adapter.end(),  # without a start: never answered
        ):
            socket.send(message)
            transcript.append({"client": message, "server": collect(socket)})
        socket.send(b"\x00\x01")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=10)
        assert closed.value.rcvd is None  # killed, not closed
    with connect(config.url, proxy=None) as socket:
        collect(socket)
        for message in (*adapter.configure(), *adapter.start()):
            socket.send(message)
        for start in range(0, 12 * 1280, 1280):
            socket.send(adapter.audio(loud(1.0)[start : start + 1280]) or "")
        for message in adapter.end():
            socket.send(message)
        answer = collect(socket, quiet_s=3.0)
        transcript.append({"client": "12 frames of 80 ms, then the final commit", "server": answer})
    assert answer[-1]["type"] == "transcription.done"
    TRANSCRIPT.parent.mkdir(exist_ok=True)
    TRANSCRIPT.write_text(json.dumps(transcript, indent=1) + "\n", encoding="utf-8")


def collect(socket: ClientConnection, quiet_s: float = 0.5) -> list[dict[str, object]]:
    """Messages until none has come for a while."""
    messages: list[dict[str, object]] = []
    try:
        while True:
            messages.append(json.loads(socket.recv(timeout=quiet_s)))
    except TimeoutError:
        return messages


def test_killed_amid_a_session(
    config: RealtimeOptions, running: tuple[str, subprocess.Popen[bytes]]
) -> None:
    """The last test: nothing is served after it."""
    engine = connect_realtime(config, WORLD)
    heard = Heard()
    stream = engine.open(heard)
    assert heard.is_ready.wait(10)
    for _ in range(20):
        stream.feed(loud(0.08))
        WORLD.sleep_until_ns(WORLD.now_ns() + 80_000_000)
    kill(running[1])
    assert heard.is_over.wait(10)
    engine.close()
    assert heard.error == (
        "connection lost before the final text: the server went away without closing it"
    )
    assert "".join(heard.tokens[:8]).strip()
