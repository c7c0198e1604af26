"""The server from outside: both protocols, limits, refusals, faults and the end."""

from __future__ import annotations

import asyncio
import json
import signal
import socket as sockets
import threading
import urllib.error
import urllib.request
from dataclasses import replace

import msgspec
import numpy as np
import pytest
import websockets
from websockets.exceptions import ConnectionClosed, InvalidStatus

from harness.chunking import Words
from harness.config import ServeConfig
from harness.engines.null import NullEngine
from harness.engines.remote import connect_realtime
from harness.engines.remote.options import RealtimeOptions
from harness.errors import ConfigError, UsageError
from harness.events import SessionKind
from harness.serve import create_app, run_server
from tests.engines.listening import Heard, loud

from .serving import (
    WAIT_S,
    WORDS,
    WORLD,
    Spelling,
    b64,
    chunks_until_final,
    make_clip,
    pcm,
    receive,
    send,
    serving,
)

CONFIG = ServeConfig(port=0, grace_s=2.0)
GUARDED = ServeConfig(port=0, token_env="STT_TOKEN")  # noqa: S106 a name, not a token


# --- chunk messages ------------------------------------------------------------------------------


def test_binary_audio_in_chunk_messages_out() -> None:
    engine = Spelling("I have a dream")
    with serving(engine) as running, running.connect() as socket:
        ready = receive(socket)
        assert (ready["type"], ready["kind"], ready["model"]) == ("ready", "turn", "spelling")
        socket.send(pcm(0.1))
        socket.send(pcm(0.1, seed=1))
        send(socket, type="end")
        messages = chunks_until_final(socket)
    assert [m["text"] for m in messages] == ["I", "have", "a", "dream"]
    assert [m["chunk_index"] for m in messages] == [0, 1, 2, 3]
    assert [m["is_final"] for m in messages] == [False, False, False, True]
    assert "".join(m["exact_text"] for m in messages) == "I have a dream"
    first = messages[0]["first_token_latency_ms"]
    assert isinstance(first, int)
    assert {m["first_token_latency_ms"] for m in messages} == {first}
    assert {m["type"] for m in messages} == {"text_chunk"}
    assert all(m["success"] for m in messages)
    both = np.frombuffer(pcm(0.1) + pcm(0.1, seed=1), "<i2") / 32768
    np.testing.assert_array_equal(engine.fed[0], both.astype(np.float32))


def test_base64_audio_and_a_chosen_strategy_and_a_second_utterance() -> None:
    with serving(Spelling()) as running, running.connect() as socket:
        receive(socket)
        for chunking, expected in (
            ("6word", ["one two three four five six", "seven eight"]),
            ("3word", ["one two three", "four five six", "seven eight"]),
        ):
            send(socket, type="start", chunking=chunking)
            send(socket, type="audio", audio=b64(pcm(0.1)))
            send(socket, type="end")
            messages = chunks_until_final(socket)
            assert [m["text"] for m in messages] == expected
            assert {m["chunking"] for m in messages} == {chunking}


def test_two_strategies_side_by_side_hear_the_same_tokens() -> None:
    engine = Spelling()
    with serving(engine) as running, running.connect() as socket:
        receive(socket)
        send(socket, type="start", chunking=["1word", "6word"])
        socket.send(pcm(0.1))
        send(socket, type="end")
        messages: list[dict[str, object]] = []
        while sum(bool(m["is_final"]) for m in messages) < 2:
            messages.append(receive(socket))
    for lane in ("1word", "6word"):
        mine = [m for m in messages if m["chunking"] == lane]
        assert "".join(str(m["exact_text"]) for m in mine) == WORDS
        assert [m["chunk_index"] for m in mine] == list(range(len(mine)))
    assert engine.opened == 1


def test_timed_chunks_are_released_by_the_clock() -> None:
    engine = Spelling("one two three")
    with (
        serving(engine) as running,
        running.connect("/ws/transcribe?chunking=timed_20ms") as socket,
    ):
        receive(socket)
        socket.send(pcm(0.1))
        send(socket, type="end")
        messages = chunks_until_final(socket)
    assert "".join(m["exact_text"] for m in messages) == "one two three"


