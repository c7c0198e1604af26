"""The client of realtime servers: protocols, receipts, and an own complaint for every fault."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection
from websockets.sync.client import connect

from harness.clock import RealWorld, VirtualWorld
from harness.engines.remote import connect_realtime
from harness.engines.remote.adapter import EventKind, make_adapter, pcm16
from harness.engines.remote.engine import RealtimeClient
from harness.engines.remote.options import RealtimeOptions
from harness.errors import ConfigError, UsageError
from tests.engines.fake_vllm import MODEL, FakeVllm, delta, error, running, send
from tests.engines.listening import WORLD, Heard, loud

FRAME_S = 0.08
WAIT_S = 60  # a busy machine may take its time; only what hangs takes that long
# No time-out but the one that a test is about.
PATIENT = RealtimeOptions(
    model=MODEL,
    connect_timeout_s=WAIT_S,
    slot_timeout_s=WAIT_S,
    blank_speech_s=WAIT_S,
    answer_timeout_s=WAIT_S,
    ping_s=WAIT_S,
    queue_s=WAIT_S,
)


@contextmanager
def client(url: str, config: RealtimeOptions = PATIENT) -> Iterator[RealtimeClient]:
    engine = RealtimeClient(replace(config, url=url), RealWorld(), key=None)
    try:
        yield engine
    finally:
        engine.close()


def speak(
    engine: RealtimeClient,
    seconds: float,
    *,
    pace: float = 20.0,
    listener: Heard | None = None,
    answered: int = 0,
) -> Heard:
    """One session; frames are handed over at ``pace`` times real time.

    Args:
        answered: how many frames are each followed by nothing until the server has answered it.
    """
    heard = listener or Heard()
    stream = engine.open(heard)
    assert heard.is_ready.wait(WAIT_S)
    audio, due_ns = loud(seconds), WORLD.now_ns()
    for index, start in enumerate(range(0, len(audio), 1280)):
        while index <= answered and len(heard.tokens) < index and not heard.is_over.is_set():
            WORLD.sleep_until_ns(WORLD.now_ns() + 1_000_000)
        if heard.is_over.is_set():
            return heard
        due_ns += round(FRAME_S / pace * 1e9)
        WORLD.sleep_until_ns(due_ns)
        stream.feed(audio[start : start + 1280])
    stream.finish()
    assert heard.is_over.wait(WAIT_S)
    return heard


# --- a session that works ------------------------------------------------------------------------


def test_words_arrive_in_order_and_the_audio_is_what_was_fed() -> None:
    fake = FakeVllm("I have a dream")
    with running(fake.session) as url, client(url) as engine:
        heard = speak(engine, 0.96)
    assert heard.error is None
    assert heard.tokens == [*[""] * 7, " I", " have", " a", " dream", *[""] * 11]
    assert fake.audio == [pcm16(loud(0.96))]


def test_setup_comes_before_ready_and_ready_before_the_first_token() -> None:
    with running(FakeVllm().session) as url, client(url) as engine:
        heard = speak(engine, 0.8)
    assert heard.calls[0] == "ready"
    assert heard.calls[-1] == "ended"
    ((name, start_ns, end_ns),) = heard.spans
    assert name == "setup"
    assert end_ns > start_ns
    assert end_ns <= heard.token_ns[0]


@pytest.mark.parametrize("kind", ["turn", "live"])
def test_what_the_server_says_of_its_time_becomes_spans(kind: str) -> None:
    told = [["queue", 0, 0.5], ["decode", 0.5, 20, 3]]  # before version 3 as well
    timing = {"kind": kind, "at_ms": 20.5, "spans": told}

    async def session(link: ServerConnection) -> None:
        await send(link, type="session.created")
        async for message in link:
            if json.loads(message).get("final"):
                await asyncio.sleep(0.1)
                await send(link, type="transcription.delta", delta="word", timing=timing)
                await send(link, type="transcription.done", text="word")

    with running(session) as url, client(url, replace(PATIENT, kind=kind)) as engine:
        heard = speak(engine, 0.16)
    assert heard.error is None
    spans = {name: (start_ns, end_ns) for name, start_ns, end_ns in heard.spans}
    asked_ns = spans["queue"][0]  # the end of the audio was sent, or the first of it
    assert spans["queue"] == (asked_ns, asked_ns + 500_000)
    assert spans["decode"] == (asked_ns + 500_000, asked_ns + 20_000_000)
    assert spans["delivery"] == (asked_ns + 20_500_000, heard.token_ns[0])
    assert spans["delivery"][1] - spans["delivery"][0] >= 25_000_000
    shared = {span[0]: by for span, by in zip(heard.spans, heard.shared_by, strict=True)}
    assert (shared["queue"], shared["decode"], shared["delivery"]) == (1, 3, 1)


def test_a_server_of_another_kind_is_told() -> None:
    timing = {"kind": "turn", "at_ms": 20.5, "spans": []}

    async def session(link: ServerConnection) -> None:
        await send(link, type="session.created")
        async for message in link:
            if json.loads(message).get("final"):
                await send(link, type="transcription.delta", delta="word", timing=timing)

    with running(session) as url, client(url, replace(PATIENT, kind="live")) as engine:
        heard = speak(engine, 0.16)
    assert heard.error is not None
    assert "measure it with session=turn" in heard.error


def test_times_that_are_none_are_garbage() -> None:
    async def session(link: ServerConnection) -> None:
        await send(link, type="session.created")
        async for message in link:
            if json.loads(message).get("final"):
                await send(link, type="transcription.delta", delta="word", timing={"at_ms": "x"})

    with running(session) as url, client(url, replace(PATIENT, kind="turn")) as engine:
        heard = speak(engine, 0.16)
    assert heard.error is not None
    assert "garbage from the server: transcription.delta with a 'timing'" in heard.error


def test_audio_fed_before_ready_is_kept_and_sent() -> None:
    fake = FakeVllm("early bird")
    with running(fake.session) as url, client(url) as engine:
        heard = Heard()
        stream = engine.open(heard)
        stream.feed(loud(0.5))
        stream.finish()
        assert heard.is_over.wait(WAIT_S)
    assert heard.error is None
    assert heard.text == " early bird"
    assert fake.audio == [pcm16(loud(0.5))]


def test_receipts_are_stamped_when_they_come_not_when_the_session_ends() -> None:
    class Noting(Heard):
        """Says that a token has come."""

        came = threading.Event()

        def token(self, text: str, at_ns: int | None = None, after_ns: int | None = None) -> None:
            super().token(text, at_ns)
            self.came.set()

    between_ns = 0

    async def slow_words(link: ServerConnection) -> None:
        nonlocal between_ns
        await send(link, type="session.created")
        async for raw in link:
            event = json.loads(raw)
            if event["type"] == "input_audio_buffer.commit" and event["final"]:
                await delta(link, "one")
                assert await asyncio.to_thread(Noting.came.wait, WAIT_S)
                between_ns = WORLD.now_ns()
                await delta(link, " two")
                await send(link, type="transcription.done", text="one two")

    with running(slow_words) as url, client(url) as engine:
        heard = speak(engine, 0.08, listener=Noting())
    assert heard.text == "one two"
    assert heard.token_ns[0] <= between_ns <= heard.token_ns[1]


def test_sessions_at_the_same_time_do_not_mix() -> None:
    fake = FakeVllm("a b c d")
    with running(fake.session) as url, client(url, replace(PATIENT, connecting=2)) as engine:
        heard = [Heard() for _ in range(12)]
        streams = [engine.open(h) for h in heard]
        for index, stream in enumerate(streams):
            stream.feed(loud(0.4, seed=index))
            stream.finish()
        assert all(h.is_over.wait(WAIT_S) for h in heard)
    assert [h.text for h in heard] == [" a b c d"] * 12
    assert sorted(fake.audio) == sorted(pcm16(loud(0.4, seed=i)) for i in range(12))


def test_a_closed_stream_tells_nothing_more() -> None:
    with running(FakeVllm().session) as url, client(url) as engine:
        heard = Heard()
        stream = engine.open(heard)
        assert heard.is_ready.wait(WAIT_S)
        stream.close()
        stream.feed(loud(1.0))
        stream.finish()
        assert not heard.is_over.wait(0.1)
    assert heard.calls == ["ready"]


def test_closing_the_engine_gives_up_its_streams_and_its_thread() -> None:
    with running(FakeVllm().session) as url:
        engine = RealtimeClient(replace(PATIENT, url=url), RealWorld(), key=None)
        heard = Heard()
        engine.open(heard)
        assert heard.is_ready.wait(WAIT_S)
        engine.close()
        engine.close()
    assert heard.calls == ["ready"]
    assert "realtime-sockets" not in {thread.name for thread in threading.enumerate()}


def test_ticks_of_the_loop_are_due_at_even_intervals_however_late_they_come() -> None:
    with running(FakeVllm().session) as url, client(url) as engine:
        blocked_ns: list[int] = []
        freed = threading.Event()

        def block() -> None:
            blocked_ns.append(WORLD.now_ns())
            WORLD.sleep_until_ns(blocked_ns[0] + 220_000_000)
            blocked_ns.append(WORLD.now_ns())
            freed.set()

        engine._loop.call_soon_threadsafe(block)
        assert freed.wait(WAIT_S)
        began_ns, until_ns = blocked_ns[0], blocked_ns[0] + 200_000_000
        (ticks,) = engine.loop_ticks(began_ns, until_ns)
        (later,) = engine.loop_ticks(began_ns + 10**12, began_ns + 10**13)
    assert later.late_us == ()
    assert began_ns <= ticks.began_ns < began_ns + ticks.every_ns
    assert len(ticks.late_us) == 10
    ran_ns = [ticks.began_ns + i * ticks.every_ns + us * 1000 for i, us in enumerate(ticks.late_us)]
    assert all(at >= blocked_ns[1] - 1000 for at in ran_ns)  # all at once


# --- before the run: is the server there? --------------------------------------------------------


def test_a_server_that_is_there_connects() -> None:
    with running(FakeVllm().session) as url:
        engine = connect_realtime(replace(PATIENT, url=url), RealWorld())
        try:
            assert engine.info.model == MODEL
            assert engine.info.details["protocol"] == "vllm"
        finally:
            engine.close()


def test_wrong_model_shows_before_the_run() -> None:
    with (
        running(FakeVllm().session) as url,
        pytest.raises(UsageError, match=r"wrong model: The model `nope` does not exist"),
    ):
        connect_realtime(replace(PATIENT, url=url, model="nope"), RealWorld())


def test_nothing_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{unused.getsockname()[1]}/v1/realtime"
        with pytest.raises(UsageError, match="connection refused: nothing listens"):
            connect_realtime(replace(PATIENT, url=url), RealWorld())


def test_tls_to_a_plain_port() -> None:
    with (
        running(FakeVllm().session) as url,
        pytest.raises(UsageError, match=r"TLS failed at wss:.*does it speak plain ws"),
    ):
        connect_realtime(replace(PATIENT, url=url.replace("ws:", "wss:")), RealWorld())


def test_plain_to_a_tls_port(tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with (
        running(FakeVllm().session, ssl=context) as url,
        pytest.raises(UsageError, match=r"no WebSocket server at .* does it want wss"),
    ):
        connect_realtime(replace(PATIENT, url=url), RealWorld())


@pytest.mark.parametrize(
    ("status", "cause"), [(401, "key"), (403, "not allowed"), (404, "engine.url"), (503, "full")]
)
def test_refused_handshake(status: int, cause: str) -> None:
    def refuse(link: ServerConnection, request: object) -> object:
        return link.respond(status, "no\n")

    with (
        running(FakeVllm().session, process_request=refuse) as url,
        pytest.raises(UsageError, match=f"session refused with HTTP {status}.*{cause}"),
    ):
        connect_realtime(replace(PATIENT, url=url), RealWorld())


def test_refused_session() -> None:
    async def full(link: ServerConnection) -> None:
        await error(link, "8 of 8 sessions are open", "too_many_sessions")
        await link.close(1013)

    with running(full) as url, client(url) as engine:
        heard = speak(engine, 0.08)
    assert heard.error == "session refused: 8 of 8 sessions are open (too_many_sessions)"


def test_a_server_that_never_greets() -> None:
    async def mute(link: ServerConnection) -> None:
        await link.wait_closed()

    with (
        running(mute) as url,
        pytest.raises(UsageError, match=r"not connected and configured within 0\.2 s"),
    ):
        connect_realtime(replace(PATIENT, url=url, connect_timeout_s=0.2), RealWorld())


def test_a_half_open_socket_fails_to_connect_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts by its backlog, says nothing
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}/v1/realtime"
        with client(url, replace(PATIENT, connect_timeout_s=0.2)) as engine:
            heard = Heard()
            engine.open(heard)
            assert heard.is_over.wait(WAIT_S)
    assert heard.error is not None
    assert heard.error.startswith("not connected and configured within 0.2 s")


@pytest.mark.parametrize(
    "url",
    ["http://h/x", "ws://", "ws://h:99999/x", "ws://h:abc/x", "ws://[::1/x", "ws://me:pw@h/x",
     "ws://h/x#y", "h:8000"],
)  # fmt: skip
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ConfigError, match=r"config field engine\.url"):
        RealtimeOptions(url=url)


@pytest.mark.parametrize("url", ["ws://h/x?chunking=6word", "wss://h/x?max_tokens=3&design=y"])
def test_what_a_server_is_asked_for_may_be_in_its_address(url: str) -> None:
    assert RealtimeOptions(url=url).url == url


@pytest.mark.parametrize(
    "url",
    [f"wss://h/x?{name}=sk-secret" for name in ("api_key", "apiKey", "a=1&Token", "key", "sig")]
    + ["ws://me:sk-secret@h/x", "ws://h/x#sk-secret"],
)
def test_a_key_in_an_address_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ConfigError, match=r"engine\.api_key_env") as refused:
        RealtimeOptions(url=url)
    assert "sk-secret" not in str(refused.value)


def test_simulated_time_is_refused() -> None:
    with pytest.raises(ConfigError, match="a server keeps real time"):
        connect_realtime(PATIENT, VirtualWorld())


# --- faults amid a session -----------------------------------------------------------------------


FAULTS: dict[str, Callable[[ServerConnection], Awaitable[None]]] = {
    "closed": lambda link: link.close(1000),
    "going away": lambda link: link.close(1001, "restart"),
    "stall": lambda link: asyncio.sleep(10),
    "not json": lambda link: link.send("}{"),
    "not an object": lambda link: link.send("[1]"),
    "binary": lambda link: link.send(b"\x00\x01"),
    "no delta": lambda link: send(link, type="transcription.delta", text="one"),
    "error": lambda link: error(link, "out of memory", "processing_error"),
    "early done": lambda link: send(link, type="transcription.done", text=" one"),
}


class _Faulty(FakeVllm):
    """Does what ``fault`` says once the first word has been said."""

    def __init__(self, fault: str) -> None:
        super().__init__("one two three four", blank_steps=1)
        self.fault = fault

    async def step(self, socket: ServerConnection, steps: int, said: int) -> int:
        if steps < 3:
            return await super().step(socket, steps, said)
        if self.fault == "killed":
            socket.transport.abort()
        elif self.fault == "bad frame":
            socket.transport.write(b"\xff\xff\xff\xff")
        elif self.fault == "blank":
            await delta(socket, "")
        else:
            await FAULTS[self.fault](socket)
        return said


@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("killed", "connection lost before the final text: the server went away"),
        ("closed", "closed by the server before the final text: code 1000"),
        ("going away", "closed by the server before the final text: code 1001 'restart'"),
        ("stall", r"stalled: no text in \d\.\d s of speech, and no message of any kind"),
        ("not json", "garbage from the server: not a JSON object"),
        ("not an object", "garbage from the server: not a JSON object"),
        ("binary", "garbage from the server: a binary frame of 2 bytes"),
        ("no delta", "garbage from the server: transcription.delta without a text in 'delta'"),
        ("bad frame", "garbage from the server: "),
        ("error", r"error from the server: out of memory \(processing_error\)"),
        ("early done", "truncated: the final text came after"),
        ("blank", r"blank run over speech: no text in \d\.\d s of speech,"),
    ],
)
def test_a_fault_fails_its_own_session_with_its_own_complaint(fault: str, complaint: str) -> None:
    watchful = replace(PATIENT, blank_speech_s=0.2) if fault in ("stall", "blank") else PATIENT
    with running(_Faulty(fault).session) as url, client(url, watchful) as engine:
        # Beyond the first word so slowly that 0.2 s of speech take more than 0.2 s.
        heard = speak(engine, 1.2, pace=1.0 if watchful.blank_speech_s == 0.2 else 20.0, answered=2)
        assert heard.error is not None
        assert re.match(complaint, heard.error), heard.error
        assert heard.tokens[:2] == ["", " one"]


def test_a_fault_leaves_the_other_sessions_untouched() -> None:
    fake, sessions = FakeVllm("all is well", blank_steps=1), 0

    async def every_second_dies(link: ServerConnection) -> None:
        nonlocal sessions
        sessions += 1
        await (_Faulty("killed") if sessions % 2 else fake).session(link)

    with running(every_second_dies) as url, client(url, replace(PATIENT, connecting=1)) as engine:
        heard = [Heard() for _ in range(6)]
        streams = [engine.open(h) for h in heard]
        assert all(h.is_ready.wait(WAIT_S) for h in heard)
        for stream in streams:
            stream.feed(loud(0.4))
            stream.finish()
        assert all(h.is_over.wait(WAIT_S) for h in heard)
    assert [h.text for h in heard if h.error is None] == [" all is well"] * 3
    assert sum(h.error is not None for h in heard) == 3


def test_no_answer_after_the_final_commit() -> None:
    async def deaf(link: ServerConnection) -> None:
        await send(link, type="session.created")
        await link.wait_closed()

    with running(deaf) as url, client(url, replace(PATIENT, answer_timeout_s=0.1)) as engine:
        heard = speak(engine, 0.08)
    assert heard.error is not None
    assert heard.error.startswith("no answer after the final commit within 0.1 s")
    assert "waiting for a slot, or never begun" in heard.error


def test_session_that_waits_for_a_slot() -> None:
    async def deaf(link: ServerConnection) -> None:
        await send(link, type="session.created")
        async for _ in link:
            pass

    with running(deaf) as url, client(url, replace(PATIENT, slot_timeout_s=0.1)) as engine:
        heard = speak(engine, 0.6, pace=2.0)
    assert heard.error is not None
    waits = r"session waits for a slot: not one message in \d\.\d s of speech"
    assert re.match(waits, heard.error)


@contextmanager
def hanging() -> Iterator[str]:
    """A server that greets and then hangs as a whole, until the test is over."""
    over = threading.Event()

    async def hang(link: ServerConnection) -> None:
        await send(link, type="session.created")
        over.wait(2 * WAIT_S)

    with running(hang) as url:
        try:
            yield url
        finally:
            over.set()


def test_dead_socket() -> None:
    impatient = replace(PATIENT, ping_s=0.2, kind="turn")
    with hanging() as url:
        engine = RealtimeClient(replace(impatient, url=url), RealWorld(), key=None)
        try:
            heard = speak(engine, 0.16)  # nor is the socket's end waited for
        finally:
            engine.close()
    assert heard.error == "dead socket: no answer to a ping within 0.2 s (engine.ping_s)"


def test_a_server_that_takes_no_audio() -> None:
    with hanging() as url, client(url, replace(PATIENT, queue_s=0.1, kind="turn")) as engine:
        heard, audio = Heard(), loud(5.0)
        stream = engine.open(heard)
        assert heard.is_ready.wait(WAIT_S)
        for _ in range(100):  # far beyond what the kernel buffers
            stream.feed(audio)
            if heard.is_over.wait(0.01):
                break
        assert heard.is_over.is_set()
    assert heard.error is not None
    assert heard.error.startswith("the server takes no audio: ")


def test_deltas_that_are_not_the_final_text() -> None:
    class Forgetful(FakeVllm):
        async def done(self, socket: ServerConnection, steps: int) -> None:
            await send(socket, type="transcription.done", text="one two")

    with running(Forgetful("one two three").session) as url, client(url) as engine:
        heard = speak(engine, 0.16)
    assert heard.error == "deltas are not the final text: ' one two three', 'one two'"


@pytest.mark.parametrize(("steps", "complaint"), [(12, None), (5, "truncated: 5 steps are 0.4 s")])
def test_fewer_steps_than_audio(steps: int, complaint: str | None) -> None:
    class Short(FakeVllm):
        async def done(self, socket: ServerConnection, _: int) -> None:
            await super().done(socket, steps)

    config = replace(PATIENT, step_ms=80.0, blank_speech_s=None)
    with running(Short(blank_steps=1).session) as url, client(url, config) as engine:
        heard = speak(engine, 0.96)
    assert (heard.error or "").startswith(complaint or "")
    assert (heard.error is None) == (complaint is None)


def test_turn_sessions_may_be_silent_until_the_end_of_the_audio() -> None:
    class Turn(FakeVllm):
        async def step(self, socket: ServerConnection, steps: int, said: int) -> int:
            return said

    fake = Turn("late but whole")
    watchful = replace(PATIENT, kind="turn", slot_timeout_s=0.1, blank_speech_s=0.1)
    with running(fake.session) as url, client(url, watchful) as engine:
        heard = speak(engine, 0.48, pace=2.0)  # longer than slot_timeout_s and blank_speech_s
    assert heard.error is None
    assert heard.text == " late but whole"


# --- keys ----------------------------------------------------------------------------------------


def test_the_key_comes_from_the_environment_and_stays_out_of_every_record(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.setenv("STT_KEY", "sk-secret")
    seen: list[str | None] = []

    def note(link: ServerConnection, request: object) -> None:
        seen.append(request.headers.get("Authorization"))  # type: ignore[attr-defined]

    with running(FakeVllm().session, process_request=note) as url:
        engine = connect_realtime(replace(PATIENT, url=url, api_key_env="STT_KEY"), RealWorld())
        engine.close()
    assert seen == ["Bearer sk-secret"]
    client_log = [r for r in caplog.records if r.name.startswith("harness")]
    assert "sk-secret" not in f"{engine.info}{client_log}"


def test_a_key_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STT_KEY", raising=False)
    with pytest.raises(ConfigError, match="is not set: 'STT_KEY'"):
        connect_realtime(replace(PATIENT, api_key_env="STT_KEY"), RealWorld())


def test_a_key_never_leaves_this_machine_unencrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STT_KEY", "sk-secret")
    config = replace(PATIENT, url="ws://stt.example.org/v1/realtime", api_key_env="STT_KEY")
    with pytest.raises(ConfigError, match="unencrypted"):
        connect_realtime(config, RealWorld())


def test_a_key_in_the_config_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        RealtimeOptions(api_key_env="sk-secret")
    assert "sk-secret" not in str(caught.value)


# --- the fake is what the real server was --------------------------------------------------------


def shape(message: dict[str, object]) -> dict[str, object]:
    """What of a message is the protocol's, not this model's or this session's."""
    free = {
        "id": "",
        "created": 0,
        "delta": "",
        "text": "",
        "usage": sorted(message.get("usage") or {}),
    }
    return message | {name: value for name, value in free.items() if name in message}


