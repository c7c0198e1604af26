"""The same clips through Whisper here, and through ``serve`` and back: the text is the same."""

from __future__ import annotations

import numpy as np
import pytest

from harness.config import ManifestDataset, RealtimeEngine, TorchEngine, WhisperModel
from harness.dataset import load_dataset
from harness.engines import Engine, Samples
from harness.engines.realtime import connect_realtime
from harness.engines.whisper import load_whisper
from tests.engines.listening import Heard

from .serving import WORLD, serving

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


def test_served_whisper_says_what_whisper_says() -> None:
    (clip,) = load_dataset(ManifestDataset(limit=1)).clips
    # The wire carries PCM16: here the same samples, so that tokens can be compared exactly.
    exact = (np.rint(clip.samples * 32768) / 32768).astype(np.float32)
    whisper = load_whisper(WhisperModel(), TorchEngine(threads=2), WORLD)
    with serving(whisper) as running:
        url = running.url("/v1/realtime")
        client = connect_realtime(
            RealtimeEngine(url=url, model="whisper_tiny_en", kind="turn"), WORLD
        )
        here, there = transcribe(whisper, exact), transcribe(client, exact)
        original = transcribe(whisper, clip.samples)
        client.close()
    assert here == there
    assert "".join(there) == "".join(original)
