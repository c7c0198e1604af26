"""The harness's own hot paths, each as a ratio to a fixed piece of Python timed beside it.

Absolute times differ between machines and hours; the ratio to a loop of plain Python, timed in the
same process just before, differs much less. ``hot_paths.json`` holds the committed ratios: a path
that has become more than ``TOLERANCE`` times slower fails.

    python -m pytest tests/bench/test_hot_paths.py --benchmark-only      compares
    UPDATE_HOT_PATHS=1 python -m pytest tests/bench/test_hot_paths.py --benchmark-only
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import pytest
from conftest import make_clip
from pytest_benchmark.fixture import BenchmarkFixture

from harness.chunking import Words, rechunk
from harness.clock import VirtualWorld
from harness.engines import scripted
from harness.engines.scripted import ScriptedOptions
from harness.events import SessionKind, Token, Trace
from harness.metrics.accuracy import _counted, char_edits, word_edits
from harness.metrics.latency import clip_metrics
from harness.recorder import Recorder
from harness.replay import Planned, ReplayArm, replay
from harness.session import Pacing
from harness.stats.bootstrap import Bootstrap, mean_of

pytestmark = pytest.mark.slow

COMMITTED = Path(__file__).with_name("hot_paths.json")
TOLERANCE = 2.0  # the same code on a shared machine was seen to vary by 1.4 within a minute


def reference() -> int:
    """What ratios are to: arithmetic, a call and a list, as Python code is made of."""
    return len([abs(i * i - 7) for i in range(20_000)])


def reference_s() -> float:
    times = []
    for _ in range(15):
        began = time.perf_counter()
        reference()
        times.append(time.perf_counter() - began)
    return median(times)


def tokens(count: int = 500) -> list[Token]:
    return [Token(text=f" word{i}", at_ns=i * 1000) for i in range(count)]


def replayed(words: int = 100, seconds: float = 10) -> Trace:
    world = VirtualWorld()
    engine = scripted.ScriptedEngine(ScriptedOptions(), world, SessionKind.TURN)
    pacing = Pacing(frame_ms=20, kind=SessionKind.TURN, timeout_s=60)
    arm = ReplayArm(engine, lambda: Words(1).chunker(), pacing)
    kept: list[Trace] = []
    clip = make_clip(" ".join(f"w{i}" for i in range(words)), seconds)
    replay(world, [arm], [Planned(0, clip, 0)], 1, lambda _planned, trace: kept.append(trace))
    return kept[0]


def receive_tokens() -> None:
    """What an engine's thread pays for 500 tokens: stamp, chunk, stamp, append."""
    world = VirtualWorld()
    recorder = Recorder(
        world, world.timeline("driver"), Words(1).chunker(),
        on_ready=lambda: None, on_done=lambda: None,
    )  # fmt: skip
    for token in TOKENS:
        recorder.token(token.text)


def measure_clip() -> None:
    """As of a clip whose text has not been seen before."""
    word_edits.cache_clear()
    char_edits.cache_clear()
    _counted.cache_clear()
    clip_metrics(TRACE)


TOKENS = tokens()
TRACE = replayed()
CLUSTERS = [list(np.random.default_rng(i).normal(400, 20, 3)) for i in range(40)]
PATHS: dict[str, Callable[[], object]] = {
    "receive 500 tokens": receive_tokens,
    "rechunk 500 tokens": lambda: rechunk(TOKENS, 10**9, Words(6)),
    "replay 10 s in 20 ms frames": replayed,
    "metrics of a clip": measure_clip,
    "bootstrap of a mean, 40 clips": lambda: Bootstrap(
        mean_of(CLUSTERS), len(CLUSTERS), "bca"
    ).interval(0.95),
}


@pytest.mark.parametrize("name", PATHS)
def test_hot_path(benchmark: BenchmarkFixture, name: str) -> None:
    unit_s = reference_s()
    benchmark.pedantic(PATHS[name], rounds=20, warmup_rounds=2)
    ratio = benchmark.stats.stats.median / unit_s
    committed = json.loads(COMMITTED.read_text(encoding="utf-8")) if COMMITTED.is_file() else {}
    if os.environ.get("UPDATE_HOT_PATHS"):
        committed[name] = round(ratio, 3)
        COMMITTED.write_text(
            json.dumps(committed, indent=1, sort_keys=True) + "\n", encoding="utf-8"
        )
        return
    benchmark.extra_info |= {"ratio": ratio, "committed": committed[name]}
    print(f"\n{name}: {ratio:.2f} of the reference loop, committed {committed[name]:.2f}")
    assert ratio <= TOLERANCE * committed[name]
