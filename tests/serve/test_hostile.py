"""One hostile client: what it costs is bounded, and the others are served meanwhile."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from websockets.frames import Close, Frame, Opcode

from harness.config import ServeConfig
from harness.engines import Samples
from harness.errors import ConfigError

from .serving import (
    WORLD,
    Running,
    Spelling,
    chunks_until_final,
    pcm,
    receive,
    send,
    serving,
)

CONFIG = ServeConfig(port=0, grace_s=2.0)
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@contextlib.contextmanager
def connecting(running: Running) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", running.port), timeout=10) as raw:
        yield raw


@contextlib.contextmanager
def raw_session(running: Running, path: str = "/v1/realtime") -> Iterator[socket.socket]:
    """A WebSocket of bytes, after its handshake and its greeting."""
    with connecting(running) as raw:
        raw.sendall(HANDSHAKE.format(path=path).encode())
        answer = b""
        while not answer.endswith(b"}"):
            answer += raw.recv(4096)
        assert answer.startswith(b"HTTP/1.1 101")
        yield raw


def until_closed(raw: socket.socket) -> bytes:
    """Whatever still comes; a reset is an end as well."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while piece := raw.recv(65_536):
            data += piece
    return data


def close_of(data: bytes) -> Close:
    """The close frame that ``data`` ends with."""
    payload = data[data.rindex(b"\x88") + 2 :]
    return Close.parse(payload)


def frames(opcode: Opcode, payload: bytes, count: int, *, fin: bool = True) -> bytes:
    return Frame(opcode, payload, fin).serialize(mask=True) * count


def assert_others_are_served(running: Running) -> None:
    with running.connect() as other:
        assert receive(other)["type"] == "ready"
        other.send(pcm(0.1))
        send(other, type="end")
        assert len(chunks_until_final(other)) == 8


def until(condition: Callable[[], bool], within_s: float = 5) -> None:
    deadline_ns = WORLD.now_ns() + round(within_s * 1e9)
    while not condition():
        assert WORLD.now_ns() < deadline_ns
        WORLD.sleep_until_ns(WORLD.now_ns() + 5_000_000)


# --- frames --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flood", "reason"),
    [
        (frames(Opcode.PING, b"", 20_000), "control_frames"),
        (frames(Opcode.PONG, b"x" * 125, 2_000), "control_frames"),
        (frames(Opcode.TEXT, b"", 1, fin=False) + frames(Opcode.CONT, b"", 20_000, fin=False),
         "fragments"),
    ],
)  # fmt: skip
def test_a_flood_of_frames_is_closed_and_the_others_are_served(flood: bytes, reason: str) -> None:
    with serving(Spelling()) as running, raw_session(running) as raw:
        raw.sendall(flood[:200_000])
        close = close_of(until_closed(raw))
        assert close.code == 1008
        assert "a second" in close.reason
        assert running.server.telemetry.refused[reason] == 1
        assert running.server.telemetry.sessions == 0
        assert_others_are_served(running)


def test_pings_within_reason_are_answered() -> None:
    with serving(Spelling()) as running, raw_session(running) as raw:
        raw.sendall(frames(Opcode.PING, b"hi", 30))
        pong = Frame(Opcode.PONG, b"hi").serialize(mask=False)
        data = b""
        while len(data) < 30 * len(pong):
            data += raw.recv(4096)
        assert data == pong * 30


def test_messages_in_parts_are_put_together() -> None:
    update = json.dumps({"type": "session.update", "model": "nope"}).encode()
    with serving(Spelling()) as running, raw_session(running) as raw:
        raw.sendall(frames(Opcode.TEXT, update[:10], 1, fin=False))
        raw.sendall(frames(Opcode.PING, b"between", 1) + frames(Opcode.CONT, update[10:], 1))
        data = b""
        while b"model_not_found" not in data:
            data += raw.recv(4096)


def test_messages_with_errors_have_a_budget() -> None:
    with serving(Spelling()) as running, raw_session(running) as raw:
        raw.sendall(frames(Opcode.TEXT, b"{", 5_000))
        data = until_closed(raw)
        assert close_of(data).code == 1008
        assert 64 <= data.count(b"invalid_json") < 80
        assert data.count(b"too_many_errors") == 1
        assert running.server.telemetry.errors["too_many_errors"] == 1
        assert_others_are_served(running)


