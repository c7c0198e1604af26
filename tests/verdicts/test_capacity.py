"""The search for capacity, against queues whose capacity is known."""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator

import msgspec
import pytest
from conftest import make_clip
from hypothesis import given
from hypothesis import strategies as st

from harness.chunking import Words
from harness.clock import NS_PER_MS, VirtualWorld, World
from harness.engines import EngineInfo, Listener, Reference, Samples
from harness.errors import ConfigError, UsageError
from harness.events import SessionKind, Trace
from harness.metrics import ClipMetrics
from harness.metrics.latency import send_lateness_ms, ttft_ms
from harness.replay import Planned, ReplayArm, arrivals_ns, replay
from harness.runs.validity import RunFacts, check_validity
from harness.session import LEAD_NS, Pacing
from harness.verdicts.capacity import (
    BAD,
    GOOD,
    INVALID,
    UNDECIDED,
    CapacityAnswer,
    Look,
    Search,
    counted,
    look_at,
    make_point,
    parse_objectives,
    require_measured,
    sessions_to_replay,
)
from harness.verdicts.rules.goodput import is_good

CLIP_S = 1.0


class QueueEngine:
    """One worker that serves one utterance after the other, ``service_ms`` each."""

    info = EngineInfo(model="queue", kinds=(SessionKind.TURN,))

    def __init__(self, world: World, service_ms: float) -> None:
        self._world = world
        self._service_ns = round(service_ms * NS_PER_MS)
        self._worker = world.timeline("queue", costs=False)

    def open(self, listener: Listener, reference: Reference | None = None) -> QueueEngine.Stream:
        listener.ready()
        return self.Stream(self, listener)

    def close(self) -> None:
        self._worker.stop()

    class Stream:
        def __init__(self, engine: QueueEngine, listener: Listener) -> None:
            self._engine, self._listener = engine, listener

        def feed(self, samples: Samples) -> None:
            pass

        def finish(self) -> None:
            self._engine._worker.call_soon(self._serve)

        def _serve(self) -> None:
            world = self._engine._world
            world.sleep_until_ns(world.now_ns() + self._engine._service_ns)
            self._listener.token("word")
            self._listener.ended()

        def close(self) -> None:
            pass


def metrics_of(trace: Trace) -> ClipMetrics:
    ttft = ttft_ms(trace)
    assert isinstance(ttft, float)
    return ClipMetrics(
        clip=trace.session.clip, repeat=trace.session.repeat, order=trace.session.order,
        lane=trace.session.lane, session="turn", duration_s=CLIP_S, reference="word",
        hypothesis="word", ttft_ms=ttft, send_lateness_ms=send_lateness_ms(trace),
    )  # fmt: skip


def take_look(service_ms: float, streams: int, objective: str, late_ms: float = 0.0) -> Look:
    """Replay with the queue, in virtual time, through the real measuring loop."""
    world = VirtualWorld()
    clip, traces = make_clip("word", CLIP_S), list[Trace]()
    pacing = Pacing(frame_ms=1000, kind=SessionKind.TURN, timeout_s=60, late_ms=late_ms)
    arm = ReplayArm(QueueEngine(world, service_ms), lambda: Words().chunker(), pacing)
    plan = [Planned(0, clip, i) for i in range(sessions_to_replay(streams, 40))]
    starts = arrivals_ns("staggered", streams, CLIP_S, seed=0)
    replay(world, [arm], plan, streams, lambda _planned, trace: traces.append(trace), 0, starts)
    clips = [metrics_of(trace) for trace in traces]
    validity, _ = check_validity(traces, clips, RunFacts(planned=len(plan), pace="virtual"))
    return look_at(streams, counted(clips, streams), validity, parse_objectives([objective], 0.95))


