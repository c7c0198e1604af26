"""The same clips through Whisper here, and through ``serve`` and back: the text is the same."""

from __future__ import annotations

import numpy as np
import pytest

from harness.chunking import Words
from harness.datasets import ManifestDataset
from harness.datasets.load import load_dataset
from harness.engines import Engine, Samples
from harness.engines.remote import connect_realtime
from harness.engines.remote.options import RealtimeOptions
from harness.engines.torch.options import TorchOptions
from harness.engines.whisper.engine import WhisperModel, load_whisper
from harness.events import SessionKind, Trace
from harness.metrics.latency import clip_metrics
from harness.replay import Arm, Pacing, Planned, replay
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
        arm = Arm(client, lambda: Words(1).chunker(), pacing)
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
