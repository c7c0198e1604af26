"""The client of one session: stamps first, then chunks; nothing after the end."""

from __future__ import annotations

from typing import Any

import pytest

from harness.chunking import Strategy, Timed, Words
from harness.clock import NS_PER_MS, VirtualWorld
from harness.engines import Listener, Reference, scripted
from harness.events import Ended, Failed, SessionKind, Trace
from harness.recorder import Recorder
from harness.replay import Planned, ReplayArm, replay
from harness.session import Pacing
from tests.conftest import make_clip
from tests.traces import make_trace

SESSION = make_trace().session


class Client:
    """A recorder in virtual time, and how often it told the driver something."""

    def __init__(self, strategy: Strategy) -> None:
        self.world = VirtualWorld()
        self.driver = self.world.timeline("driver", costs=False)
        self.ready = self.done = 0
        self.recorder = Recorder(
            self.world, self.driver, strategy.chunker(),
            on_ready=lambda: self.count("ready"), on_done=lambda: self.count("done"),
        )  # fmt: skip

    def count(self, name: str) -> None:
        setattr(self, name, getattr(self, name) + 1)

    def at(self, ms: float, call: object, *arguments: object) -> None:
        self.driver.call_at(round(ms * NS_PER_MS), lambda: call(*arguments))  # type: ignore[operator]

    def run(self) -> Trace:
        self.driver.call_at(10_000 * NS_PER_MS, self.driver.stop)
        self.driver.run()
        return self.recorder.trace(SESSION, (), None)


def ms(events: object) -> list[tuple[str, float]]:
    return [(event.text, event.at_ns / NS_PER_MS) for event in events]  # type: ignore[attr-defined]


def test_tokens_and_chunks_are_stamped_when_they_come() -> None:
    client = Client(Words(2))
    client.at(10, client.recorder.token, "a ")
    client.at(20, client.recorder.token, "b ")
    client.at(30, client.recorder.token, "c")
    client.at(40, client.recorder.ended)
    trace = client.run()
    assert ms(trace.tokens) == [("a ", 10), ("b ", 20), ("c", 30)]
    assert ms(trace.chunks) == [("a b", 20), (" c", 40)]
    assert [chunk.is_final for chunk in trace.chunks] == [False, True]
    assert trace.outcome == Ended(at_ns=40 * NS_PER_MS)
    assert client.done == 1


def test_a_stamp_that_the_engine_took_is_the_token_s() -> None:
    client = Client(Words(1))
    client.at(10, lambda: client.recorder.token("a ", at_ns=7 * NS_PER_MS, after_ns=5 * NS_PER_MS))
    client.at(20, client.recorder.ended)
    (token,) = client.run().tokens
    assert (token.at_ns, token.after_ns) == (7 * NS_PER_MS, 5 * NS_PER_MS)


def test_a_timed_chunk_is_released_without_a_token() -> None:
    client = Client(Timed(every_ms=100))
    client.at(10, client.recorder.token, "a ")
    client.at(500, client.recorder.ended)
    chunks = ms(client.run().chunks)
    assert chunks[0] == ("a", 110)


def test_nothing_is_recorded_after_the_end() -> None:
    client = Client(Words(1))
    client.at(10, client.recorder.failed, "gone")
    client.at(20, client.recorder.token, "late ")
    client.at(30, client.recorder.ended)
    client.at(40, client.recorder.span, "decode", 1, 2)
    trace = client.run()
    assert (trace.tokens, trace.chunks, trace.spans) == ((), (), ())
    assert trace.outcome == Failed(at_ns=10 * NS_PER_MS, error="gone")
    assert client.done == 1


def test_a_session_that_was_given_up_is_not_begun() -> None:
    client = Client(Words(1))
    client.recorder.closed = True
    client.at(1, client.recorder.ready)
    client.at(2, client.recorder.ended)
    client.run()
    assert client.ready == 0


@pytest.mark.parametrize("said", [3, b"x", None, ["a"]])
def test_what_is_no_text_fails_the_session_and_no_other(said: object) -> None:
    """An engine of one's own may say anything."""

    class Odd(scripted.ScriptedEngine):
        def open(self, listener: Listener, reference: Reference | None = None) -> Any:
            stream = super().open(listener, reference)
            listener.token(said)  # type: ignore[arg-type]
            return stream

    world = VirtualWorld()
    engine = Odd(scripted.ScriptedOptions(), world, SessionKind.TURN)
    pacing = Pacing(frame_ms=20, kind=SessionKind.TURN, timeout_s=5)
    kept: list[Trace] = []
    arm = ReplayArm(engine, lambda: Words(1).chunker(), pacing)
    plan = [Planned(0, make_clip("one two", 0.1), repeat) for repeat in range(2)]
    replay(world, [arm], plan, 1, lambda _, trace: kept.append(trace))
    assert [trace.failed for trace in kept] == [True, True]
    assert isinstance(kept[0].outcome, Failed)
    assert "is no text: a value of type" in kept[0].outcome.error
