"""Live sessions by hand; LAAL against a transcription of SimulEval's formula."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.chunking import Words
from harness.engines.scripted import ScriptedEngine
from harness.engines.scripted import ScriptedOptions as ScriptedConfig
from harness.events import SessionKind, Word
from harness.metrics.latency import clip_metrics
from harness.metrics.live import AudioUsed, laal, word_delays
from harness.replay import Planned, ReplayArm, replay
from harness.session import Pacing
from tests.conftest import make_clip
from tests.traces import make_trace

SPOKEN = (("it", 300), ("was", 500), ("the", 700), ("best", 1000), ("of", 1200), ("times", 1700))
REFERENCE = "it was the best of times"


def live(tokens, **options):
    options = {"words": SPOKEN, "reference": REFERENCE, "kind": SessionKind.LIVE} | options
    return make_trace(tokens, **options)


def said(delay_ms: float = 100, words=SPOKEN):
    """Each word's token comes this long after the word."""
    return [(f" {text}" if i else text, end + delay_ms) for i, (text, end) in enumerate(words)]


def test_word_delay_by_hand():
    clip = clip_metrics(live(said(), ended_ms=2050))

    # A word is whole when the next one begins; the last when the stream ends.
    assert clip.word_delay_ms == (300, 300, 400, 300, 600, 350)
    assert clip.match_rate == 1
    assert clip.ttft_ms == 500  # speech began at 100, "it" was whole at 600
    assert clip.ttft_floor_ms == 200


def test_the_floor_counts_the_words_of_the_first_chunk():
    clip = clip_metrics(live(said(), chunking=Words(6), ended_ms=2050))

    assert clip.ttft_floor_ms == 1600
    assert clip.ttft_ms - clip.ttft_floor_ms == 350


