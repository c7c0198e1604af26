"""How well the harness keeps its own time: frames sent when due, and scripted delays reported.

Goals on a quiet machine of 2 cores: one stream of 20 ms frames late by at most 0.3 ms (p50) and
3 ms (p99); 200 streams of 80 ms frames by at most 5 ms (p99); scripted TTFT and gaps reported
within 0.5 ms (p50) and 3 ms (p99) over at least 300 events.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from conftest import make_clip
from pytest_benchmark.fixture import BenchmarkFixture

from harness.chunking import Tokens
from harness.clock import RealWorld
from harness.engines import Engine, null, scripted
from harness.engines.scripted import ScriptedOptions
from harness.events import SessionKind, Trace
from harness.metrics.latency import clip_metrics
from harness.replay import Planned, ReplayArm, replay
from harness.session import Pacing
from harness.stats.estimates import percentile

pytestmark = pytest.mark.slow

MakeEngine = Callable[[RealWorld], Engine]


def replayed(
    make_engine: MakeEngine, *, frame_ms: float, streams: int, seconds: float, words: int = 5
) -> list[Trace]:
    """One session a stream, all at the same time, in real time."""
    world = RealWorld()
    engine = make_engine(world)
    pacing = Pacing(frame_ms=frame_ms, kind=SessionKind.TURN, timeout_s=30)
    arm = ReplayArm(engine, lambda: Tokens().chunker(), pacing)
    text = " ".join(f"word{i}" for i in range(words))
    clip = make_clip(text, seconds)
    kept: list[Trace] = []
    plan = [Planned(0, clip, repeat) for repeat in range(streams)]
    replay(world, [arm], plan, streams, lambda _planned, trace: kept.append(trace))
    engine.close()
    return kept


def tell(name: str, values: list[float], goals: dict[float, float]) -> dict[str, float]:
    """Print percentiles beside their goals; returns them for the benchmark's file."""
    figures = {f"p{100 * q:g}": percentile(values, q) for q in (0.5, 0.99)}
    figures["max"] = max(values)
    shown = ", ".join(
        f"p{100 * q:g} {percentile(values, q):.3f} ms (goal {goal:g})" for q, goal in goals.items()
    )
    print(f"\n{name}: {shown}, max {max(values):.2f} ms, n = {len(values)}")
    return figures


@pytest.mark.parametrize(
    ("frame_ms", "streams", "goals"),
    [(20, 1, {0.5: 0.3, 0.99: 3}), (80, 200, {0.99: 5})],
    ids=["1 stream of 20 ms", "200 streams of 80 ms"],
)
def test_send_lateness(
    benchmark: BenchmarkFixture, frame_ms: float, streams: int, goals: dict[float, float]
) -> None:
    traces = benchmark.pedantic(
        replayed, args=(null.NullEngine,), rounds=1,
        kwargs={"frame_ms": frame_ms, "streams": streams, "seconds": 20},
    )  # fmt: skip
    late = [ms for trace in traces for ms in clip_metrics(trace).send_lateness_ms]
    assert len(late) == streams * (20_000 / frame_ms + 1)  # every frame, and the end
    benchmark.extra_info |= tell(f"send lateness, {streams} x {frame_ms} ms", late, goals)


def test_scripted_delays_are_reported_as_they_were(benchmark: BenchmarkFixture) -> None:
    def make(world: RealWorld) -> Engine:
        return scripted.ScriptedEngine(ScriptedOptions(50, 20), world, SessionKind.TURN)

    traces: list[Trace] = []

    def run() -> None:
        for _ in range(10):
            traces.extend(replayed(make, frame_ms=20, streams=1, seconds=0.2, words=50))

    benchmark.pedantic(run, rounds=1)
    clips = [clip_metrics(trace) for trace in traces]
    errors = [abs(clip.ttft_ms - 50) for clip in clips if clip.ttft_ms is not None]
    errors += [abs(gap - 20) for clip in clips for gap in clip.gap_ms]
    assert len(errors) == 10 * 50
    benchmark.extra_info |= tell("scripted TTFT and gaps, error", errors, {0.5: 0.5, 0.99: 3})