def test_a_fast_but_honest_client_is_read_later_and_not_closed() -> None:
    """A whole recording at once: more messages than the budget has at first."""
    engine = Spelling()
    with serving(engine) as running, running.connect() as socket_:
        receive(socket_)
        for _ in range(6_000):
            socket_.send(pcm(0.001))
        send(socket_, type="end")
        assert len(chunks_until_final(socket_)) == 8
    assert len(engine.fed[0]) == 6_000 * 16


def test_audio_beyond_the_limit_is_told_once() -> None:
    engine = Spelling()
    with serving(engine, replace(CONFIG, max_audio_s=0.2)) as running, running.connect() as client:
        for _ in range(2):
            if not engine.fed:
                receive(client)
            for _ in range(300):
                client.send(pcm(0.15))
            assert receive(client)["code"] == "audio_too_long"
            send(client, type="end")
            assert len(chunks_until_final(client)) == 8
    assert [len(fed) for fed in engine.fed] == [2400, 2400]


@pytest.mark.parametrize("path", ["/v1/realtime", "/ws/transcribe"])
@pytest.mark.parametrize("depth", [100, 700, 900, 990, 100_000])
def test_json_of_any_depth_is_an_error_event(path: str, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    with serving(Spelling()) as running, raw_session(running, path) as raw:
        for event in (
            f'{{"type":"session.update","model":{deep}}}',
            f'{{"type":"start","chunking":[{deep}]}}',
        ):
            raw.sendall(frames(Opcode.TEXT, event.encode(), 1))
            answer = b""
            while not answer.endswith(b"}"):
                answer += raw.recv(4096)
            assert b'"type":"error"' in answer
        assert running.server.telemetry.errors["defect"] == 0


# --- connections ---------------------------------------------------------------------------------


def test_silent_connections_make_room() -> None:
    config = replace(CONFIG, max_sessions=2, max_connections=4)
    with serving(Spelling(), config) as running, contextlib.ExitStack() as stack:
        for _ in range(4):
            assert_others_are_served(running)
        silent = [stack.enter_context(connecting(running)) for _ in range(50)]
        assert_others_are_served(running)
        assert until_closed(silent[0]) == b""
        assert running.server.telemetry.refused["connections"] >= 46
        with running.connect() as first, running.connect() as second:
            receive(first), receive(second)
            assert_sessions_are_refused(running)


def assert_sessions_are_refused(running: Running) -> None:
    with running.connect() as third:
        assert receive(third)["code"] == "too_many_sessions"


def test_sessions_are_not_dropped_for_a_connection() -> None:
    config = replace(CONFIG, max_sessions=2, max_connections=2)
    with (
        serving(Spelling(), config) as running,
        running.connect() as first,
        running.connect() as second,
    ):
        receive(first), receive(second)
        with connecting(running) as third:
            assert until_closed(third).startswith(b"HTTP/1.1 503")
        for client in (first, second):
            client.send(pcm(0.1))
            send(client, type="end")
            assert len(chunks_until_final(client)) == 8


@pytest.mark.parametrize(
    "begun", [b"", b"GET / HTTP/1.1\r\nHost: lo", HANDSHAKE.format(path="/").encode()[:-2]]
)
def test_a_request_has_to_come_in_time(begun: bytes) -> None:
    config = replace(CONFIG, handshake_timeout_s=0.2)
    with serving(Spelling(), config) as running, connecting(running) as raw:
        raw.sendall(begun)
        assert until_closed(raw) == b""
        assert running.server.telemetry.refused["timeout"] == 1


def test_so_has_the_next_one_on_the_same_connection() -> None:
    config = replace(CONFIG, handshake_timeout_s=0.3)
    with serving(Spelling(), config) as running, connecting(running) as raw:
        raw.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = raw.recv(4096)
        assert answer.startswith(b"HTTP/1.1 200")
        raw.sendall(b"G")  # it would end uvicorn's own patience with an idle connection
        until_closed(raw)
        assert running.server.telemetry.refused["timeout"] == 1


def test_a_session_may_be_longer_than_the_handshake() -> None:
    config = replace(CONFIG, handshake_timeout_s=0.2)
    with serving(Spelling(), config) as running, running.connect() as client:
        receive(client)
        WORLD.sleep_until_ns(WORLD.now_ns() + 500_000_000)
        client.send(pcm(0.1))
        send(client, type="end")
        assert len(chunks_until_final(client)) == 8


def test_fewer_connections_than_sessions_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"serve\.max_connections: 3"):
        ServeConfig(max_sessions=4, max_connections=3)