def test_a_clip_gives_the_null_engine_its_words() -> None:
    clip = make_clip("clip-1", "hello big world")
    engine = NullEngine(WORLD, SessionKind.LIVE)
    with (
        serving(engine, kind=SessionKind.LIVE, clips=(clip,)) as running,
        running.connect() as socket,
    ):
        receive(socket)
        send(socket, type="start", clip="clip-1", chunking="token")
        for part in np.array_split(clip.samples, 10):
            socket.send((part * 32768).astype("<i2").tobytes())
        send(socket, type="end")
        messages = chunks_until_final(socket)
    assert "".join(m["exact_text"] for m in messages) == "hello big world"


# --- vLLM's protocol -----------------------------------------------------------------------------


def test_a_plain_script_can_talk_vllms_protocol() -> None:
    """What vLLM's published example client does, step by step, in as few lines."""

    async def client(url: str) -> tuple[str, str]:
        async with websockets.connect(url) as ws:
            assert json.loads(await ws.recv())["type"] == "session.created"
            await ws.send(json.dumps({"type": "session.update", "model": "spelling"}))
            await ws.send(json.dumps({"type": "input_audio_buffer.commit"}))
            audio = pcm(1.0)
            for start in range(0, len(audio), 4096):
                chunk = b64(audio[start : start + 4096])
                await ws.send(json.dumps({"type": "input_audio_buffer.append", "audio": chunk}))
            await ws.send(json.dumps({"type": "input_audio_buffer.commit", "final": True}))
            deltas = ""
            while True:
                response = json.loads(await ws.recv())
                if response["type"] == "transcription.done":
                    assert response["usage"]["completion_tokens"] == 8
                    return deltas, response["text"]
                deltas += response["delta"]

    with serving(Spelling()) as running:
        deltas, text = asyncio.run(client(running.url("/v1/realtime")))
    assert deltas == text == WORDS


def test_vllms_errors_and_the_session_goes_on() -> None:
    with serving(Spelling()) as running, running.connect("/v1/realtime") as socket:
        receive(socket)
        commit = {"type": "input_audio_buffer.commit"}
        for message, code in (
            ("{nope", "invalid_json"),
            (b"\x00\x01", "invalid_json"),
            ("[1]", "invalid_event"),
            ({"type": "session.update"}, "invalid_event"),
            ({"type": "session.update", "model": "nope"}, "model_not_found"),
            (commit, "model_not_validated"),
            ({"type": "harness.sync"}, "unknown_event"),
            ({"type": "input_audio_buffer.append", "audio": ""}, "invalid_audio"),
            ({"type": "input_audio_buffer.append", "audio": "!!"}, "invalid_audio"),
            ({"type": "session.update", "model": "spelling"}, None),
            ({**commit, "final": "yes"}, "invalid_event"),
            ({**commit, "final": True}, "out_of_order"),
        ):
            socket.send(json.dumps(message) if isinstance(message, dict) else message)
            if code is not None:
                assert receive(socket)["code"] == code
        send(socket, **commit)
        send(socket, type="input_audio_buffer.append", audio=b64(pcm(0.1)))
        send(socket, **commit, final=True)
        assert "".join(receive(socket)["delta"] for _ in range(8)) == WORDS
        assert receive(socket)["text"] == WORDS


def test_our_own_client_hears_what_the_engine_said() -> None:
    engine = Spelling("the same words")
    with serving(engine) as running:
        config = RealtimeOptions(url=running.url("/v1/realtime"), model="spelling", kind="turn")
        client = connect_realtime(config, WORLD)
        heard = Heard()
        stream = client.open(heard)
        for part in np.array_split(loud(0.5), 7):
            stream.feed(part)
        stream.finish()
        assert heard.is_over.wait(WAIT_S)
        client.close()
        with pytest.raises(UsageError, match="wrong model"):
            connect_realtime(replace(config, model="nope"), WORLD)
    assert heard.error is None
    assert heard.tokens == ["the", " same", " words"]
    np.testing.assert_array_equal(engine.fed[0], loud(0.5))


# --- limits and refusals -------------------------------------------------------------------------


