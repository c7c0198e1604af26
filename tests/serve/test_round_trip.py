"""The same clips through Whisper here, and through ``serve`` and back: the text is the same."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from harness.chunking import Words
from harness.config import Config, ReplayConfig
from harness.datasets import ManifestDataset
from harness.datasets.load import load_dataset
from harness.engines import Engine, Samples
from harness.engines.null import NullEngine
from harness.engines.remote import connect_realtime
from harness.engines.remote.options import RealtimeOptions
from harness.engines.sessions import LiveSession
from harness.engines.setting import NoModel
from harness.engines.torch.options import TorchOptions
from harness.engines.whisper import WhisperModel
from harness.engines.whisper.engine import load_whisper
from harness.events import SessionKind, Trace
from harness.experiments.plan import ArmPlan
from harness.experiments.run import Progress, run_arms
from harness.metrics.latency import clip_metrics
from harness.replay import Planned, ReplayArm, replay
from harness.runs.folder import load_run
from harness.session import Pacing
from tests.engines.listening import Heard

from .serving import WORLD, Spelling, make_clip, serving

pytestmark = pytest.mark.e2e


def transcribe(engine: Engine, samples: Samples) -> list[str]:
    heard = Heard()
    stream = engine.open(heard)
    for start in range(0, len(samples), 1280):
        stream.feed(samples[start : start + 1280])
    stream.finish()
    assert heard.is_over.wait(60)
    assert heard.error is None
    return heard.tokens


def test_the_budget_of_a_served_engine_closes() -> None:
    clip = make_clip("clip", "one two three")
    with serving(Spelling("one two three")) as running:
        url = running.url("/v1/realtime")
        client = connect_realtime(RealtimeOptions(url=url, model="spelling", kind="turn"), WORLD)
        pacing = Pacing(frame_ms=20, kind=SessionKind.TURN, timeout_s=60)
        arm = ReplayArm(client, lambda: Words(1).chunker(), pacing)
        found: list[Trace] = []
        replay(WORLD, [arm], [Planned(0, clip, 0)], 1, lambda _, trace: found.append(trace))
        client.close()
    metrics = clip_metrics(found[0])
    assert metrics.failed is None
    assert metrics.ttft_ms is not None
    assert metrics.budget_ms is not None
    assert sum(metrics.budget_ms.values()) == pytest.approx(metrics.ttft_ms)
    assert metrics.budget_ms["delivery"] > 0
    assert "decode" in metrics.budget_ms


def test_what_a_server_tells_of_its_engine_marks_the_run(tmp_path: Path) -> None:
    """Random weights have no error rate, and the model's delay is part of what none can beat."""
    engine = NullEngine(WORLD, SessionKind.LIVE)
    floors = []
    for name, told in (
        ("plain", {}),
        ("told", {"random_weights": True, "weights_sha256": "ab" * 32, "model_delay_ms": 480.0}),
    ):
        engine.info = msgspec.structs.replace(engine.info, **told)
        with serving(engine, kind=SessionKind.LIVE) as server:
            url = server.url("/v1/realtime")
            config = Config(
                model=NoModel(),
                engine=RealtimeOptions(url=url, model="null", kind="live"),
                dataset=ManifestDataset(clips=["07-heaven"]),
                session=LiveSession(),
                replay=ReplayConfig(repeats=1, warmup=0),
            )
            plan = ArmPlan(name=name, config=config, folder=tmp_path / name)
            (summary,) = run_arms([plan], Progress())
        engine = NullEngine(WORLD, SessionKind.LIVE)  # the server has closed the one before
        run = load_run(plan.folder)
        assert summary.failed == 0
        assert summary.random_weights is bool(told)
        assert (run.clips[0].wer is None) is bool(told)
        assert run.environment.model.weights_sha256 == told.get("weights_sha256")
        assert run.traces[0].session.model_delay_ms == told.get("model_delay_ms", 0)
        floors.append(run.clips[0].ttft_floor_ms)
    assert None not in floors
    assert floors[1] - floors[0] == pytest.approx(480)


@pytest.mark.slow
def test_served_whisper_says_what_whisper_says() -> None:
    (clip,) = load_dataset(ManifestDataset(limit=1)).clips
    # The wire carries PCM16: here the same samples, so that tokens can be compared exactly.
    exact = (np.rint(clip.samples * 32768) / 32768).astype(np.float32)
    whisper = load_whisper(WhisperModel(), TorchOptions(threads=1), WORLD)
    with serving(whisper) as running:
        url = running.url("/v1/realtime")
        client = connect_realtime(
            RealtimeOptions(url=url, model="whisper_tiny_en", kind="turn"), WORLD
        )
        here, there = transcribe(whisper, exact), transcribe(client, exact)
        original = transcribe(whisper, clip.samples)
        client.close()
    assert here == there
    assert "".join(there) == "".join(original)
