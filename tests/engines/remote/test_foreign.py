"""Whatever a server sends has a stated outcome: bounded, escaped, and without the key."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from urllib.parse import quote

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given, settings
from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame, Opcode

from harness.clock import RealWorld
from harness.engines.remote import connect_realtime
from harness.engines.remote import session as stream
from harness.engines.remote.adapter import EventKind, ServerEvent, make_adapter
from harness.engines.remote.connection import Credentials
from harness.engines.remote.engine import RealtimeClient
from harness.engines.remote.options import RealtimeOptions
from harness.engines.remote.timing import check_timing
from harness.errors import ConfigError, UsageError
from harness.events import ServedEngine, ServerSpan, ServerTiming, SessionKind
from tests.engines.fake_vllm import MODEL, FakeVllm, delta, running, send
from tests.engines.listening import Heard
from tests.engines.remote.test_session import client, speak

QUICK = RealtimeOptions(
    model=MODEL, connect_timeout_s=2.0, slot_timeout_s=0.3, blank_speech_s=0.4,
    answer_timeout_s=0.4, ping_s=0.3, queue_s=0.5,
)  # fmt: skip
TURN = replace(QUICK, kind="turn")
KEY = "sk-live-0123456789abcdef"


def answering(*messages: str | bytes, greeting: str = '{"type":"session.created"}'):  # type: ignore[no-untyped-def]
    """A server that sends these messages once the audio is complete."""

    async def session(link: ServerConnection) -> None:
        await link.send(greeting)
        async for raw in link:
            if json.loads(raw).get("final"):
                for message in messages:
                    await link.send(message, text=True)

    return session


def hears(*messages: str | bytes, key: str | None = None, config: RealtimeOptions = TURN) -> Heard:
    with running(answering(*messages)) as url:
        engine = RealtimeClient(replace(config, url=url), RealWorld(), key)
        try:
            return speak(engine, 0.08, pace=20)
        finally:
            engine.close()


def text_delta(text: str, **more: object) -> str:
    return json.dumps({"type": "transcription.delta", "delta": text, **more})


DONE = json.dumps({"type": "transcription.done", "text": "word"})


# --- depth, size and sense -----------------------------------------------------------------------


@pytest.mark.parametrize("depth", [500, 990, 5_000, 100_000])
def test_json_of_any_depth(depth: int) -> None:
    deep = "[" * depth + "]" * depth
    heard = hears('{"type":"transcription.delta","delta":"word","x":' + deep + "}", DONE)
    assert heard.error is None or heard.error.startswith("garbage from the server: ")
    heard = hears('{"type":"error","error":' + deep + ',"code":' + deep + "}")
    assert heard.error is not None
    assert "defect" not in heard.error
    assert len(heard.error) < 300


@pytest.mark.parametrize(
    "usage",
    ["[1]", "1", '"x"', "null", "true", "{}", '{"completion_tokens":null}',
     '{"completion_tokens":[1]}', '{"completion_tokens":"many"}', '{"completion_tokens":-5}',
     '{"completion_tokens":1e300}', '{"completion_tokens":true}',
     '{"completion_tokens":1' + "0" * 400 + "}"],
)  # fmt: skip
@pytest.mark.parametrize("step_ms", [None, 80.0])
def test_usage_of_any_shape(usage: str, step_ms: float | None) -> None:
    done = '{"type":"transcription.done","text":"word","usage":' + usage + "}"
    heard = hears(text_delta("word"), done, config=replace(TURN, step_ms=step_ms))
    assert heard.error is None
    assert heard.text == "word"


@pytest.mark.parametrize(
    ("message", "complaint"),
    [
        (b"\xff\xfe", "garbage from the server: "),
        ('"' + "x" * 500_000, "garbage from the server: not a JSON object"),
        ('{"type":"transcription.delta","delta":1e300}', "garbage from the server: "),
        ('{"type":"transcription.delta","delta":1e400}', "garbage from the server: "),
        ('{"type":"transcription.delta","delta":"\\ud83d"}', "garbage from the server: "),
        ('{"type":"transcription.delta","delta":"' + "x" * 1_100_000 + '"}',
         "garbage from the server: "),
        ('{"type":"error","error":"\\u001b[2J\\u202e' + "y" * 9_000 + '","code":"\\u0007"}',
         "error from the server: \u241b[2J\ufffdyyy"),
        ('{"type":"error","error":{"message":{"detail":[1]}},"code":[2]}',
         "error from the server: (a list)"),
        ('{"type":"error"}', "error from the server: "),
        ('{"type":"error","error":null,"code":1e300}', "error from the server:  (1e+300)"),
    ],
    ids=range(10),
)  # fmt: skip
def test_what_is_no_event(message: str | bytes, complaint: str) -> None:
    heard = hears(message)
    assert heard.error is not None
    assert heard.error.startswith(complaint), heard.error
    assert len(heard.error) < 500
    assert heard.error.isprintable()


def test_a_reason_to_close_is_shown_as_text() -> None:
    async def session(link: ServerConnection) -> None:
        await send(link, type="session.created")
        await link.close(4000, "\x1b[2J\u202e quota")

    with running(session) as url, client(url) as engine:
        heard = speak(engine, 0.08)
    reason = "'\u241b[2J\ufffd quota'"
    assert heard.error == f"closed by the server before the final text: code 4000 {reason}"


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
TYPES = st.sampled_from(
    ["session.created", "session.updated", "transcription.delta", "transcription.done", "error",
     "transcription.text.delta", "conversation.item.input_audio_transcription.delta",
     "conversation.item.input_audio_transcription.completed",
     "conversation.item.input_audio_transcription.failed"]
)  # fmt: skip
FIELDS = st.sampled_from(
    ["delta", "text", "transcript", "error", "code", "usage", "timing", "engine", "message"]
)


@settings(deadline=None)
@given(
    st.sampled_from(["vllm", "mistral", "openai"]),
    st.one_of(TYPES, ANY),
    st.dictionaries(FIELDS, ANY | st.dictionaries(FIELDS | st.just("completion_tokens"), ANY)),
)
def test_any_object_is_an_event_or_garbage(
    protocol: str, kind: object, fields: dict[str, object]
) -> None:
    adapter = make_adapter(RealtimeOptions(model="m", protocol=protocol))
    try:
        event = adapter.parse(json.dumps({"type": kind, **fields}))
    except ValueError:
        return
    assert isinstance(event, ServerEvent)
    assert isinstance(event.text, str)
    if event.kind is EventKind.ERROR:
        assert f"{event.text}{event.code}".isprintable()


def test_a_flood_of_messages_fails_its_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "_MOST_MESSAGES", 100)
    monkeypatch.setattr(stream, "_MESSAGES_PER_S", 1)
    heard = hears(*[text_delta("")] * 300)
    assert heard.error is not None
    assert heard.error.startswith("garbage from the server: ")
    assert " messages in " in heard.error


def test_a_flood_of_text_fails_its_session() -> None:
    heard = hears(*[text_delta("x" * 500_000)] * 5)
    assert heard.error == "garbage from the server: text of more than 2000000 characters"
    assert len(heard.text) == 2_000_000


# --- before there is a session -------------------------------------------------------------------


@contextmanager
def raw_server(answer: bytes | Callable[[socket.socket], None]) -> Iterator[str]:
    """Answers every connection's request with these bytes, and keeps it open."""
    over = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))

    def serve(link: socket.socket) -> None:
        with link, suppress(OSError):
            link.recv(65_536)
            if callable(answer):
                answer(link)
            else:
                link.sendall(answer)
            over.wait(10)

    def accept() -> None:
        with suppress(OSError):
            while True:
                link, _ = listening.accept()
                threading.Thread(target=serve, args=(link,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"ws://127.0.0.1:{listening.getsockname()[1]}/v1/realtime"
    finally:
        over.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def endless_headers(link: socket.socket) -> None:
    link.sendall(b"HTTP/1.1 101 Switching Protocols\r\n")
    for index in range(100_000):
        link.sendall(f"X-{index}: {'a' * 1000}\r\n".encode())


@pytest.mark.parametrize(
    "answer",
    [
        b"\x00\xff" * 5000,
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 100_000,
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: \x1b[2J\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 503 \x1b[2J" + b"a" * 50_000 + b"\r\n\r\n",
        b"HTTP/1.1 nonsense\r\n\r\n",
        b"HTTP/1.1 301 Moved\r\nLocation: ws://elsewhere/\x1b[2J\r\nContent-Length: 0\r\n\r\n",
        endless_headers,
    ],
    ids=range(8),
)
def test_no_websocket_server(answer: bytes | Callable[[socket.socket], None]) -> None:
    with raw_server(answer) as url, pytest.raises(UsageError) as refused:
        connect_realtime(replace(QUICK, url=url), RealWorld())
    assert "\x1b" not in str(refused.value)
    assert len(str(refused.value)) < 900


@pytest.mark.parametrize(
    "greeting",
    ["[1]", '{"type":["session.created"]}', '{"type":"session.created","engine":[1]}',
     '{"type":"session.created","engine":{"random_weights":"no"}}',
     '{"type":"session.created","engine":{"model_delay_ms":1e300}}',
     '{"type":"session.created","engine":{"model_delay_ms":-1}}',
     '{"type":"session.created","engine":{"weights_sha256":"' + "\\u001b" * 64 + '"}}'],
)  # fmt: skip
def test_no_greeting(greeting: str) -> None:
    with (
        running(answering(greeting=greeting)) as url,
        pytest.raises(UsageError, match=r"garbage from the server|not connected and configured"),
    ):
        connect_realtime(replace(QUICK, url=url, connect_timeout_s=0.5), RealWorld())


# --- what our own server tells -------------------------------------------------------------------

TOLD = ServedEngine(random_weights=True, weights_sha256="ab" * 32, model_delay_ms=480.0)


def greeting_of(served: ServedEngine | None) -> str:
    told = {} if served is None else {"engine": msgspec.to_builtins(served)}
    return json.dumps({"type": "session.created", "id": "s", "created": 1, **told})


def greeting_server(*greetings: ServedEngine | None):  # type: ignore[no-untyped-def]
    """Greets the first connection with the first of these, and so on; the last one for ever."""
    left = list(greetings)

    async def session(link: ServerConnection) -> None:
        served = left.pop(0) if len(left) > 1 else left[0]
        await link.send(greeting_of(served))
        async for raw in link:
            event = json.loads(raw)
            if event["type"] == "session.probe":
                await send(link, type="error", error="Unknown event type", code="unknown_event")
            if event.get("final"):
                await delta(link, "word")
                await send(link, type="transcription.done", text="word")

    return session


def test_what_is_served_is_taken_before_the_run() -> None:
    with running(greeting_server(TOLD)) as url:
        engine = connect_realtime(replace(TURN, url=url), RealWorld())
        try:
            assert engine.info.random_weights is True
            assert engine.info.weights_sha256 == "ab" * 32
            assert engine.info.model_delay_ms == 480.0
            assert speak(engine, 0.08, pace=20).error is None
        finally:
            engine.close()


@pytest.mark.parametrize("later", [None, ServedEngine(weights_sha256="cd" * 32)])
def test_a_server_that_was_changed_fails_its_sessions(later: ServedEngine | None) -> None:
    with running(greeting_server(TOLD, later)) as url:
        engine = connect_realtime(replace(TURN, url=url), RealWorld())
        try:
            heard = speak(engine, 0.08, pace=20)
        finally:
            engine.close()
    assert heard.error is not None
    assert heard.error.startswith("the server serves something else than before the run")


@pytest.mark.parametrize(
    ("served", "stated", "delay_ms"),
    [(None, None, 0.0), (None, 240, 240.0), (TOLD, None, 480.0), (TOLD, 480, 480.0)],
)
def test_the_delay_is_what_the_server_tells_or_else_what_is_stated(
    served: ServedEngine | None, stated: int | None, delay_ms: float
) -> None:
    with running(greeting_server(served)) as url:
        engine = connect_realtime(replace(TURN, url=url, delay_ms=stated), RealWorld())
        engine.close()
    assert engine.info.model_delay_ms == delay_ms
    assert engine.info.random_weights is (served is not None)


def test_a_delay_that_is_stated_otherwise_is_refused() -> None:
    with (
        running(greeting_server(TOLD)) as url,
        pytest.raises(UsageError, match=r"engine\.delay_ms=240, but the server reports 480 ms"),
    ):
        connect_realtime(replace(TURN, url=url, delay_ms=240), RealWorld())


# --- times ---------------------------------------------------------------------------------------


def timing(at_ms: float, *spans: ServerSpan) -> ServerTiming:
    return ServerTiming(SessionKind.TURN, at_ms, list(spans))


@pytest.mark.parametrize(
    "told",
    [
        timing(1e300),
        timing(-1e300),
        timing(float("inf")),
        timing(float("nan")),
        timing(1100),  # the session has lasted 1000 ms since it was asked
        timing(20, ServerSpan("decode", 5, 1e300)),
        timing(20, ServerSpan("decode", -1e300, 5)),
        timing(20, ServerSpan("decode", -700, 5)),  # and 500 ms before that
        timing(20, ServerSpan("decode", float("nan"), 5)),
        timing(20, ServerSpan("decode", 10, 5)),
        timing(20, ServerSpan("decode", 5, 10, 0)),
        timing(20, ServerSpan("decode", 5, 10, -1)),
        timing(20, ServerSpan("decode", 5, 10, 10**400)),
        timing(20, ServerSpan("d" * 1000, 5, 10)),
    ],
)
def test_times_that_cannot_be(told: ServerTiming) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_timing(told, before_ms=500, since_ms=1000)


@pytest.mark.parametrize(
    "told",
    [
        timing(0),
        timing(1000, ServerSpan("queue", 0, 1), ServerSpan("decode", 1, 1000, 300)),
        timing(1015),  # its clock runs 0.5 % faster
        timing(20, ServerSpan("features", -400, -300)),  # work on what came before the request
    ],
)
def test_times_that_can_be(told: ServerTiming) -> None:
    check_timing(told, before_ms=500, since_ms=1000)


@pytest.mark.parametrize(
    "told",
    [
        {"kind": "turn", "at_ms": 1e300, "spans": []},
        {"kind": "turn", "at_ms": 5, "spans": [["decode", 0, 5, 0]]},
        {"kind": "turn", "at_ms": 5, "spans": [["decode", 0, 3_600_000, 1]]},
    ],
)
def test_a_session_with_such_times_fails_as_garbage(told: dict[str, object]) -> None:
    heard = hears(text_delta("word", timing=told), DONE)
    assert heard.error is not None
    assert heard.error.startswith("garbage from the server: times that cannot be: ")
    assert heard.tokens == []


def test_names_that_are_the_harness_own_are_left_out() -> None:
    own = [[name, 0, 0.01, 1] for name in ("setup", "delivery", "hold", "decode")]
    told = {"kind": "turn", "at_ms": 0.02, "spans": own}
    heard = hears(text_delta("word", timing=told), DONE)
    assert heard.error is None
    assert [name for name, _, _ in heard.spans] == ["setup", "decode", "delivery"]


# --- the key -------------------------------------------------------------------------------------

ECHOES = [
    KEY,
    quote(KEY.replace("-", "/"), safe="").replace("%2F", "%2D"),
    "".join(f"\\u{ord(c):04x}" for c in KEY),
    base64.b64encode(f"Bearer {KEY}".encode()).decode(),
]


@pytest.mark.parametrize("echo", ECHOES, ids=range(len(ECHOES)))
def test_a_key_in_an_error_is_taken_out(echo: str) -> None:
    heard = hears(f'{{"type":"error","error":"denied: {echo}","code":"{echo}"}}', key=KEY)
    assert heard.error is not None
    assert heard.error.startswith("error from the server: denied: ")
    assert "[key]" in heard.error
    assert not Credentials(KEY).known.found(heard.error)


@pytest.mark.parametrize("echo", ECHOES, ids=range(len(ECHOES)))
def test_a_key_in_the_text_fails_the_session_and_is_not_kept(echo: str) -> None:
    for messages in (
        [f'{{"type":"transcription.delta","delta":"word {echo}"}}'],
        [text_delta("word"), f'{{"type":"transcription.done","text":"{echo}"}}'],
    ):
        heard = hears(*messages, key=KEY)
        assert heard.error is not None
        assert "its text holds the key" in heard.error
        assert not Credentials(KEY).known.found(f"{heard.error} {heard.text}")


def test_a_key_in_pieces_is_not_kept_either() -> None:
    heard = hears(*map(text_delta, ["said ", *KEY]), key=KEY)
    assert heard.error is not None
    assert "its text holds the key" in heard.error
    assert heard.text == "said sk-live"


@pytest.mark.parametrize(
    "message",
    [f"no JSON: {KEY}", f'{{"type":"transcription.delta","x":"{"p" * 70}{KEY}"',
     f'{{"type":"transcription.delta","delta":"w","timing":{{"kind":"{KEY}"}}}}'],
)  # fmt: skip
def test_a_key_in_garbage_is_taken_out(message: str) -> None:
    heard = hears(message, key=KEY)
    assert heard.error is not None
    assert heard.error.startswith("garbage from the server: ")
    assert KEY[:12] not in heard.error


def test_a_key_in_a_span_is_not_kept() -> None:
    told = {"kind": "turn", "at_ms": 0.01, "spans": [[KEY, 0, 0.01, 1]]}
    heard = hears(text_delta("word", timing=told), DONE, key=KEY)
    assert KEY not in f"{heard.spans}{heard.error}"


def test_a_key_in_the_reason_to_close_is_taken_out() -> None:
    async def session(link: ServerConnection) -> None:
        await send(link, type="session.created")
        await link.close(1008, f"bad key {KEY}")

    with running(session) as url:
        engine = RealtimeClient(replace(TURN, url=url), RealWorld(), KEY)
        heard = speak(engine, 0.08)
        engine.close()
    reason = "'bad key [key]'"
    assert heard.error == f"closed by the server before the final text: code 1008 {reason}"


@pytest.mark.parametrize(
    "answer",
    [
        f"HTTP/1.1 101 OK\r\nUpgrade: {KEY}\r\nConnection: Upgrade\r\n\r\n".encode(),
        f"HTTP/1.1 401 {KEY}\r\nWWW-Authenticate: {KEY}\r\nContent-Length: 0\r\n\r\n".encode(),
        f"{KEY}\r\n\r\n".encode(),
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n" + KEY.encode() + b"\r\n\r\n",
    ],
    ids=range(4),
)
def test_a_key_in_the_handshake_is_taken_out(
    answer: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STT_KEY", KEY)
    with raw_server(answer) as url, pytest.raises(UsageError) as refused:
        connect_realtime(replace(QUICK, url=url, api_key_env="STT_KEY"), RealWorld())
    assert KEY not in str(refused.value)


@pytest.mark.parametrize("key", ["sk-live\n0123", "sk live 0123", "sk-l\u00efve", "\x1bkey"])
def test_a_key_that_no_header_can_carry(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STT_KEY", key)
    with pytest.raises(ConfigError, match="no HTTP header can carry") as refused:
        connect_realtime(replace(QUICK, api_key_env="STT_KEY"), RealWorld())
    assert key not in str(refused.value)


@pytest.mark.parametrize(
    "elsewhere",
    [{"url": f"ws://127.0.0.1/{KEY}"}, {"url": f"ws://127.0.0.1/x?q=%73{KEY[1:]}"}, {"model": KEY}],
)
def test_a_key_that_stands_elsewhere_in_the_config(
    elsewhere: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STT_KEY", KEY)
    with pytest.raises(ConfigError, match="one of them holds the key") as refused:
        connect_realtime(replace(QUICK, api_key_env="STT_KEY", **elsewhere), RealWorld())
    assert KEY not in str(refused.value)


def test_the_password_of_a_proxy_is_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://me:pr0xy-pass@127.0.0.1:1")
    assert Credentials(None).show("refused by me:pr0xy-pass@127.0.0.1") == (
        "refused by me:[key]@127.0.0.1"
    )


@pytest.mark.parametrize("port", [1])
def test_a_proxy_that_is_not_there_is_an_error_without_its_password(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for scheme in ("http", "gopher", "socks5"):
        proxy = f"{scheme}://me:pr0xy-pass@127.0.0.1:{port}"
        monkeypatch.setenv("wss_proxy", proxy)
        monkeypatch.setenv("https_proxy", proxy)
        with pytest.raises(UsageError) as refused:
            connect_realtime(replace(QUICK, url="wss://stt.invalid/v1/realtime"), RealWorld())
        assert "pr0xy-pass" not in str(refused.value)


def test_pings_of_a_server_do_not_keep_a_session_alive() -> None:
    async def session(link: ServerConnection) -> None:
        await send(link, type="session.created")
        async for raw in link:
            if json.loads(raw).get("final"):
                link.transport.write(Frame(Opcode.PING, b"").serialize(mask=False) * 1000)

    with running(session) as url, client(url, TURN) as engine:
        heard = speak(engine, 0.08, pace=20)
    assert heard.error is not None
    assert heard.error.startswith("no answer after the final commit within 0.4 s")


def test_a_key_that_is_what_people_say_fails_sessions_and_says_why() -> None:
    with running(FakeVllm("I have a dream").session) as url:
        engine = RealtimeClient(replace(QUICK, url=url), RealWorld(), "have a dream")
        heard = speak(engine, 0.96, pace=20)
        engine.close()
    assert heard.error is not None
    assert "its text holds the key of engine.api_key_env" in heard.error