def test_the_fake_answers_as_the_real_server_did() -> None:
    """``nox -s vllm`` records what vLLM 0.32 said to these messages."""
    recorded = json.loads(
        (Path(__file__).parents[2] / "data/vllm_transcript.json").read_text(encoding="utf-8")
    )
    adapter = make_adapter(PATIENT)
    with running(FakeVllm("a few words").session) as url:
        with connect(url, proxy=None) as link:
            for exchange in recorded[:-1]:
                if exchange["client"] is not None:
                    link.send(exchange["client"])
                for message in exchange["server"]:
                    assert shape(json.loads(link.recv(timeout=WAIT_S))) == shape(message)
            with pytest.raises(TimeoutError):  # nothing unasked for, and no answer to the last
                link.recv(timeout=0.1)
        with connect(url, proxy=None) as link:
            link.recv(timeout=WAIT_S)
            for message in (*adapter.configure(), *adapter.start()):
                link.send(message)
            for start in range(0, 12 * 1280, 1280):
                link.send(adapter.audio(loud(1.0)[start : start + 1280]) or "")
            for message in adapter.end():
                link.send(message)
            for message in recorded[-1]["server"]:
                assert shape(json.loads(link.recv(timeout=WAIT_S))) == shape(message)


# --- the three protocols -------------------------------------------------------------------------