@pytest.mark.parametrize(("asked", "places"), [(1, None), (64, 1)])
def test_one_session_too_many_is_told_so(asked: int, places: int | None) -> None:
    engine = Spelling()
    engine.info = msgspec.structs.replace(engine.info, details={"max_streams": places})
    with serving(engine, replace(CONFIG, max_sessions=asked)) as running:
        with running.connect() as first:
            receive(first)
            with running.connect() as second:
                refusal = receive(second)
                assert refusal["code"] == "too_many_sessions"
                with pytest.raises(ConnectionClosed) as closed:
                    second.recv(timeout=WAIT_S)
                assert closed.value.rcvd is not None
                assert closed.value.rcvd.code == 1013
            config = RealtimeOptions(url=running.url("/v1/realtime"), model="spelling")
            with pytest.raises(UsageError, match="session refused: 1 sessions are open"):
                connect_realtime(config, WORLD)
        with running.connect() as third:  # the first has left
            assert receive(third)["type"] == "ready"


def test_an_idle_session_is_told_and_closed() -> None:
    with (
        serving(Spelling(), replace(CONFIG, idle_timeout_s=0.1)) as running,
        running.connect() as socket,
    ):
        receive(socket)
        assert receive(socket)["code"] == "idle_timeout"
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=WAIT_S)


def test_an_engine_that_does_not_answer_is_told_and_closed() -> None:
    engine = Spelling()
    engine.hold.clear()
    with (
        serving(engine, replace(CONFIG, answer_timeout_s=0.1)) as running,
        running.connect() as socket,
    ):
        receive(socket)
        socket.send(pcm(0.1))
        send(socket, type="end")
        assert receive(socket)["code"] == "answer_timeout"
        assert engine.closed == 1


def test_an_engine_that_fails_fails_this_utterance_only() -> None:
    engine = Spelling("one two", error="out of memory")
    with serving(engine) as running, running.connect() as socket:
        receive(socket)
        for _ in range(2):
            socket.send(pcm(0.1))
            send(socket, type="end")
            assert receive(socket)["text"] == "one"
            failure = receive(socket)
            assert (failure["code"], failure["error"]) == ("engine_failed", "out of memory")


def test_too_large_is_an_error_event_and_far_too_large_closes() -> None:
    config = replace(CONFIG, max_message_bytes=1024)
    with serving(Spelling(), config) as running, running.connect() as socket:
        receive(socket)
        socket.send(b"\0" * 1026)
        assert receive(socket)["code"] == "too_large"
        socket.send(b"\0" * 4096)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(timeout=WAIT_S)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009


def test_audio_beyond_the_limit_is_refused_and_what_came_before_is_transcribed() -> None:
    engine = Spelling()
    with serving(engine, replace(CONFIG, max_audio_s=0.2)) as running, running.connect() as socket:
        receive(socket)
        socket.send(pcm(0.15))
        socket.send(pcm(0.15))
        assert receive(socket)["code"] == "audio_too_long"
        send(socket, type="end")
        assert len(chunks_until_final(socket)) == 8
    assert len(engine.fed[0]) == 2400


def test_a_client_that_does_not_read_is_dropped_and_the_others_go_on() -> None:
    engine = Spelling(f"{'w' * 4000} " * 4000)
    with serving(engine, replace(CONFIG, max_pending=50)) as running:
        slow = sockets.socket()
        slow.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", running.port))
        handshake = (
            "GET /ws/transcribe?chunking=token HTTP/1.1\r\nHost: localhost\r\n"
            "Upgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n"
        )
        slow.sendall(handshake.encode())
        assert slow.recv(1024).startswith(b"HTTP/1.1 101")
        audio = pcm(0.01)
        slow.sendall(bytes([0x82, 0x80 | 126]) + len(audio).to_bytes(2, "big") + b"\0" * 4 + audio)
        end = b'{"type":"end"}'
        slow.sendall(bytes([0x81, 0x80 | len(end)]) + b"\0" * 4 + end)
        telemetry = running.server.telemetry
        deadline_ns = WORLD.now_ns() + WAIT_S * 10**9
        while telemetry.errors["slow_reader"] == 0 and WORLD.now_ns() < deadline_ns:
            WORLD.sleep_until_ns(WORLD.now_ns() + 10_000_000)
        assert telemetry.errors["slow_reader"] == 1
        engine.text = "all well"
        with running.connect() as other:
            receive(other)
            other.send(pcm(0.1))
            send(other, type="end")
            assert [m["text"] for m in chunks_until_final(other)] == ["all", "well"]
        slow.close()


