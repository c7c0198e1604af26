"""Networks: which frames are handed over when, exactly, and what is made of it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from itertools import islice

import msgspec
import numpy as np
import pytest
from conftest import make_clip

from harness.chunking import Tokens
from harness.clock import NS_PER_MS, VirtualWorld
from harness.conditions.jitter import Jitter
from harness.conditions.loss import Loss
from harness.conditions.network import Network, arrivals
from harness.engines import EngineInfo, Listener, Reference, Samples
from harness.errors import ConfigError
from harness.events import Failed, SessionKind, Trace, build_traces, trace_events
from harness.metrics.budget import budget_ms
from harness.metrics.instants import audio_ns, request_ns
from harness.metrics.latency import final_ms, send_lateness_ms, ttft_ms
from harness.metrics.live import laal_ms
from harness.replay import Planned, ReplayArm, replay
from harness.runs.impossible import refuse_impossible
from harness.session import Pacing

LIVE = SessionKind.LIVE
FRAMES = 10  # of 20 ms


class Echo:
    """Says at once how many samples each frame has and the end; keeps what it was fed."""

    def __init__(self) -> None:
        self.info = EngineInfo(model="echo", kinds=(SessionKind.TURN, LIVE))
        self.fed: list[Samples] = []

    def open(self, listener: Listener, reference: Reference | None = None) -> Echo:
        self.listener = listener
        listener.ready()
        return self

    def feed(self, samples: Samples) -> None:
        self.fed.append(samples)
        self.listener.token(f"{len(self.fed)} ")

    def finish(self) -> None:
        self.listener.ended()

    def close(self) -> None: ...


def session(
    network: Network | None,
    *,
    kind: SessionKind = LIVE,
    late_ms: float = 0,
    warmup: bool = False,
    engine: Echo | None = None,
) -> Trace:
    """One clip of 10 frames in virtual time, echoed."""
    world, kept = VirtualWorld(), list[Trace]()
    how = Pacing(frame_ms=20, kind=kind, timeout_s=10, late_ms=late_ms, network=lambda *_: network)
    clip = make_clip("1 2 3", FRAMES * 0.02)
    arm = ReplayArm(engine or Echo(), Tokens().chunker, how)
    plan = [Planned(0, clip, 0, warmup=True)] * warmup + [Planned(0, clip, 0)]
    replay(world, [arm], plan, 1, lambda _planned, trace: kept.append(trace))
    refuse_impossible("events", kept)
    return kept[0]


def delays(by_frame: dict[int, float | None]) -> Iterator[float | None]:
    return (by_frame.get(index, 0.0) for index in itertools.count())


def token_ms(trace: Trace) -> list[float]:
    return [(token.at_ns - trace.session.t0_ns) / NS_PER_MS for token in trace.tokens]


def test_a_late_frame_delays_its_tokens_and_those_behind_it() -> None:
    assert token_ms(session(None)) == [20 * i for i in range(1, 11)]
    late = session(Network(delays({3: 70.0})))
    assert token_ms(late) == [20, 40, 60, 150, 150, 150, 150, 160, 180, 200]
    assert [f.index for f in late.frames if f.asked_ns is not None] == [3, 4, 5, 6]
    assert [(f.due_ns - late.session.t0_ns) / NS_PER_MS for f in late.frames] == [
        20 * i for i in range(1, 11)
    ]  # what metrics count from


def test_frames_overtake_each_other_only_if_the_network_lets_them() -> None:
    trace = session(Network(delays({3: 70.0}), in_order=False))
    assert [frame.index for frame in trace.frames] == [0, 1, 2, 4, 5, 6, 3, 7, 8, 9]
    assert token_ms(trace) == [20, 40, 60, 100, 120, 140, 150, 160, 180, 200]


def test_lateness_that_was_asked_for_is_none_of_the_driver() -> None:
    trace = session(Network(delays({3: 70.0, 9: 30.0})))
    assert set(send_lateness_ms(trace)) == {0.0}
    late = session(Network(delays({3: 70.0, 9: 30.0})), late_ms=5)
    assert set(send_lateness_ms(late)) == {5.0}


def test_a_person_waits_for_the_network() -> None:
    """Latencies count from when the audio was spoken; the end of it comes behind its last frame."""
    clean, late = (
        session(network, kind=SessionKind.TURN) for network in (None, Network(delays({9: 30.0})))
    )
    assert late.finish is not None
    assert clean.finish is not None
    assert late.finish.due_ns - late.session.t0_ns == clean.finish.due_ns - clean.session.t0_ns
    assert late.finish.sent_ns - late.finish.due_ns == 30 * NS_PER_MS
    assert final_ms(late) == final_ms(clean) + 30  # type: ignore[operator]
    slow = session(Network(delays({0: 50.0})))
    assert ttft_ms(slow) == (audio_ns(slow, 0.07) - request_ns(slow)) / NS_PER_MS


def test_the_wait_for_the_network_is_a_part_of_the_budget() -> None:
    from harness.engines.scripted import ScriptedEngine, ScriptedOptions
    from harness.events import Span

    def budget(network: Network | None) -> dict[str, float]:
        world, kept = VirtualWorld(), list[Trace]()
        how = Pacing(frame_ms=20, kind=SessionKind.TURN, timeout_s=10, network=lambda *_: network)
        engine = ScriptedEngine(ScriptedOptions(50, 20), world, SessionKind.TURN)
        arm = ReplayArm(engine, Tokens().chunker, how)
        plan = [Planned(0, make_clip("one", FRAMES * 0.02), 0)]
        replay(world, [arm], plan, 1, lambda _planned, trace: kept.append(trace))
        (trace,) = kept
        assert trace.finish is not None
        worked = Span("decode", trace.finish.sent_ns, trace.tokens[0].at_ns)
        found = budget_ms(msgspec.structs.replace(trace, spans=(worked,)))
        assert isinstance(found, dict)
        return {part: value for part, value in found.items() if value}

    assert budget(None) == {"decode": 50}
    assert budget(Network(delays({9: 30.0}))) == {"network": 30, "decode": 50}


def test_a_lost_frame_never_reaches_the_engine() -> None:
    engine = Echo()
    trace = session(Network(delays({2: None, 3: None, 9: None})), engine=engine)
    assert len(engine.fed) == 7
    assert [frame.index for frame in trace.frames] == [0, 1, 4, 5, 6, 7, 8]
    assert [lost.index for lost in trace.lost] == [2, 3, 9]
    assert token_ms(trace) == [20, 40, 100, 120, 140, 160, 180]
    assert trace.finish is not None
    assert trace.finish.sent_ns == trace.finish.due_ns  # the end of the audio is not lost
    assert set(send_lateness_ms(trace)) == {0.0}


def test_silence_may_take_the_place_of_a_lost_frame() -> None:
    engine = Echo()
    trace = session(Network(delays({2: None}), silence=True), engine=engine)
    assert [bool(np.any(samples)) for samples in engine.fed] == [i != 2 for i in range(FRAMES)]
    assert [frame.index for frame in trace.frames] == list(range(FRAMES))
    assert [lost.index for lost in trace.lost] == [2]
    assert token_ms(trace) == [20 * i for i in range(1, 11)]


def test_a_session_may_lose_all_of_its_frames() -> None:
    engine = Echo()
    trace = session(Network(itertools.repeat(None)), engine=engine)
    assert (engine.fed, trace.frames, len(trace.lost)) == ([], (), FRAMES)
    assert not isinstance(trace.outcome, Failed)


def test_warm_up_sessions_come_over_no_network() -> None:
    engine = Echo()
    session(Network(itertools.repeat(None)), engine=engine, warmup=True)
    assert len(engine.fed) == FRAMES


def test_audio_that_was_used_reaches_to_the_last_frame_that_came() -> None:
    """Frames behind a lost one are not taken for earlier audio."""
    lost = session(Network(delays(dict.fromkeys(range(9)))))
    assert laal_ms(lost) == 200  # one word, of all the audio


def test_events_keep_what_the_network_did() -> None:
    network = Network(delays({1: 30.0, 4: None, 9: 40.0}), silence=True)
    trace = session(network)
    lines = [msgspec.to_builtins(event) for event in trace_events(trace)]
    assert [line for line in lines if line.get("asked_ns")]
    assert build_traces(trace_events(trace)) == [trace]
    plain = [msgspec.to_builtins(event) for event in trace_events(session(None))]
    assert not any("asked_ns" in line or line["event"] == "frame_lost" for line in plain)


def test_dues_without_end_are_read_as_they_are_needed() -> None:
    forever = (20 * NS_PER_MS * i for i in itertools.count(1))
    found = list(islice(arrivals(forever, Network(delays({0: 50.0}), in_order=False)), 4))
    assert [(a.index, a.at_ns // NS_PER_MS) for a in found] == [(1, 40), (2, 60), (0, 70), (3, 80)]


# --- jitter and loss -----------------------------------------------------------------------------


def lateness(jitter: Jitter, frames: int, clip: str = "clip", repeat: int = 0) -> list[float]:
    return [late or 0.0 for late in islice(jitter.network(clip, repeat, 20).delays_ms, frames)]


@pytest.mark.parametrize("kind", [Jitter, Loss])
def test_equal_seeds_make_equal_schedules(kind: type[Jitter | Loss]) -> None:
    def schedule(seed: int, clip: str, repeat: int) -> list[float | None]:
        return list(islice(kind(seed=seed).network(clip, repeat, 20).delays_ms, 500))

    first = schedule(0, "a", 0)
    assert first == schedule(0, "a", 0)
    assert all(first != other for other in (schedule(1, "a", 0), schedule(0, "b", 0)))
    assert first != schedule(0, "a", 1)


def test_jitter_is_of_the_stated_mean() -> None:
    found = lateness(Jitter(mean_ms=20, stall_ms=0), 50_000)
    assert np.mean(found) == pytest.approx(20, rel=0.03)
    assert min(found) >= 0


def test_what_comes_in_a_stall_arrives_when_it_is_over() -> None:
    jitter = Jitter(mean_ms=0, stall_ms=300, stall_every_s=3)
    found = lateness(jitter, 100_000)
    at_ms = [20 * (index + 1) + late for index, late in enumerate(found)]
    assert all(b >= a - 1e-6 for a, b in itertools.pairwise(at_ms))
    held = sum(late > 0 for late in found) / len(found)
    assert held == pytest.approx(300 / 3300, rel=0.1)  # of the time there is a stall
    assert set(lateness(Jitter(mean_ms=0, stall_ms=0), 100)) == {0.0}


def test_the_stated_share_is_lost_in_bursts_of_the_stated_length() -> None:
    loss = Loss(share=0.1, burst_ms=60)
    lost = [late is None for late in islice(loss.network("clip", 0, 20).delays_ms, 200_000)]
    bursts = [len(list(run)) for gone, run in itertools.groupby(lost) if gone]
    assert np.mean(lost) == pytest.approx(0.1, rel=0.05)
    assert np.mean(bursts) == pytest.approx(3, rel=0.05)
    assert not any(late is None for late in islice(Loss(share=0).network("c", 0, 20).delays_ms, 99))
    first = [next(loss.network(f"{i}", 0, 20).delays_ms) is None for i in range(20_000)]
    assert np.mean(first) == pytest.approx(0.1, rel=0.1)  # the first frame like any other


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (Jitter, {"mean_ms": -1.0}),
        (Jitter, {"stall_ms": float("inf")}),
        (Jitter, {"stall_every_s": 0.0}),
        (Jitter, {"seed": -1}),
        (Loss, {"share": 0.6}),
        (Loss, {"burst_ms": -20.0}),
        (Loss, {"conceal": "music"}),
        (Loss, {"seed": -1}),
    ],
)
def test_a_wrong_option_is_named(kind: type, wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as refused:
        kind(**wrong)
    ((name, value),) = wrong.items()
    assert f"conditions.{name}" in refused.value.what
    assert refused.value.value == value
    assert refused.value.allowed