def test_mistral_messages() -> None:
    config = RealtimeOptions(
        protocol="mistral", model="voxtral", url="wss://host/v1/rt", delay_ms=240
    )
    adapter = make_adapter(config)
    assert adapter.url() == "wss://host/v1/rt?model=voxtral"
    assert [json.loads(m) for m in adapter.configure()] == [
        {
            "type": "session.update",
            "session": {
                "audio_format": {"encoding": "pcm_s16le", "sample_rate": 16000},
                "target_streaming_delay_ms": 240,
            },
        }
    ]
    assert adapter.start() == []
    audio = json.loads(adapter.audio(loud(0.08)) or "")
    assert audio["type"] == "input_audio.append"
    assert base64.b64decode(audio["audio"]) == pcm16(loud(0.08))
    assert [json.loads(m)["type"] for m in adapter.end()] == [
        "input_audio.flush",
        "input_audio.end",
    ]
    assert adapter.parse('{"type":"session.created","session":{}}').kind is EventKind.CREATED
    assert adapter.parse('{"type":"session.updated","session":{}}').kind is EventKind.CONFIGURED
    assert adapter.parse('{"type":"transcription.text.delta","text":"a"}').text == "a"
    assert adapter.parse('{"type":"transcription.segment","text":"a"}').kind is EventKind.OTHER
    assert adapter.parse('{"type":"transcription.done","text":"a b"}').text == "a b"
    for message in ('"bad"', '{"detail":"bad"}'):
        refused = adapter.parse(f'{{"type":"error","error":{{"message":{message},"code":3}}}}')
        assert (refused.kind, refused.text, refused.code) == (EventKind.ERROR, "bad", "3")


