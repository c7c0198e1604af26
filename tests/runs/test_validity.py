from __future__ import annotations

import pytest
from msgspec.structs import replace

from harness.chunking import Sentences, Tokens, Words
from harness.events import Ended, SessionKind
from harness.metrics.latency import clip_metrics
from harness.runs.validity import CHECKS, RunFacts, check_validity, not_allowed
from tests.traces import MS, T0_MS, make_trace

SLOW_WORDS = [
    (text, 2100 + 40 * k) for k, text in enumerate(("it", " was", " the", " best", " of"))
]


def run_of(sessions: int = 8, **options):
    options = {"tokens": SLOW_WORDS} | options
    tokens = options.pop("tokens")
    return [make_trace(tokens, clip=f"c{i}", order=i, **options) for i in range(sessions)]


def judged(traces, **facts):
    """The ids of what was found: (invalid, warnings)."""
    clips = [clip_metrics(trace) for trace in traces]
    facts = {"planned": len(traces), "clock_resolution_ns": 50} | facts
    invalid, warnings = check_validity(traces, clips, RunFacts(**facts))
    return [text.split(":")[0] for text in invalid], [text.split(":")[0] for text in warnings]


def warned(traces):
    """The only warning, all of it."""
    facts = RunFacts(planned=len(traces), clock_resolution_ns=50)
    _, (warning,) = check_validity(traces, [clip_metrics(trace) for trace in traces], facts)
    return warning


def test_a_good_run_has_nothing_to_tell():
    assert judged(run_of()) == ([], [])


@pytest.mark.parametrize("late_ms", [6, 15, 50, 300])
def test_a_driver_that_is_late_on_purpose_makes_the_run_invalid(late_ms):
    assert judged(run_of(late_ms=late_ms)) == (["late_replay"], [])


@pytest.mark.parametrize("late_ms", [0, 0.3, 3, 5])
def test_a_busy_machine_does_not(late_ms):
    assert judged(run_of(late_ms=late_ms)) == ([], [])


def test_a_few_frames_that_are_later_than_the_next_make_the_run_invalid():
    assert judged([*run_of(48), *run_of(1, late_ms=30)])[0] == ["late_replay"]
    assert judged([*run_of(400), *run_of(1, late_ms=30)])[0] == []


@pytest.mark.parametrize(
    ("frame_ms", "late_ms", "found"),
    [(20, 20, []), (20, 20.1, ["late_replay"]), (10, 20, []), (100, 100, []),
     (100, 101, ["late_replay"])],
)  # fmt: skip
def test_one_frame_in_a_hundred_may_be_as_late_as_the_next_is_due(frame_ms, late_ms, found):
    late = run_of(1, frame_ms=frame_ms, late_ms=late_ms)
    assert judged([*run_of(48, frame_ms=frame_ms), *late])[0] == found


def test_flood_has_no_lateness():
    assert judged(run_of(late_ms=500), pace="flood") == ([], [])


def test_missing_sessions_make_the_run_invalid():
    assert judged(run_of(), planned=9)[0] == ["incomplete"]


def test_failures_are_told_and_too_many_make_the_run_invalid():
    one = [*run_of(19), *run_of(1, failed="timeout")]
    two = [*run_of(18), *run_of(2, failed="timeout")]

    assert judged(one) == ([], ["failed_clips"])
    assert judged(two)[0] == ["failed_clips"]


def test_few_different_clips():
    traces = [make_trace(SLOW_WORDS, clip="same", repeat=i, order=i) for i in range(9)]

    assert judged(traces) == ([], ["too_few_clips"])


def test_a_coarse_clock():
    assert judged(run_of(), clock_resolution_ns=15_600_000)[0] == ["coarse_clock"]
    assert judged(run_of(), clock_resolution_ns=100_001)[0] == ["coarse_clock"]
    assert judged(run_of(), clock_resolution_ns=100_000)[0] == []


def test_a_late_event_loop():
    assert judged(run_of(loop_lag_ms=[0.1] * 39 + [4.0]))[0] == []
    blocked = run_of(loop_lag_ms=[0.1] * 36 + [40.0] * 4)
    assert judged(blocked)[0] == ["loop_lag"]
    assert judged(blocked, pace="flood")[0] == []


def test_a_harness_that_was_stopped_makes_the_run_invalid_wherever_in_the_session() -> None:
    on_time = [0.5] * 100
    assert judged(run_of(watchdog_late_ms=on_time))[0] == []
    for tick in (0, 30, 99):
        late = [*on_time[:tick], 300.0, *on_time[tick + 1 :]]
        assert judged(run_of(watchdog_late_ms=late))[0] == ["stopped"]
        engine_computed = run_of(watchdog_late_ms=late, cpu_ms={tick: 300.0})
        assert judged(engine_computed)[0] == []


def test_a_cold_first_session():
    cold = make_trace([(text, at + 900) for text, at in SLOW_WORDS], clip="c1", order=0)
    again = [make_trace(SLOW_WORDS, clip="c1", repeat=i, order=20 + i) for i in (1, 2)]

    assert judged([cold, *run_of()[2:], *again]) == ([], ["cold_first_run"])