def test_a_client_that_leaves_before_the_final_frees_the_engine() -> None:
    engine = Spelling()
    engine.hold.clear()
    with serving(engine) as running:
        with running.connect() as socket:
            receive(socket)
            socket.send(pcm(0.1))
            send(socket, type="end")
            while not engine.fed:
                WORLD.sleep_until_ns(WORLD.now_ns() + 1_000_000)
        deadline_ns = WORLD.now_ns() + WAIT_S * 10**9
        while running.server.telemetry.sessions and WORLD.now_ns() < deadline_ns:
            WORLD.sleep_until_ns(WORLD.now_ns() + 1_000_000)
        assert running.server.telemetry.sessions == 0
        assert running.server.telemetry.utterances["abandoned"] == 1
    assert engine.closed == 1


@pytest.mark.parametrize("path", ["/ws/transcribe", "/v1/realtime"])
def test_an_unknown_strategy_is_told(path: str) -> None:
    with serving(Spelling()) as running, running.connect(f"{path}?chunking=7weird") as socket:
        refusal = receive(socket)
        assert refusal["code"] == "unknown_chunking"
        assert "1word .. 99word" in refusal["error"]


# --- who may connect -----------------------------------------------------------------------------


def test_pages_of_other_origins_may_not_connect() -> None:
    with serving(Spelling(), replace(CONFIG, origins=["https://friend.example"])) as running:
        with pytest.raises(InvalidStatus) as refused:
            running.connect(origin="https://evil.example")
        assert refused.value.response.status_code == 403
        with running.connect(origin="https://friend.example") as socket:
            assert receive(socket)["type"] == "ready"
        with running.connect(origin=f"http://127.0.0.1:{running.port}") as socket:
            assert receive(socket)["type"] == "ready"


def test_a_name_that_was_made_to_point_here_is_refused() -> None:
    with serving(Spelling()) as running:
        url = f"http://127.0.0.1:{running.port}/health"
        request = urllib.request.Request(url, headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request)  # noqa: S310 our own server
    with refused.value as response:
        assert response.status == 403


def test_a_bearer_token_by_header_or_subprotocol(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STT_TOKEN", "s3cret")
    with serving(Spelling(), GUARDED) as running:
        for options in (
            {},
            {"additional_headers": {"Authorization": "Bearer nope"}},
            {"subprotocols": ["stt", "bearer.nope"]},
        ):
            with pytest.raises(InvalidStatus) as refused:
                running.connect(**options)
            assert refused.value.response.status_code == 401
        with running.connect(additional_headers={"Authorization": "Bearer s3cret"}) as socket:
            assert receive(socket)["type"] == "ready"
        with running.connect(subprotocols=["stt", "bearer.s3cret"]) as socket:
            assert socket.subprotocol == "stt"
            assert receive(socket)["type"] == "ready"
        monkeypatch.setenv("STT_KEY", "s3cret")
        config = RealtimeOptions(
            url=running.url("/v1/realtime"), model="spelling", api_key_env="STT_KEY"
        )
        connect_realtime(config, WORLD).close()


def test_a_token_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STT_TOKEN", raising=False)
    with (
        pytest.raises(ConfigError, match="not set: 'STT_TOKEN'"),
        serving(Spelling(), GUARDED),
    ):
        pass


# --- health, metrics, clips ----------------------------------------------------------------------


def get(port: int, path: str) -> tuple[str, dict[str, str]]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=WAIT_S) as response:
        return response.read().decode("latin-1"), dict(response.headers)


def test_health_and_metrics_after_two_sessions() -> None:
    with serving(Spelling()) as running, running.connect() as socket:
        receive(socket)
        health = json.loads(get(running.port, "/health")[0])
        assert (health["status"], health["sessions"], health["model"]) == ("ok", 1, "spelling")
        socket.send(pcm(0.1))
        send(socket, type="end")
        chunks_until_final(socket)
        send(socket, type="end")
        assert receive(socket)["code"] == "out_of_order"
        text, headers = get(running.port, "/metrics")
    assert headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    for line in (
        "stt_sessions 1",
        'stt_sessions_total{endpoint="/ws/transcribe"} 1',
        'stt_utterances_total{outcome="ended"} 1',
        'stt_errors_total{code="out_of_order"} 1',
        "stt_ttft_seconds_count 1",
        "stt_gap_seconds_count 7",
        "stt_delivery_seconds_count 8",
    ):
        assert line in text.splitlines()