def test_the_floor_of_a_word_is_the_speech_up_to_the_end_of_its_chunk():
    ends = [end for _, end in SPOKEN]
    one = clip_metrics(live(said(), ended_ms=2050))
    three = clip_metrics(live(said(), chunking=Words(3), ended_ms=2050))

    assert one.word_delay_floor_ms == (0,) * 6
    assert three.word_delay_floor_ms == tuple(
        ends[3 * (i // 3) + 2] - end for i, end in enumerate(ends)
    )


def test_the_model_s_own_delay_is_part_of_both_floors():
    trace = live(said(), ended_ms=2050)
    session = msgspec.structs.replace(trace.session, model_delay_ms=480.0)
    clip = clip_metrics(msgspec.structs.replace(trace, session=session))

    assert clip.ttft_floor_ms == 200 + 480
    assert clip.word_delay_floor_ms == (480,) * 6


def test_words_before_they_were_spoken_are_negative():
    delays = clip_metrics(live(said(-250), ended_ms=2000)).word_delay_ms

    assert delays[:5] == (-50, -50, 50, -50, 250)


def test_a_wrong_word_lowers_the_match_rate_not_the_delays():
    tokens = said()
    tokens[3] = (" rest", tokens[3][1])
    clip = clip_metrics(live(tokens, ended_ms=2050))

    assert clip.match_rate == 5 / 6
    assert clip.word_delay_ms == (300, 300, 400, 600, 350)


def test_dropped_words_lower_the_match_rate_not_the_delays():
    token_stream = [tokens for i, tokens in enumerate(said()) if i != 1]
    clip = clip_metrics(live(token_stream, ended_ms=2050))

    assert clip.match_rate == 5 / 6
    assert clip.word_delay_ms == (500, 400, 300, 600, 350)


def test_without_word_timings_word_figures_are_missing():
    clip = clip_metrics(live(said(), words=()))

    assert clip.word_delay_ms == ()
    for name in (
        "word_delay_ms",
        "word_delay_floor_ms",
        "match_rate",
        "ttft_floor_ms",
        "delay_causes_ms",
    ):
        assert clip.why_null[name] == "the clip has no word timings"


def test_silence_matches_nothing():
    clip = clip_metrics(live([], ended_ms=2050))

    assert clip.match_rate == 0
    assert clip.why_null["word_delay_ms"] == "no text"
    assert clip.stall_ratio == 0  # 1.8 s of speech: no longer than the display may stand still


def test_causes_add_up_to_each_delay():
    spans = [("queue", 1000, 1010), ("encoder", 1010, 1060), ("decode", 1060.5, 1105)]
    trace = live([(" best", 1105), (" of", 1130)], spans=spans, ended_ms=2100)

    best, of = word_delays(trace)

    assert (best.delay_ms, best.wait_ms, best.compute_ms, best.hold_ms) == (130, 0, 105, 25)
    assert (of.delay_ms, of.wait_ms, of.compute_ms, of.hold_ms) == (900, -70, 0, 970)


def test_a_word_is_produced_by_the_token_of_its_last_character():
    tokens = [("wa", 600), ("s", 650), (" the", 800)]
    (was, _) = word_delays(live(tokens, ended_ms=2000))

    assert (was.wait_ms, was.hold_ms, was.delay_ms) == (150, 150, 300)  # spoken at 500


def test_work_that_did_not_say_the_word_is_waiting():
    spans = [("encoder", 400, 450), ("encoder", 800, 850)]
    (it, _) = word_delays(live([("it", 850), (" was", 850)], spans=spans))

    assert (it.wait_ms, it.compute_ms, it.hold_ms) == (500, 50, 0)


def test_an_engine_without_a_pause_has_only_compute():
    spans = [("encoder", 100 + 50 * i, 149.5 + 50 * i) for i in range(20)]
    (it,) = word_delays(live([("it", 900)], spans=spans, ended_ms=2000))

    assert (it.wait_ms, it.compute_ms) == (0, 600)


@given(st.lists(st.tuples(st.integers(0, 1900), st.integers(1, 90)), max_size=8), st.integers(0, 9))
def test_causes_always_add_up(busy, delay):
    spans = [("decode", start, start + length) for start, length in busy]
    spans += [("delivery", start + length, start + length + 3) for start, length in busy]
    trace = live(said(delay * 50), spans=spans, chunking=Words(2))

    for word in word_delays(trace):
        causes = word.wait_ms + word.compute_ms + word.hold_ms + word.delivery_ms
        assert causes == pytest.approx(word.delay_ms)
        assert word.compute_ms >= 0
        assert word.delivery_ms >= 0
    clip = clip_metrics(trace)
    assert sum(clip.delay_causes_ms.values()) == pytest.approx(sum(clip.word_delay_ms) / 6)


@given(st.integers(0, 700), st.sampled_from([1, 2, 6]))
def test_delaying_every_token_by_d_raises_each_delay_by_d(delay, words):
    now = clip_metrics(live(said(0), chunking=Words(words), ended_ms=2500))
    late = clip_metrics(live(said(delay), chunking=Words(words), ended_ms=2500 + delay))

    assert late.word_delay_ms == tuple(d + delay for d in now.word_delay_ms)
    assert late.match_rate == now.match_rate
    assert late.ttft_floor_ms == now.ttft_floor_ms


def test_the_last_chunk_of_six_words_makes_all_of_them_wait():
    clip = clip_metrics(live(said(), chunking=Words(6), ended_ms=2050))

    assert clip.word_delay_ms == tuple(2050 - end for _, end in SPOKEN)


def test_stalls_are_what_exceeds_three_seconds():
    words = tuple(("w", end) for end in (300, 1500))
    trace = live([("w", 300), (" w", 1500)], words=words, reference="w w", ended_ms=2050)

    assert clip_metrics(trace).stall_ratio == 0


def test_where_nothing_is_said_nothing_stalls():
    trace = live([], words=(), reference="", ended_ms=2050)
    session = msgspec.structs.replace(trace.session, speech_onset_s=0.0, speech_end_s=0.0)
    clip = clip_metrics(msgspec.structs.replace(trace, session=session))

    assert clip.stall_ratio is None
    assert clip.why_null["stall_ratio"] == "nothing is said"


def long_session(slope_ms_per_s: float, spoken: int = 50, every_ms: float = 1000):
    """50 words in 50 s, each later than the one before."""
    words = [(f"w{i}", every_ms * (i + 1)) for i in range(spoken)]
    tokens = [
        (f" w{i} ", end + 200 + slope_ms_per_s * end / 1000) for i, (_, end) in enumerate(words)
    ]
    trace = live(tokens, words=words, reference=" ".join(w for w, _ in words), ended_ms=80_000)
    session = msgspec.structs.replace(
        trace.session, duration_s=51.0, speech_onset_s=0.8, speech_end_s=50.0
    )
    return msgspec.structs.replace(trace, session=session)


@pytest.mark.parametrize("slope", [0, 5, -3])
def test_lag_slope_is_the_growth_of_the_delay(slope):
    clip = clip_metrics(long_session(slope))

    assert clip.lag_slope_ms_per_min == pytest.approx(60 * slope)
    low, high = clip.lag_slope_ci95
    assert low <= clip.lag_slope_ms_per_min + 1e-6
    assert high >= clip.lag_slope_ms_per_min - 1e-6


def test_stall_ratio_of_a_session_that_stands_still():
    trace = long_session(0)
    silent = msgspec.structs.replace(
        trace, tokens=trace.tokens[:1], chunks=trace.chunks[:1]
    )  # text at 1.2 s, then none until 50 s
    assert clip_metrics(silent).stall_ratio == pytest.approx((50 - 1.2 - 3) / (50 - 0.8))


def test_a_short_clip_has_no_slope():
    clip = clip_metrics(live(said(), ended_ms=2050))

    assert clip.lag_slope_ms_per_min is None
    assert clip.why_null["lag_slope_ms_per_min"] == "6 words in 1.4 s; a slope needs 10 in 10 s"


@pytest.mark.parametrize(
    ("spoken", "every_ms", "known"),
    [(10, 10_000 / 9, True), (9, 10_000 / 8, False), (10, 9_990 / 9, False)],
)
def test_a_slope_needs_ten_words_in_ten_seconds(spoken, every_ms, known):
    clip = clip_metrics(long_session(0, spoken, every_ms))

    assert (clip.lag_slope_ms_per_min is not None) == known


def test_turn_sessions_have_no_live_figures():
    clip = clip_metrics(make_trace(said(2000), words=SPOKEN, reference=REFERENCE))

    only = ("stall_ratio", "lag_slope_ms_per_min", "laal_ms", "ttft_floor_ms")
    for name in (*only, "word_delay_floor_ms"):
        assert clip.why_null[name] == "only in live sessions"
    assert len(clip.word_delay_ms) == 6


@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_scripted_engine_through_the_measuring_loop(world, k):
    """What is measured of 12 words, 300 ms apart, each told 100 ms after it was spoken."""
    words = tuple(Word(f"w{i}", 0.3 * i + 0.1, 0.3 * i + 0.4) for i in range(12))
    clip = make_clip(" ".join(w.text for w in words), 4.0, words=words)
    engine = ScriptedEngine(ScriptedConfig(first_ms=100), world, SessionKind.LIVE)
    pacing = Pacing(frame_ms=20, kind=SessionKind.LIVE, timeout_s=9)
    arm = ReplayArm(engine, lambda: Words(k).chunker(), pacing)
    kept = []
    replay(world, [arm], [Planned(0, clip, 0)], 1, lambda planned, trace: kept.append(trace))
    found = clip_metrics(kept[0])

    # Chunk c holds words c k .. c k + k - 1, and is whole when word (c + 1) k is told.
    ends = [400 + 300 * i for i in range(12)]
    told = [*(end + 100 for end in ends), kept[0].outcome.at_ns / 1e6 - 10]
    chunks = [told[min((i // k + 1) * k, 12)] for i in range(12)]
    assert found.word_delay_ms == pytest.approx([c - e for c, e in zip(chunks, ends, strict=True)])
    assert found.ttft_ms == pytest.approx(told[k] - 100)  # speech began at 100
    assert found.ttft_floor_ms == pytest.approx(ends[k - 1] - 100)
    last = [ends[min((i // k + 1) * k, 12) - 1] for i in range(12)]
    floors = [whole - e for whole, e in zip(last, ends, strict=True)]
    assert found.word_delay_floor_ms == pytest.approx(floors)
    assert found.match_rate == 1
    assert found.split_words == found.stall_ratio == 0
    engine.close()


def simuleval_laal(delays, source_length, target_length):
    """The formula of SimulEval's LAALScorer.compute, statement by statement."""
    if delays[0] > source_length:
        return delays[0]
    total = 0
    gamma = max(len(delays), target_length) / source_length
    tau = 0
    for t_minus_1, d in enumerate(delays):
        total += d - t_minus_1 / gamma
        tau = t_minus_1 + 1
        if d >= source_length:
            break
    return total / tau


def test_a_pass_that_waits_its_turn_uses_no_more_audio():
    """Asked for at 1 s, begun at 1.6 s: it has heard 1 s."""
    spans = [("queue", 1000, 1600), ("features", 1600, 1610), ("decode", 1610, 1700)]
    clip = clip_metrics(live([(" it", 1700), (" ", 1700)], spans=spans, ended_ms=2100))

    assert (clip.laal_ms, clip.laal_ca_ms) == (1000, 1700)


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.booleans()), max_size=8),
    st.lists(st.integers(0, 130), min_size=1, max_size=6),
)
def test_audio_used_is_that_of_the_last_pass_asked_for(passes, shown):
    """Against the definition, read off all spans for each word."""
    spans = []
    for start, waited, is_queued in passes:
        begun = start + waited
        spans += [("queue", start, begun)] if is_queued else []
        spans += [("features", begun, begun + 5)]
    trace = live([(" a", 10)], spans=spans, ended_ms=2100)
    queued = {span.end_ns: span.start_ns for span in trace.spans if span.name == "queue"}
    audio = AudioUsed(trace)

    for at_ms in shown:
        at_ns = trace.session.t0_ns + at_ms * 1_000_000
        asked = [
            queued.get(span.start_ns, span.start_ns)
            for span in trace.spans
            if span.name == "features" and span.start_ns <= at_ns
        ]
        sent = sum(frame.sent_ns <= max(asked, default=at_ns) for frame in trace.frames)
        assert audio.until(at_ns) == min(sent * trace.session.frame_ms, 2000)


@pytest.mark.parametrize("seed", range(10))
def test_laal_agrees_with_simuleval_on_ten_traces(seed):
    rng = random.Random(seed)  # noqa: S311 not a secret
    heard = rng.sample(range(100, 2600), rng.randint(1, 9))
    tokens = [(f" w{i}", at) for i, at in enumerate(sorted(heard))]
    spans = [("features", at, at + 30) for at in range(rng.randint(40, 200), 2500, 320)]
    trace = live(tokens, spans=spans, frame_ms=rng.choice([20, 40, 80]), ended_ms=2700)
    clip = clip_metrics(trace)

    elapsed = [chunk.at_ns / 1e6 - 1000 for chunk in trace.chunks if chunk.text.strip()]
    frame_ms = trace.session.frame_ms
    read = []
    for at in elapsed:
        began = max((start for _, start, _ in spans if start <= at), default=at)
        read.append(min(began // frame_ms * frame_ms, 2000))

    assert clip.laal_ca_ms == pytest.approx(simuleval_laal(elapsed, 2000, 6), abs=1e-6)
    assert clip.laal_ms == pytest.approx(simuleval_laal(read, 2000, 6), abs=1e-6)


@given(st.lists(st.integers(1, 3000), min_size=1, max_size=12).map(sorted), st.integers(1, 15))
def test_laal_agrees_with_simuleval_on_any_delays(delays, reference_words):
    assert laal(delays, 2000, reference_words) == pytest.approx(
        simuleval_laal(delays, 2000, reference_words), abs=1e-6
    )