@pytest.mark.parametrize(
    ("first_ms", "usual_ms", "cold"),
    [(280, 140, False), (281, 140, True), (90, 40, False), (91, 40, True), (140, 281, False)],
)
def test_cold_is_twice_as_long_and_fifty_milliseconds_more(first_ms, usual_ms, cold):
    def answer(ttft_ms, **who):
        return make_trace([("it ", 2000 + ttft_ms)], **who)

    others = [answer(1000, clip=f"o{i}", order=10 + i) for i in range(6)]
    same = [answer(usual_ms, clip="c", repeat=i, order=i) for i in (1, 2)]
    found = judged([*others, *same, answer(first_ms, clip="c", order=0)])
    assert found == ([], ["cold_first_run"] if cold else [])


def slowing(by: float, sessions: int = 36, clips: int = 6, noise: float = 0.0):
    """Compute time of every other clip is ten times as long; it grows by a share over the run."""
    traces = []
    for i in range(sessions):
        relative = 1 + by * i / (sessions - 1) + (noise if i * i // 3 % 2 else -noise)
        work = [("encoder", 2000, 2000 + 10 * (1 + 9 * (i % clips % 2)) * relative)]
        traces.append(make_trace(SLOW_WORDS, clip=f"c{i % clips}", order=100 + i, spans=work))
    return traces


@pytest.mark.parametrize(
    ("traces", "found"),
    [
        (slowing(0.3), True),
        (slowing(-0.3), True),
        (slowing(0.15), False),
        (slowing(0.5, sessions=12, clips=3, noise=0.45), False),
        (slowing(2.0, sessions=12, clips=3), True),
        (slowing(2.0, sessions=11, clips=3), False),
        (slowing(2.0, sessions=24, clips=12), True),
        (slowing(2.0, sessions=17, clips=12), False),  # of most there is one: what is usual of it?
    ],
)
def test_drift_is_a_fifth_and_no_accident(traces, found):
    assert ("drift" in judged(traces)[1]) == found


def test_work_that_takes_no_time_does_not_drift():
    assert judged(slowing(0, sessions=24)) == ([], [])
    still = [
        make_trace(SLOW_WORDS, clip=f"c{i % 6}", order=i, spans=[("encoder", 2000, 2000)])
        for i in range(24)
    ]
    assert judged(still) == ([], [])


def test_drift_is_found_in_a_long_run_too():
    assert "drift" in judged(slowing(0.3, sessions=900))[1]


def test_a_gpu_that_lowered_its_clocks_was_not_the_one_to_be_measured():
    assert judged(run_of(), throttled={"power_cap": 0.1}) == (["throttled"], [])


def test_a_machine_that_slows_down():
    def traces(slower_ms: float):
        return [
            make_trace(
                SLOW_WORDS,
                clip=f"c{i % 6}",
                order=i,
                spans=[("encoder", 2000, 2050 + slower_ms * i)],
            )
            for i in range(24)
        ]

    assert judged(traces(0)) == ([], [])
    assert judged(traces(1.5)) == ([], ["drift"])


def test_a_collector_pause_counts_only_inside_a_session():
    pause = ((T0_MS + 2050) * MS, (T0_MS + 2060) * MS)
    before = ((T0_MS - 900) * MS, (T0_MS - 890) * MS)

    assert judged(run_of(), gc_pauses_ns=(pause,)) == ([], ["gc_pause"])
    assert judged(run_of(), gc_pauses_ns=(before,)) == ([], [])


@pytest.mark.parametrize(
    ("begin_ms", "end_ms", "counts"),
    [
        (2050, 2051, True), (2050, 2050.9, False),
        (-900, 0, False), (-900, 1, True), (2260, 2300, False), (2259, 2300, True),
    ],
)  # fmt: skip
def test_a_pause_counts_from_a_millisecond_on_and_if_it_touches_any_session(
    begin_ms, end_ms, counts
):
    traces = run_of()  # from 0 to 2260 ms
    far = traces[0]
    session = replace(far.session, t0_ns=far.session.t0_ns + 9_000 * MS)
    traces[0] = replace(far, session=session, outcome=Ended(far.outcome.at_ns + 9_000 * MS))
    pause = (round((T0_MS + begin_ms) * MS), round((T0_MS + end_ms) * MS))
    assert ("gc_pause" in judged(traces, gc_pauses_ns=(pause,))[1]) == counts


def test_a_machine_that_others_use():
    assert judged(run_of(), others_cpu=0.1) == ([], [])
    assert judged(run_of(), others_cpu=0.11) == ([], ["busy_machine"])


def test_text_that_comes_all_at_once_after_the_work_is_no_streaming():
    at_once = [(text, 2600) for text, _ in SLOW_WORDS]

    assert judged(run_of(tokens=at_once)) == ([], ["fake_streaming"])
    assert warned(run_of(tokens=at_once)) == (
        "fake_streaming: in 8 of 8 sessions all text came at once, after the work;"
        " judge response_ms; TTFT and gaps mean nothing here"
    )
    too_fast_to_tell = [(text, 2001) for text, _ in SLOW_WORDS]
    assert judged(run_of(tokens=too_fast_to_tell)) == ([], [])


FOUR = ("it", " was", " the", " best")


def said_from(first_ms, last_ms, words=FOUR):
    """All but the last word at the first instant."""
    return [(word, 2000 + (last_ms if word == words[-1] else first_ms)) for word in words]


@pytest.mark.parametrize(
    ("tokens", "fake"),
    [
        (said_from(491, 500), True), (said_from(490, 500), False),  # 2 % of the wait
        (said_from(20, 20), True), (said_from(19.9, 19.9), False),
        (said_from(491, 500, FOUR[:3]), False),
        ([("it was the best", 2500)], True), ([("it was the", 2500)], False),  # one piece
    ],
)  # fmt: skip
def test_what_is_all_at_once(tokens, fake):
    assert judged(run_of(tokens=tokens)) == ([], ["fake_streaming"] if fake else [])


def test_most_sessions_must_be_fake_and_failed_ones_do_not_say():
    fake, real = run_of(tokens=said_from(491, 500)), run_of()
    failed = run_of(failed="timeout")
    assert "fake_streaming" not in judged([*fake[:4], *real[:4]])[1]
    assert "fake_streaming" in judged([*fake[:5], *real[:4]])[1]
    assert "fake_streaming" in judged([*fake[:5], *real[:4], *failed[:1]])[1]


def test_text_that_comes_after_all_audio_is_no_live_streaming():
    one_by_one = [(text, 2010 + 40 * k) for k, (text, _) in enumerate(SLOW_WORDS)]
    during = [(text, 1990 + 40 * k) for k, (text, _) in enumerate(SLOW_WORDS)]
    as_it_ends = [(text, at - 10) for text, at in one_by_one]

    assert warned(run_of(tokens=one_by_one, kind=SessionKind.LIVE)) == (
        "fake_streaming: in 8 of 8 sessions the engine gave no text before the end of the audio;"
        " judge final_ms, or replay longer sessions; TTFT and word delays may only tell how long"
        " the audio is"
    )
    assert judged(run_of(tokens=during, kind=SessionKind.LIVE)) == ([], [])
    assert judged(run_of(tokens=as_it_ends, kind=SessionKind.LIVE)) == ([], ["fake_streaming"])


@pytest.mark.parametrize("chunking", [Words(1), Words(6), Tokens(), Sentences()])
def test_one_piece_after_all_audio_is_no_live_streaming_under_any_chunking(chunking):
    in_one_piece = [("It was the best of times.", 2030)]
    traces = run_of(tokens=in_one_piece, kind=SessionKind.LIVE, chunking=chunking)
    assert "fake_streaming" in judged(traces)[1]


def early(**more):
    return run_of(tokens=[(text, 1500 + 40 * k) for k, (text, _) in enumerate(SLOW_WORDS)], **more)


def test_text_before_the_turn_ended_makes_a_run_invalid_unless_its_gate_allows_it():
    assert judged(early())[0] == ["impossible_speed"]
    assert judged(early(), allow=("impossible_speed",)) == ([], ["impossible_speed"])
    assert not_allowed(("impossible_speed: x", "stopped: y"), ["impossible_speed", "stopped"]) == (
        "stopped: y",
    )
    late = [*[0.0] * 50, 300.0, *[0.0] * 49]
    assert judged(early(watchdog_late_ms=late), allow=("impossible_speed", "stopped"))[0] == [
        "stopped"
    ]


def test_gaps_that_are_the_engines_step():
    spoken = [(text, 300 + 80 * k) for k, (text, _) in enumerate(SLOW_WORDS)]

    assert judged(run_of(tokens=spoken, kind=SessionKind.LIVE), cadence_ms=80)[1] == [
        "cadence_floor"
    ]
    assert judged(run_of(tokens=spoken, kind=SessionKind.LIVE))[1] == []


@pytest.mark.parametrize(
    ("gap_ms", "cadence_ms", "found"),
    [(120, 80, []), (119, 80, ["cadence_floor"]), (30, None, []), (29, None, ["cadence_floor"]),
     (29, 10, ["cadence_floor"])],
)  # fmt: skip
def test_the_longer_of_step_and_frame_is_the_cadence(gap_ms, cadence_ms, found):
    spoken = [(f"w{k} ", 300 + gap_ms * k) for k in range(5)]
    silent = make_trace([], clip="silent", reference="it", ended_ms=2010, kind=SessionKind.LIVE)
    traces = [silent, *run_of(tokens=spoken, kind=SessionKind.LIVE, frame_ms=20)]
    assert judged(traces, cadence_ms=cadence_ms) == ([], found)


def test_every_check_names_a_remedy():
    for check in CHECKS:
        assert check.remedy
    traces = run_of(late_ms=50)
    (text,), _ = check_validity(traces, [clip_metrics(t) for t in traces], RunFacts(planned=8))
    assert text == (
        "late_replay: p50 50.0 ms, p99 50.0 ms late, at most 5 / 20 ms;"
        " leave the machine to the run, lower replay.streams or engine.threads"
    )