def test_openai_messages_and_resampling() -> None:
    config = RealtimeOptions(protocol="openai", model="gpt-live-transcribe", url="wss://host/v1/rt")
    adapter = make_adapter(config)
    assert adapter.url() == "wss://host/v1/rt?intent=transcription"
    (update,) = [json.loads(m) for m in adapter.configure()]
    assert update["session"]["type"] == "transcription"
    assert update["session"]["audio"]["input"] == {
        "format": {"type": "audio/pcm", "rate": 24000},
        "transcription": {"model": "gpt-live-transcribe"},
        "turn_detection": None,
    }
    tone = np.sin(np.arange(16_000) * 2 * np.pi * 440 / 16_000).astype(np.float32) / 2
    messages = [adapter.audio(tone[i : i + 320]) for i in range(0, 16_000, 320)] + adapter.end()
    events = [json.loads(m) for m in messages if m is not None]
    assert events[-1] == {"type": "input_audio_buffer.commit"}
    pcm = b"".join(base64.b64decode(e["audio"]) for e in events[:-1])
    received = np.frombuffer(pcm, "<i2") / 32768
    assert len(received) == 24_000
    wanted = np.sin(np.arange(24_000) * 2 * np.pi * 440 / 24_000) / 2
    assert np.abs(received - wanted)[500:-500].max() < 1e-3
    item = '"item_id":"i","content_index":0'
    prefix = "conversation.item.input_audio_transcription"
    assert adapter.parse(f'{{"type":"{prefix}.delta",{item},"delta":"a"}}').text == "a"
    done = adapter.parse(f'{{"type":"{prefix}.completed",{item},"transcript":"a b"}}')
    assert (done.kind, done.text) == (EventKind.DONE, "a b")
    failed = adapter.parse(
        f'{{"type":"{prefix}.failed",{item},"error":{{"message":"x","code":"y"}}}}'
    )
    assert (failed.kind, failed.text, failed.code) == (EventKind.ERROR, "x", "y")