@pytest.fixture
def _no_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Collecting real garbage between sessions of virtual time takes most of a test."""
    monkeypatch.setattr("harness.replay.collect_garbage", lambda: None)


@pytest.mark.usefixtures("_no_garbage")
@pytest.mark.parametrize(("service_ms", "limit_ms"), [(100, 300), (700, 900)])
def test_the_search_finds_what_a_queue_can_serve(service_ms: float, limit_ms: float) -> None:
    """N streams in a loop of audio and service: once the worker is never idle, a round of all
    takes N * service, of which a session waits all but the time that its audio takes."""
    round_ms = limit_ms + CLIP_S * 1000 + LEAD_NS / NS_PER_MS
    capacity = int(round_ms // service_ms)
    search = Search(goal=0.95, confidence=0.9, most_streams=64, looks=4, points=14)
    while (streams := search.next_streams()) is not None:
        search.add(take_look(service_ms, streams, f"ttft_ms p95 <= {limit_ms} ms"))
    answer = search.answer()
    assert (answer.largest_good, answer.smallest_bad) == (capacity, capacity + 1)
    assert answer.complete
    assert answer.why == f"{capacity} streams meet the objectives, {capacity + 1} do not"


@pytest.mark.usefixtures("_no_garbage")
def test_a_late_driver_makes_a_point_invalid_not_bad() -> None:
    look = take_look(100, 4, "ttft_ms p95 <= 300 ms", late_ms=400)
    assert look.invalid.startswith("late_replay")
    assert not any(look.good)  # a slow system would look the same: so it must not be judged
    point = make_point([look], 0.95, 0.01)
    assert (point.status, point.sessions, point.interval) == (INVALID, 0, None)


# --- noise ----------------------------------------------------------------------------------------


def jittered_queue(streams: int, seed: str, sessions: int | None = None) -> Look:
    """The same loop with random audio and service: each look is another draw."""
    drawn = random.Random(seed)  # noqa: S311 not a secret
    sessions = sessions or sessions_to_replay(streams, 60)
    waiting = [(i / streams, i) for i in range(streams)]  # (end of audio, place in the plan)
    free_s, met = 0.0, [False] * (sessions + streams)
    for begun in range(streams, sessions + streams):
        end_s, order = heapq.heappop(waiting)
        free_s = max(free_s, end_s) + drawn.uniform(0.05, 0.15)
        met[order] = free_s - end_s <= 0.3
        heapq.heappush(waiting, (free_s + drawn.uniform(0.7, 1.3), begun))
    return Look(streams=streams, good=tuple(met[streams : sessions - streams]))


def test_the_answer_covers_the_truth_as_often_as_it_says() -> None:
    capacity = 7
    truth = [jittered_queue(n, "truth", 40_000).good for n in (capacity, capacity + 1)]
    shares = [sum(good) / len(good) for good in truth]
    assert shares[0] > 0.96 > 0.95 > shares[1]  # 0.968 and 0.946: a shallow knee

    def answer(seed: int) -> CapacityAnswer:
        search, looks = _search(), 0
        while (streams := search.next_streams()) is not None:
            search.add(jittered_queue(streams, f"{seed}/{looks}"))
            looks += 1
        return search.answer()

    answers = [answer(seed) for seed in range(100)]
    covering = [(a.largest_good or 0) <= capacity < (a.smallest_bad or 1_000_000) for a in answers]
    assert sum(covering) >= 95
    bounded = [a for a in answers if a.largest_good and a.smallest_bad]
    assert len(bounded) >= 90  # and it does not cover by saying nothing
    widths = sorted((a.smallest_bad or 0) - (a.largest_good or 0) for a in bounded)
    assert widths[len(widths) // 2] <= 6


def _search(most: int = 64) -> Search:
    return Search(goal=0.95, confidence=0.95, most_streams=most, looks=4, points=16)


def sharp(capacity: int, streams: int, *, invalid_from: int = 1_000_000) -> Look:
    invalid = "late_replay: p99 80 ms late" if streams >= invalid_from else ""
    return Look(streams=streams, good=(streams <= capacity,) * 60, invalid=invalid)


def run_search(search: Search, capacity: int, invalid_from: int = 1_000_000) -> Iterator[int]:
    while (streams := search.next_streams()) is not None:
        search.add(sharp(capacity, streams, invalid_from=invalid_from))
        yield streams


@given(capacity=st.integers(0, 70), most=st.integers(1, 64))
def test_a_sharp_knee_is_found_from_any_range(capacity: int, most: int) -> None:
    search = _search(most)
    looked = list(run_search(search, capacity))
    answer = search.answer()
    assert answer.complete
    assert answer.largest_good == (min(capacity, most) or None)
    assert answer.smallest_bad == (capacity + 1 if capacity < most else None)
    assert max(looked) <= most
    assert max(map(looked.count, looked)) <= 4
    assert len(set(looked)) <= 16


def test_the_way_doubles_and_halves_and_only_its_end_is_looked_at_again() -> None:
    assert list(run_search(_search(), 11)) == [1, 2, 4, 8, 16, 12, 10, 11, 11, 11]


def test_where_the_replay_is_late_the_answer_is_open_above() -> None:
    search = _search()
    looked = list(run_search(search, 40, invalid_from=10))
    answer = search.answer()
    assert (answer.largest_good, answer.smallest_bad, answer.complete) == (9, None, False)
    assert "10 the harness itself was at fault (late_replay" in answer.why
    assert looked.count(10) == 4  # perhaps the machine was only busy


def test_one_late_look_does_not_spoil_a_point() -> None:
    late, fine = sharp(9, 4, invalid_from=4), sharp(9, 4)
    point = make_point([late, fine, fine, fine], 0.95, 0.001)
    assert (point.status, point.looks, point.sessions) == (GOOD, 4, 180)


def test_what_the_budget_cannot_decide_is_left_open() -> None:
    search = _search()
    while (streams := search.next_streams()) is not None:
        search.add(Look(streams=streams, good=((True,) * 19 + (False,)) * 3))  # 95 % everywhere
    answer = search.answer()
    assert (answer.largest_good, answer.smallest_bad, answer.complete) == (None, None, False)
    assert {point.status for point in search.points} == {UNDECIDED}


# --- points ---------------------------------------------------------------------------------------


def test_sessions_that_queue_together_count_for_less() -> None:
    apart = Look(streams=5, good=((True,) * 4 + (False,)) * 20)
    together = Look(streams=5, good=((True,) * 20 + (False,) * 5) * 4)
    assert make_point([apart], 0.6, 0.01).status == GOOD
    point = make_point([together], 0.6, 0.01)
    assert (point.sessions, point.good, point.status) == (100, 80, UNDECIDED)
    assert point.effect == pytest.approx(5, rel=0.1)


def test_a_point_is_decided_by_its_whole_interval() -> None:
    def status(good: int, bad: int) -> str:
        look = Look(streams=1, good=(True,) * good + (False,) * bad)
        return make_point([look], 0.95, 0.05).status

    assert status(58, 0) == UNDECIDED
    assert status(59, 0) == GOOD  # 0.95**59 < 0.05
    assert status(20, 4) == BAD
    assert status(20, 3) == UNDECIDED


# --- sessions -------------------------------------------------------------------------------------

CLIP = ClipMetrics(
    clip="a", repeat=0, order=0, lane=0, session="turn", duration_s=1.0, reference="one two",
    hypothesis="one two", ttft_ms=100.0, gap_ms=(20.0,) * 19 + (500.0,),
    why_null={"word_delay_ms": "no word timings"},
)  # fmt: skip


@pytest.mark.parametrize(
    ("objectives", "changes", "good"),
    [
        (["ttft_ms p95 <= 100 ms"], {}, True),
        (["ttft_ms p95 <= 99 ms"], {}, False),
        (["ttft_ms p95 <= 100 ms"], {"failed": "refused"}, False),
        (["ttft_ms p95 <= 100 ms"], {"ttft_ms": None, "hypothesis": ""}, False),
        (["ttft_ms p95 <= 100 ms"], {"ttft_ms": None, "hypothesis": "", "reference": ""}, True),
        (["gap_ms p95 <= 20 ms"], {}, True),  # of its own 20 gaps, 19 are 20 ms
        (["gap_ms p99 <= 20 ms"], {}, False),
        (["gap_ms mean <= 43 ms"], {}, False),
        (["gap_ms p99 <= 20 ms"], {"gap_ms": ()}, True),
        (["gap_ms p99 <= 20 ms"], {"gap_ms": (), "hypothesis": " "}, False),
        (["gap_ms p99 <= 20 ms"], {"gap_ms": (), "hypothesis": "", "reference": ""}, True),
        (["ttft_ms p95 <= 100 ms", "gap_ms p99 <= 20 ms"], {}, False),
    ],
)
def test_a_good_session_meets_every_objective(
    objectives: list[str], changes: dict[str, object], good: bool
) -> None:
    clip = msgspec.structs.replace(CLIP, **changes)
    assert is_good(clip, parse_objectives(objectives, 0.95)) is good


@pytest.mark.parametrize(
    ("objectives", "says"),
    [
        ([], "one or more rules"),
        (["ttft_ms p50 <= 300 ms"], "p95: the share of capacity.goodput=0.95"),
        (["wer <= 0.1"], "no limit on the sessions' own figures"),
        (["failed = 0"], "no limit on the sessions' own figures"),
        (["ttft_ms p95 <= 300"], "the unit of ttft_ms"),
    ],
)
def test_objectives_that_no_session_can_keep_are_refused(objectives: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_objectives(objectives, 0.95)
    assert says in str(refused.value)


@pytest.mark.parametrize("goal", [0.9, 0.95, 0.99, 0.999])
def test_the_percentile_of_one_figure_a_session_is_the_goal(goal: float) -> None:
    (rule,) = parse_objectives([f"ttft_ms p{100 * goal:g} <= 300 ms"], goal)
    assert rule.high == 300


def test_an_objective_that_is_never_measured_is_refused() -> None:
    objectives = parse_objectives(["word_delay_ms p95 <= 500 ms"], 0.95)
    with pytest.raises(UsageError, match="no word timings"):
        require_measured([CLIP], objectives)
    require_measured([msgspec.structs.replace(CLIP, failed="refused")], objectives)


def test_sessions_count_while_all_streams_are_busy() -> None:
    clips = [msgspec.structs.replace(CLIP, order=order) for order in range(10, 0, -1)]
    assert [clip.order for clip in counted(clips, 3)] == [4, 5, 6, 7]
    for streams, least in ((1, 60), (8, 60), (64, 60)):
        sessions = sessions_to_replay(streams, least)
        assert sessions - 2 * streams == max(least, 5 * streams)