# --- the log -------------------------------------------------------------------------------------


class Broken(Spelling):
    """An engine with a defect: what it is fed raises."""

    def open(self, listener: object, reference: object = None) -> object:  # type: ignore[override]
        class Stream:
            def feed(self, samples: Samples) -> None:
                raise ZeroDivisionError("a defect")

            def finish(self) -> None: ...
            def close(self) -> None: ...

        return Stream()


def test_a_defect_ends_its_session_with_one_line(caplog: pytest.LogCaptureFixture) -> None:
    with serving(Broken()) as running:
        for _ in range(5):
            with raw_session(running, "/ws/transcribe") as raw:
                raw.sendall(frames(Opcode.BINARY, pcm(0.1), 1))
                assert close_of(until_closed(raw)).code == 1011
        until(lambda: running.server.telemetry.sessions == 0)
    assert "Traceback" not in caplog.text
    (line,) = [r.getMessage() for r in caplog.records if r.levelname == "ERROR"]
    assert line.startswith("a connection ended by a defect: ZeroDivisionError: a defect (test_host")


@pytest.mark.parametrize(
    "request_",
    [
        b"\x00" * 5000,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET \xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nA: " + b"a" * 100_000,
        HANDSHAKE.format(path="/v1/realtime").replace("13", "1").encode(),
        HANDSHAKE.format(path="/v1/realtime").replace("GET", "POST").encode(),
        HANDSHAKE.format(path="/nowhere").encode(),
        HANDSHAKE.format(path="/v1/realtime").replace("dGhlIHN", "").encode(),
        HANDSHAKE.format(path="/v1/realtime?chunking=%00%1b[2J").encode(),
        HANDSHAKE.format(path="/v1/realtime").replace("Host", "X-\u00e9: \u00e9\r\nHost").encode(),
        b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        HANDSHAKE.format(path="/v1/realtime").encode() + b"\xff" * 1000,
    ],
)
def test_nonsense_before_a_session_leaves_no_traceback(
    request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    config = replace(CONFIG, handshake_timeout_s=0.5)
    with serving(Spelling(), config) as running:
        for _ in range(3):
            with connecting(running) as raw, contextlib.suppress(ConnectionError):
                raw.sendall(request_)
                raw.shutdown(socket.SHUT_WR)
                until_closed(raw)
        assert_others_are_served(running)
    assert "Traceback" not in caplog.text
    assert len([r for r in caplog.records if r.levelname in ("WARNING", "ERROR")]) <= 3


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\xff" * 2000,
        frames(Opcode.TEXT, b"\xff\xfe", 1),
        frames(Opcode.CONT, b"x", 1),
        Frame(Opcode.TEXT, b"{}").serialize(mask=False),
        frames(Opcode.CLOSE, b"\x00\x01", 1),
        frames(Opcode.TEXT, b"", 3),
        frames(Opcode.BINARY, b"\x00", 3),
    ],
    ids=["noise", "no-text", "continued", "unmasked", "closed", "empty", "bytes"],
)
def test_nonsense_in_a_session_leaves_no_traceback(
    nonsense: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(Spelling()) as running:
        for _ in range(3):
            with raw_session(running) as raw, contextlib.suppress(ConnectionError):
                raw.sendall(nonsense + frames(Opcode.CLOSE, b"", 1))
                until_closed(raw)
        until(lambda: running.server.telemetry.sessions == 0)
        assert_others_are_served(running)
    assert "Traceback" not in caplog.text
    assert len([r for r in caplog.records if r.levelname in ("WARNING", "ERROR")]) <= 3