@pytest.mark.parametrize("protocol", ["mistral", "openai"])
def test_acknowledged_protocols_end_to_end(protocol: str) -> None:
    names = {
        "mistral": ("input_audio.end", "transcription.text.delta", "text", "transcription.done"),
        "openai": (
            "input_audio_buffer.commit",
            "conversation.item.input_audio_transcription.delta",
            "delta",
            "conversation.item.input_audio_transcription.completed",
        ),
    }
    end, delta_type, delta_field, done_type = names[protocol]

    async def session(link: ServerConnection) -> None:
        await send(link, type="session.created", session={})
        async for raw in link:
            kind = json.loads(raw)["type"]
            if kind == "session.update":
                await send(link, type="session.updated", session={})
            elif kind == end:
                for word in ("hello", " world"):
                    await send(link, type=delta_type, **{delta_field: word})
                await send(link, type=done_type, text="hello world", transcript="hello world")

    config = replace(PATIENT, protocol=protocol, kind="turn")
    with running(session) as url, client(url, config) as engine:
        engine.probe()
        heard = speak(engine, 0.16)
    assert heard.error is None
    assert heard.tokens == ["hello", " world"]


def test_pcm16_is_exact_for_samples_made_from_pcm16_and_clips_the_rest() -> None:
    every = np.arange(-32768, 32768, dtype=np.int32)
    assert pcm16((every / 32768).astype(np.float32)) == every.astype("<i2").tobytes()
    assert (
        pcm16(np.array([1.0, 2.0, -2.0], np.float32))
        == np.array([32767, 32767, -32768], "<i2").tobytes()
    )