def test_clips_and_assets() -> None:
    clip = make_clip("clip-1", "hello world")
    with serving(Spelling(), clips=(clip,)) as running:
        (listed,) = json.loads(get(running.port, "/clips")[0])
        assert (listed["id"], listed["text"]) == ("clip-1", "hello world")
        body, _ = get(running.port, "/clips/clip-1.pcm")
        assert len(body) == 2 * len(clip.samples)
        page, headers = get(running.port, "/")
        assert "<!doctype html>" in page.lower()
        assert headers["content-security-policy"].startswith("default-src 'self'")
        for path in ("/clips/nope.pcm", "/static/nope.js", "/static/..%2Fapp.py", "/nope"):
            with pytest.raises(urllib.error.HTTPError) as missing:
                get(running.port, path)
            missing.value.close()
            assert missing.value.status == 404


def test_log_lines_of_the_contract(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "harness.serve")
    with serving(Spelling("I have")) as running, running.connect() as socket:
        receive(socket)
        socket.send(pcm(0.1))
        send(socket, type="end")
        chunks_until_final(socket)
    address, *lines = [r.getMessage() for r in caplog.records]
    assert address.startswith("http://127.0.0.1:")
    assert lines[0].startswith("TTFT: ")
    assert " ms for chunk " in lines[0]
    assert lines[1:] == ["Streaming 1-word chunk 0: 'I'", "Streaming 1-word chunk 1: 'have'"]


# --- the end -------------------------------------------------------------------------------------


def test_shutdown_finishes_the_utterance_under_way_and_tells_everybody() -> None:
    engine = Spelling("one two")
    engine.hold.clear()
    patient = replace(CONFIG, grace_s=WAIT_S)
    with serving(engine, patient) as running, running.connect() as busy, running.connect() as idle:
        receive(busy), receive(idle)
        busy.send(pcm(0.1))
        send(busy, type="end")
        while not engine.fed:
            WORLD.sleep_until_ns(WORLD.now_ns() + 1_000_000)
        running.uvicorn.should_exit = True
        assert receive(idle)["code"] == "shutting_down"
        with running.connect() as late:
            assert receive(late)["code"] == "shutting_down"
        threading.Timer(0.1, engine.hold.set).start()
        assert [m["text"] for m in chunks_until_final(busy)] == ["one", "two"]
        assert receive(busy)["code"] == "shutting_down"
        with pytest.raises(ConnectionClosed) as closed:
            busy.recv(timeout=WAIT_S)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001


def test_shutdown_does_not_wait_longer_than_its_grace() -> None:
    engine = Spelling()
    engine.hold.clear()
    with serving(engine, replace(CONFIG, grace_s=0.1)) as running, running.connect() as busy:
        receive(busy)
        busy.send(pcm(0.1))
        running.stop()
        assert receive(busy)["code"] == "shutting_down"


def test_a_port_that_is_taken() -> None:
    with serving(Spelling()) as running:
        config = replace(CONFIG, port=running.port)
        app = create_app(
            Spelling(),
            config,
            WORLD,
            kind=SessionKind.TURN,
            chunking=Words(1),
            chunking_name="1word",
        )
        with pytest.raises(UsageError, match="cannot listen"):
            run_server(app)


def test_an_interrupt_ends_it_in_peace() -> None:
    app = create_app(
        Spelling(),
        CONFIG,
        WORLD,
        kind=SessionKind.TURN,
        chunking=Words(1),
        chunking_name="1word",
    )
    addresses: list[str] = []

    def announce(url: str) -> None:
        addresses.append(url)
        threading.Timer(0.1, signal.raise_signal, [signal.SIGINT]).start()

    run_server(app, announce)
    assert addresses[0].startswith("http://127.0.0.1:")


def test_what_a_client_puts_into_the_address_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    with serving(Spelling()) as running, running.connect("/v1/realtime?api_key=sk-secret"):
        pass
    assert "sk-secret" not in caplog.text
