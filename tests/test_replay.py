"""The measuring loop on a virtual clock: every instant is an exact integer."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from conftest import make_clip

from harness.chunking import (
    Strategy,
    Timed,
    Tokens,
    Words,
    rechunk,
)
from harness.chunking.messages import chunk_messages
from harness.clock import NS_PER_MS, RealWorld, VirtualWorld, World
from harness.datasets.load import Clip
from harness.engines import Engine, EngineInfo, Listener, Reference, Samples
from harness.engines import null as null_engine
from harness.engines import scripted as scripted_engine
from harness.engines.inject import InjectConfig, InjectedEngine
from harness.engines.scripted import ScriptedOptions
from harness.errors import ConfigError, StorageError
from harness.events import Ended, Failed, SessionKind, Trace, Word
from harness.replay import Planned, ReplayArm, arrivals_ns, replay
from harness.session import LEAD_NS, Pacing

TURN, LIVE = SessionKind.TURN, SessionKind.LIVE


def pacing(
    kind: SessionKind = TURN,
    *,
    frame_ms: float = 20,
    timeout_s: float = 10,
    flood: bool = False,
    late_ms: float = 0,
) -> Pacing:
    return Pacing(frame_ms=frame_ms, kind=kind, timeout_s=timeout_s, flood=flood, late_ms=late_ms)


def traces_of(
    world: World,
    engine: Engine,
    clips: list[Clip],
    chunking: Strategy | None = None,
    how: Pacing | None = None,
    *,
    streams: int = 1,
    warmups: int = 0,
) -> list[Trace]:
    kept: list[Trace] = []
    config = chunking or Words(1)
    arm = ReplayArm(engine, config.chunker, how or pacing())
    plan = [Planned(0, clips[0], 0, warmup=True)] * warmups
    plan += [Planned(0, clip, repeat) for repeat, clip in enumerate(clips)]
    replay(world, [arm], plan, streams, lambda _planned, trace: kept.append(trace))
    engine.close()
    return kept


def scripted(
    world: World, first_ms: float = 50, token_ms: float = 20, kind: SessionKind = TURN
) -> scripted_engine.ScriptedEngine:
    return scripted_engine.ScriptedEngine(ScriptedOptions(first_ms, token_ms), world, kind)


def ms_after_audio(trace: Trace, at_ns: int) -> float:
    return (at_ns - trace.session.t0_ns) / NS_PER_MS - trace.session.duration_s * 1000


def test_frames_are_due_when_their_last_sample_was_spoken(world: VirtualWorld) -> None:
    clip = make_clip(duration_s=0.05)
    (trace,) = traces_of(world, scripted(world), [clip])
    t0 = trace.session.t0_ns
    assert [(f.due_ns - t0) / NS_PER_MS for f in trace.frames] == [20, 40, 50]  # the last is short
    assert trace.finish is not None
    assert (trace.finish.due_ns - t0) / NS_PER_MS == 50
    assert all(frame.sent_ns == frame.due_ns for frame in trace.frames)


def test_what_was_scripted_is_what_is_recorded(world: VirtualWorld) -> None:
    clip = make_clip("it was the best", 0.1)
    (trace,) = traces_of(world, scripted(world, 50, 20), [clip])
    assert [t.text for t in trace.tokens] == ["it", " was", " the", " best"]
    assert [ms_after_audio(trace, t.at_ns) for t in trace.tokens] == [50, 70, 90, 110]
    assert [(c.text, ms_after_audio(trace, c.at_ns)) for c in trace.chunks] == [
        ("it", 70), (" was", 90), (" the", 110), (" best", 110),
    ]  # fmt: skip
    assert [c.is_final for c in trace.chunks] == [False, False, False, True]
    assert isinstance(trace.outcome, Ended)


def test_live_words_come_relative_to_when_they_were_spoken(world: VirtualWorld) -> None:
    words = (Word("one", 0.1, 0.2), Word("two", 0.3, 0.44))
    clip = make_clip("one two", 0.6, words=words)
    engine = scripted(world, 30, kind=LIVE)
    (trace,) = traces_of(world, engine, [clip], Tokens(), pacing(LIVE))
    t0 = trace.session.t0_ns
    assert [(t.at_ns - t0) / NS_PER_MS for t in trace.tokens] == [230, 470]


def test_a_live_word_may_come_before_it_was_spoken(world: VirtualWorld) -> None:
    clip = make_clip("early", 0.6, words=(Word("early", 0.3, 0.5),))
    engine = scripted(world, -100, kind=LIVE)
    (trace,) = traces_of(world, engine, [clip], Tokens(), pacing(LIVE))
    assert trace.tokens[0].at_ns - trace.session.t0_ns == 400 * NS_PER_MS


def test_live_scripts_need_word_timings(world: VirtualWorld) -> None:
    with pytest.raises(ConfigError, match="word timings"):
        traces_of(world, scripted(world, kind=LIVE), [make_clip()], how=pacing(LIVE))


def test_the_driver_never_waits_for_a_slow_engine(world: VirtualWorld) -> None:
    class Slow(scripted_engine.ScriptedEngine):
        """Its worker is busy for a second when the audio begins."""

        def open(self, listener: Listener, reference: Reference | None = None):  # type: ignore[no-untyped-def]
            self._worker.call_soon(lambda: world.sleep_until_ns(world.now_ns() + 10**9))
            return super().open(listener, reference)

    engine = Slow(ScriptedOptions(), world, TURN)
    (trace,) = traces_of(world, engine, [make_clip(duration_s=0.2)])
    assert all(frame.sent_ns == frame.due_ns for frame in trace.frames)
    assert trace.tokens[0].at_ns >= 10**9


def test_a_late_driver_is_recorded_and_latency_counts_from_the_intended_instant(
    world: VirtualWorld,
) -> None:
    clip = make_clip("word", 0.1)
    (trace,) = traces_of(world, scripted(world), [clip], Tokens(), pacing(late_ms=30))
    assert {f.sent_ns - f.due_ns for f in trace.frames} == {30 * NS_PER_MS}
    assert ms_after_audio(trace, trace.tokens[0].at_ns) == 80


def test_many_streams_share_one_driver(world: VirtualWorld) -> None:
    clips = [make_clip(f"clip number {i}", 0.3, clip_id=str(i)) for i in range(6)]
    traces = traces_of(world, scripted(world), clips, streams=3)
    assert sorted(t.session.clip for t in traces) == [str(i) for i in range(6)]
    assert {t.session.lane for t in traces} == {0, 1, 2}
    first_three = sorted(t.session.t0_ns for t in traces)[:3]
    assert first_three == [LEAD_NS] * 3
    for trace in traces:
        assert [ms_after_audio(trace, t.at_ns) for t in trace.tokens] == [50, 70, 90]
        assert trace.text == trace.session.reference


def test_warmups_are_flooded_and_thrown_away(world: VirtualWorld) -> None:
    traces = traces_of(world, scripted(world), [make_clip(duration_s=5)], warmups=2)
    assert len(traces) == 1
    assert traces[0].session.order == 2
    assert traces[0].session.t0_ns < 10**9


def test_flood_hands_everything_over_at_once(world: VirtualWorld) -> None:
    clip = make_clip(duration_s=5)
    (trace,) = traces_of(world, scripted(world), [clip], how=pacing(flood=True))
    assert {frame.due_ns for frame in trace.frames} == {trace.session.t0_ns}
    assert trace.tokens[0].at_ns == trace.session.t0_ns + 50 * NS_PER_MS


def test_timed_chunks_are_released_without_a_token_to_push_them(world: VirtualWorld) -> None:
    chunking = Timed(25)
    (trace,) = traces_of(world, scripted(world, 50, 100), [make_clip("a b c", 0.1)], chunking)
    assert [(c.text, ms_after_audio(trace, c.at_ns)) for c in trace.chunks] == [
        ("a", 175), (" b c", 250),
    ]  # fmt: skip


@pytest.mark.parametrize("chunking", [Words(1), Words(6), Tokens(), Timed(70)], ids=repr)
def test_rechunking_agrees_with_a_live_run(world: VirtualWorld, chunking: Strategy) -> None:
    clip = make_clip("it was the best of times, it was the worst of times", 0.2)
    (live,) = traces_of(world, scripted(world), [clip], chunking)
    assert rechunk(live.tokens, live.outcome.at_ns, chunking) == live.chunks


@pytest.mark.parametrize("frame_ms", [1, 7.5, 20, 80, 333])
def test_text_does_not_depend_on_frame_size(world: VirtualWorld, frame_ms: float) -> None:
    clip = make_clip("the same text", 0.5)
    (trace,) = traces_of(world, scripted(world), [clip], how=pacing(frame_ms=frame_ms))
    assert trace.text == "the same text"
    assert trace.frames[-1].due_ns == trace.session.t0_ns + 500 * NS_PER_MS


class Misbehaving:
    """An engine whose streams do what a test tells them to on ``finish``."""

    info = EngineInfo(model="misbehaving", kinds=(TURN,))

    def __init__(self, finish: Callable[[Listener], None], *, ready: bool = True) -> None:
        self._finish, self._ready = finish, ready
        self.closed: list[Listener] = []

    def open(self, listener: Listener, reference: Reference | None = None) -> Misbehaving.Stream:
        if self._ready:
            listener.ready()
        return self.Stream(self, listener)

    def close(self) -> None:
        pass

    class Stream:
        def __init__(self, engine: Misbehaving, listener: Listener) -> None:
            self._engine, self._listener = engine, listener

        def feed(self, samples: Samples) -> None:
            pass

        def finish(self) -> None:
            self._engine._finish(self._listener)

        def close(self) -> None:
            self._engine.closed.append(self._listener)


def test_a_failed_session_is_kept_with_its_reason_and_the_next_goes_on(
    world: VirtualWorld,
) -> None:
    turns = itertools.count()

    def fail_first(listener: Listener) -> None:
        listener.token("partial")
        if next(turns) == 0:
            listener.failed("RuntimeError: out of memory")
            listener.token("too late")
        else:
            listener.ended()

    first, second = traces_of(world, Misbehaving(fail_first), [make_clip(), make_clip()])
    assert isinstance(first.outcome, Failed)
    assert first.outcome.error == "RuntimeError: out of memory"
    assert first.text == "partial"
    assert not second.failed


def test_an_engine_that_never_answers_fails_in_time(world: VirtualWorld) -> None:
    engine = Misbehaving(lambda _listener: None)
    (trace,) = traces_of(world, engine, [make_clip(duration_s=1)], how=pacing(timeout_s=3))
    assert isinstance(trace.outcome, Failed)
    assert "timeout" in trace.outcome.error
    assert ms_after_audio(trace, trace.outcome.at_ns) == 3000
    assert len(engine.closed) == 1


def test_a_stream_that_is_never_ready_fails_in_time(world: VirtualWorld) -> None:
    engine = Misbehaving(lambda _listener: None, ready=False)
    (trace,) = traces_of(world, engine, [make_clip()], how=pacing(timeout_s=3))
    assert isinstance(trace.outcome, Failed)
    assert "not ready" in trace.outcome.error
    assert trace.frames == ()


def test_what_comes_after_the_end_is_not_recorded(world: VirtualWorld) -> None:
    def end_twice(listener: Listener) -> None:
        listener.token("once")
        listener.ended()
        listener.token("ghost")
        listener.ended()
        listener.failed("ghost")

    (trace,) = traces_of(world, Misbehaving(end_twice), [make_clip()])
    assert (trace.text, trace.failed, len(trace.chunks)) == ("once", False, 1)


def test_a_full_disk_stops_the_run_with_its_error(world: VirtualWorld) -> None:
    engine = scripted(world)
    kept: list[str] = []

    def keep(_planned: Planned, trace: Trace) -> None:
        if kept:
            raise StorageError("no space left on device")
        kept.append(trace.session.clip)

    arm = ReplayArm(engine, lambda: Words(1).chunker(), pacing())
    plan = [Planned(0, make_clip(clip_id=str(i)), 0) for i in range(5)]
    with pytest.raises(StorageError, match="no space left"):
        replay(world, [arm], plan, 1, keep)
    assert kept == ["0"]


@pytest.mark.parametrize("make_world", [RealWorld, VirtualWorld])
def test_a_defect_while_keeping_ends_the_run_and_does_not_hang_it(
    make_world: Callable[[], World],
) -> None:
    world = make_world()
    arm = ReplayArm(null_engine.NullEngine(world), lambda: Words(1).chunker(), pacing())

    def keep(_planned: Planned, _trace: Trace) -> None:
        raise ValueError("a defect")

    with pytest.raises(ValueError, match="a defect"):
        replay(world, [arm], [Planned(0, make_clip(duration_s=0.02), i) for i in range(3)], 1, keep)
    arm.engine.close()


def test_a_session_that_has_ended_is_kept_though_the_run_is_interrupted(
    world: VirtualWorld,
) -> None:
    """Its trace is still queued for the store when the interrupt comes."""
    turns = itertools.count()

    def finish(listener: Listener) -> None:
        if next(turns) == 0:
            listener.ended()
            world.timeline("person", costs=False).call_soon(interrupt)

    def interrupt() -> None:
        raise KeyboardInterrupt

    kept: list[Trace] = []
    arm = ReplayArm(Misbehaving(finish), lambda: Words(1).chunker(), pacing())
    plan = [Planned(0, make_clip(duration_s=0.1), i) for i in range(2)]
    with pytest.raises(KeyboardInterrupt):
        replay(world, [arm], plan, 1, lambda _planned, trace: kept.append(trace))
    assert [trace.session.repeat for trace in kept] == [0]


def test_interrupting_gives_streams_up_and_keeps_what_is_finished(world: VirtualWorld) -> None:
    turns = itertools.count()

    def interrupt_second(listener: Listener) -> None:
        if next(turns) == 1:
            raise KeyboardInterrupt
        listener.ended()

    engine = Misbehaving(interrupt_second)
    kept: list[Trace] = []
    arm = ReplayArm(engine, lambda: Words(1).chunker(), pacing())
    plan = [Planned(0, make_clip(), i) for i in range(3)]
    with pytest.raises(KeyboardInterrupt):
        replay(world, [arm], plan, 1, lambda _planned, trace: kept.append(trace))
    assert [trace.session.repeat for trace in kept] == [0]
    assert len(engine.closed) == 2


def test_an_empty_plan_is_no_work(world: VirtualWorld) -> None:
    arm = ReplayArm(scripted(world), lambda: Words(1).chunker(), pacing())
    assert replay(world, [arm], [], 1, lambda _planned, _trace: None) == []


# --- engines that the harness brings --------------------------------------------------------------


@pytest.mark.parametrize("make_world", [RealWorld, VirtualWorld])
def test_the_null_engine_says_the_reference(make_world: Callable[[], World]) -> None:
    world = make_world()
    engine = null_engine.NullEngine(world)
    traces = traces_of(world, engine, [make_clip("two words", 0.05)] * 3)
    assert [trace.text for trace in traces] == ["two words"] * 3


def test_the_null_engine_says_live_words_once_they_were_heard(world: VirtualWorld) -> None:
    words = (Word("one", 0.0, 0.11), Word("two", 0.2, 0.4))
    engine = null_engine.NullEngine(world, LIVE)
    clip = make_clip("one two", 0.39, words=words)
    (trace,) = traces_of(world, engine, [clip], Tokens(), pacing(LIVE))
    assert [(t.at_ns - trace.session.t0_ns) / NS_PER_MS for t in trace.tokens] == [120, 390]


def injected(world: World, config: InjectConfig, first_ms: float = 50) -> InjectedEngine:
    return InjectedEngine(scripted(world, first_ms, 20), config, world, seed=0)


class Spaced(Misbehaving):
    """Begins its text with white space, as Whisper does, at the instants of a script."""

    def __init__(self, world: World, at_ms: list[float]) -> None:
        self._worker = world.timeline("spaced")

        def finish(listener: Listener) -> None:
            for word, ms in zip("abc", at_ms, strict=True):
                due_ns = world.now_ns() + round(ms * NS_PER_MS)
                self._worker.call_at(due_ns, lambda word=word: listener.token(f" {word}"))  # type: ignore[misc]
            self._worker.call_at(due_ns, listener.ended)

        super().__init__(finish)


@pytest.mark.parametrize(
    ("config", "at_ms"),
    [
        (InjectConfig(delay_ms=35), [85, 105, 125]),
        (InjectConfig(scale=1.5), [75, 105, 135]),
        (InjectConfig(scale=2, delay_ms=10), [110, 150, 190]),
        (InjectConfig(delay_ms=35, tail_share=0), [50, 70, 90]),
    ],
)
def test_injected_delays_are_exact(
    world: VirtualWorld, config: InjectConfig, at_ms: list[float]
) -> None:
    engine = InjectedEngine(Spaced(world, [50, 70, 90]), config, world, seed=0)
    (trace,) = traces_of(world, engine, [make_clip("a b c", 0.1)], Tokens())
    assert [ms_after_audio(trace, t.at_ns) for t in trace.tokens] == at_ms
    assert trace.text == " a b c"  # as the engine said it, white space included
    assert trace.outcome.at_ns >= trace.tokens[-1].at_ns


def test_a_tail_is_injected_on_its_share_of_clips_the_same_in_every_repeat(
    world: VirtualWorld,
) -> None:
    engine = injected(world, InjectConfig(delay_ms=500, tail_share=0.25))
    clips = [make_clip(f"clip {i}", 0.1) for i in range(200)]
    traces = traces_of(world, engine, [*clips, *reversed(clips)])
    slow = [ms_after_audio(t, t.tokens[0].at_ns) > 300 for t in traces]
    assert 30 <= sum(slow[:200]) <= 70
    assert slow[200:] == slow[199::-1]


def test_dropped_words_are_gone_from_the_text(world: VirtualWorld) -> None:
    engine = injected(world, InjectConfig(drop_words=2))
    (trace,) = traces_of(world, engine, [make_clip("one two three four", 0.1)])
    assert trace.text.split() == ["three", "four"]
    assert [m.text for m in chunk_messages(trace.chunks, 0)] == ["three", "four"]


# --- arrivals -------------------------------------------------------------------------------------


def test_arrivals_are_spread_over_the_mean_clip() -> None:
    assert arrivals_ns("all_at_once", 3, 6.0, seed=0) == (0, 0, 0)
    assert arrivals_ns("staggered", 3, 6.0, seed=0) == (0, 2 * 10**9, 4 * 10**9)


def test_poisson_arrivals_have_exponential_gaps_of_the_same_mean() -> None:
    starts = arrivals_ns("poisson", 4001, 4001 * 0.01, seed=1)
    gaps_ms = [(b - a) / NS_PER_MS for a, b in itertools.pairwise(starts)]
    assert starts[0] == 0
    assert min(gaps_ms) >= 0
    assert sum(gaps_ms) / 4000 == pytest.approx(10, rel=0.05)  # three standard errors
    above_mean = sum(gap > 10 for gap in gaps_ms) / 4000
    assert above_mean == pytest.approx(0.368, abs=0.025)  # 1/e; half of them, were they symmetric
    assert arrivals_ns("poisson", 9, 5.0, seed=1) == arrivals_ns("poisson", 9, 5.0, seed=1)
    assert arrivals_ns("poisson", 9, 5.0, seed=1) != arrivals_ns("poisson", 9, 5.0, seed=2)


def test_streams_begin_their_first_session_when_they_arrive(world: VirtualWorld) -> None:
    arm = ReplayArm(scripted(world), lambda: Words(1).chunker(), pacing())
    kept: list[Trace] = []
    plan = [Planned(0, make_clip("one", 1.0), i) for i in range(4)]
    starts = arrivals_ns("staggered", 2, 1.0, seed=0)
    replay(world, [arm], plan, 2, lambda _p, trace: kept.append(trace), 0, starts)
    t0_ms = [((t.session.t0_ns - LEAD_NS) / NS_PER_MS, t.session.lane) for t in kept]
    assert t0_ms == [(0, 0), (500, 1), (1060, 0), (1560, 1)]  # 10 ms of lead, 1 s, 50 ms
