"""The microphone stays open after the clip, until somebody says that the turn is over."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
import pytest

from harness import microphone
from harness.audio import room_noise
from harness.chunking import Tokens
from harness.clock import NS_PER_MS, NS_PER_S, VirtualWorld
from harness.datasets.load import Clip
from harness.endpointers import Endpointer, EndpointerOptions, EngineEndpointer, NoEndpointer
from harness.engines import Samples
from harness.engines.scripted import ScriptedEngine, ScriptedOptions
from harness.events import SessionKind, Trace, Word
from harness.metrics.instants import cut_off, request_ns
from harness.replay import Planned, ReplayArm, replay
from harness.runs.impossible import refuse_impossible
from harness.session import Pacing
from tests.conftest import make_clip
from tests.traces import figures

TURN, LIVE = SessionKind.TURN, SessionKind.LIVE
WORDS = (Word("one", 0.1, 0.3), Word("two", 0.6, 0.9))


@dataclass
class At(EndpointerOptions):
    """Decides when it has heard so much audio."""

    seconds: tuple[float, ...] = ()

    def make(self) -> Endpointer:
        return _At(self.seconds)


class _At:
    def __init__(self, seconds: tuple[float, ...]) -> None:
        self._left = list(seconds)
        self._heard = 0

    def push(self, samples: Samples) -> bool:
        self._heard += len(samples)
        if self._left and self._heard >= self._left[0] * 16_000:
            self._left.pop(0)
            return True
        return False


def clip_of_turn() -> Clip:
    return make_clip("one two", 1.0, words=WORDS)  # spoken from 0.1 to 0.9 s


def session(
    kind: SessionKind, endpointer: EndpointerOptions, tail_s: float = 2.0, first_ms: float = 50
) -> Trace:
    world = VirtualWorld()
    engine = ScriptedEngine(ScriptedOptions(first_ms=first_ms), world, kind)
    pacing = Pacing(frame_ms=20, kind=kind, timeout_s=10, endpointer=endpointer, tail_s=tail_s)
    kept: list[Trace] = []
    arm = ReplayArm(engine, lambda: Tokens().chunker(), pacing)
    replay(world, [arm], [Planned(0, clip_of_turn(), 0)], 1, lambda _p, trace: kept.append(trace))
    engine.close()
    (trace,) = kept
    return trace


def at_s(trace: Trace, at_ns: int) -> float:
    return (at_ns - trace.session.t0_ns) / NS_PER_S


def finished_s(trace: Trace) -> float:
    assert trace.finish is not None
    return at_s(trace, trace.finish.sent_ns)


@pytest.mark.parametrize("kind", [TURN, LIVE])
def test_without_an_endpointer_the_audio_ends_with_the_clip(kind: SessionKind) -> None:
    trace = session(kind, NoEndpointer())
    assert (len(trace.frames), finished_s(trace)) == (50, 1.0)
    assert trace.session.endpointer == "none"
    assert trace.turns_ended == ()


@pytest.mark.parametrize("kind", [TURN, LIVE])
def test_the_end_of_the_turn_ends_the_audio(kind: SessionKind) -> None:
    trace = session(kind, At((1.5,)))
    assert [at_s(trace, end.at_ns) for end in trace.turns_ended] == [1.5]
    assert trace.turns_ended[0].by == "endpointer"
    assert (len(trace.frames), finished_s(trace)) == (75, 1.5)
    assert trace.session.endpointer == "at"


def test_a_person_who_asks_waits_from_the_last_word_on() -> None:
    trace = session(TURN, At((1.5,)))
    assert at_s(trace, request_ns(trace)) == 0.9
    clip = figures(trace)
    assert clip.ttft_ms == 600 + 50  # until the decision, and of the engine
    assert session(TURN, NoEndpointer()).tokens[0].at_ns == 1_060 * NS_PER_MS  # t0 is at 10 ms


def test_the_wait_for_the_decision_is_a_part_of_the_budget() -> None:
    trace = session(TURN, At((1.5,)))
    span = msgspec.structs.replace  # an engine that tells its work
    from harness.events import Span

    began, ended = trace.finish.sent_ns, trace.tokens[0].at_ns  # type: ignore[union-attr]
    told = span(trace, spans=(Span("decode", began, ended),))
    assert figures(told).budget_ms == pytest.approx(
        {"eot": 600, "decode": 50, "hold": 0, "delivery": 0, "unattributed": 0}
    )


def test_a_pause_that_is_cut_off_ends_a_turn_and_not_a_live_session() -> None:
    turn = session(TURN, At((0.5, 1.5)))
    assert finished_s(turn) == 0.5
    live = session(LIVE, At((0.5, 1.5)))
    assert [at_s(live, end.at_ns) for end in live.turns_ended] == [0.5, 1.5]
    assert finished_s(live) == 1.5
    assert live.text == "one two"


def test_a_turn_that_is_cut_off_has_no_latency_and_loses_its_words() -> None:
    trace = session(TURN, At((0.5,)))
    assert cut_off(trace)
    refuse_impossible("here", [trace])  # half of the frames, and not edited
    clip = figures(trace)
    assert (clip.ttft_ms, clip.final_ms, clip.budget_ms) == (None, None, None)
    assert "cut off" in clip.why_null["ttft_ms"]
    assert not cut_off(session(TURN, At((1.5,))))
    assert not cut_off(session(LIVE, At((0.5,))))
    assert not cut_off(session(TURN, NoEndpointer()))


def test_nobody_waits_longer_than_the_tail() -> None:
    trace = session(LIVE, EngineEndpointer(), tail_s=2.0)
    assert (len(trace.frames), finished_s(trace)) == (150, 3.0)
    assert trace.turns_ended == ()
    assert trace.session.endpointer == "engine"


def test_the_room_after_a_clip_is_made_once_and_before_any_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[float] = []

    def noise(samples: Samples, seconds: float, seed: int) -> Samples:
        made.append(seconds)
        return room_noise(samples, seconds, seed)

    monkeypatch.setattr(microphone, "room_noise", noise)
    world = VirtualWorld()
    engine = ScriptedEngine(ScriptedOptions(), world, TURN)
    pacing = Pacing(frame_ms=20, kind=TURN, timeout_s=10, endpointer=At((1.5,)), tail_s=2.0)
    kept: list[Trace] = []
    arm = ReplayArm(engine, lambda: Tokens().chunker(), pacing)
    plan = [Planned(0, clip_of_turn(), repeat, warmup=repeat == 0) for repeat in range(4)]
    replay(world, [arm], plan, 2, lambda _p, trace: kept.append(trace))
    assert (len(kept), made) == (3, [2.0])


def test_the_room_is_as_loud_as_the_pauses_of_the_clip() -> None:
    drawn = np.random.default_rng(1)
    quiet, loud = drawn.normal(0, 0.003, 8000), drawn.normal(0, 0.2, 16_000)
    samples = np.concatenate([quiet, loud]).astype(np.float32)
    noise = room_noise(samples, 3.0, seed=7)
    assert len(noise) == 48_000
    assert float(np.sqrt(np.mean(noise**2))) == pytest.approx(0.003, rel=0.1)
    assert np.array_equal(noise, room_noise(samples, 3.0, seed=7))
    assert not np.array_equal(noise, room_noise(samples, 3.0, seed=8))


def test_no_room_is_digital_silence() -> None:
    noise = room_noise(np.zeros(16_000, np.float32), 1.0, seed=0)
    assert float(np.sqrt(np.mean(noise**2))) == pytest.approx(1 / 32768, rel=0.05)
