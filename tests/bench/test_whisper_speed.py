"""The embedded engine beside transformers' ``generate()`` and beside CTranslate2.

One process, the same clips, the same weights, the same number of threads, float32 against float32.
The arms take turns within a clip and change their order from round to round, so drift of the
machine hits each alike; what is reported is the ratio within a pair, with its interval.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

import numpy as np
import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from harness.clock import RealWorld
from harness.datasets import ManifestDataset
from harness.datasets.load import load_dataset
from harness.engines import Engine, Samples
from harness.engines.torch.options import TorchOptions
from harness.engines.whisper import WhisperModel
from harness.engines.whisper.engine import load_whisper
from harness.engines.whisper.weights import load_whisper_weights, packaged_model_folder
from tests.engines.listening import Heard

pytestmark = pytest.mark.slow

THREADS = 2
ROUNDS = 2  # of all clips


@dataclass(frozen=True)
class Answer:
    """One clip, one arm; instants in ms from the clip handed over."""

    token_ms: list[float]  # each token that carries text
    end_ms: float
    text: str


Arm = Callable[[Samples], Answer]


def _ours(engine: Engine) -> Arm:
    def run(samples: Samples) -> Answer:
        heard = Heard()
        stream = engine.open(heard)
        stream.feed(samples)
        began_ns = time.perf_counter_ns()
        stream.finish()
        heard.is_over.wait()
        ended_ns = time.perf_counter_ns()
        assert heard.error is None
        stamps = zip(heard.tokens, heard.token_ns, strict=True)
        token_ms = [(at_ns - began_ns) / 1e6 for text, at_ns in stamps if text]
        return Answer(token_ms, (ended_ns - began_ns) / 1e6, heard.text)

    return run


def _generate() -> Arm:
    from transformers import WhisperFeatureExtractor

    weights = load_whisper_weights("packaged")
    extractor = WhisperFeatureExtractor()

    class Streamer:
        """``put`` gets the prompt first, then each id; no text is decoded while timing."""

        def __init__(self) -> None:
            self.put_ns: list[int] = []

        def put(self, value: torch.Tensor) -> None:
            self.put_ns.append(time.perf_counter_ns())

        def end(self) -> None:
            pass

    def run(samples: Samples) -> Answer:
        streamer = Streamer()
        began_ns = time.perf_counter_ns()
        features = extractor(samples, sampling_rate=16_000, return_tensors="pt").input_features
        ids = weights.model.generate(features, streamer=streamer)[0].tolist()
        ended_ns = time.perf_counter_ns()
        token_ms = [(at_ns - began_ns) / 1e6 for at_ns in streamer.put_ns[1 : 1 + len(ids)]]
        text = b"".join(weights.token_bytes[index] for index in ids).decode()
        return Answer(token_ms, (ended_ns - began_ns) / 1e6, text)

    return run


def _ctranslate2() -> Arm:
    faster_whisper = pytest.importorskip("faster_whisper", reason="dependency group `bench`")
    model = faster_whisper.WhisperModel(
        str(packaged_model_folder()), device="cpu", compute_type="float32", cpu_threads=THREADS
    )

    def run(samples: Samples) -> Answer:
        began_ns = time.perf_counter_ns()
        segments, _ = model.transcribe(
            samples, language="en", beam_size=1, temperature=0.0, without_timestamps=True
        )
        texts, token_ms = [], []
        for segment in segments:  # all that its client sees: whole segments
            token_ms.append((time.perf_counter_ns() - began_ns) / 1e6)
            texts.append(segment.text)
        return Answer(token_ms, (time.perf_counter_ns() - began_ns) / 1e6, "".join(texts))

    return run


def _pairs(ours: Arm, other: Arm) -> list[tuple[Answer, Answer]]:
    """Every clip in every round, once by each, the first of them in turns."""
    clips = [clip.samples for clip in load_dataset(ManifestDataset()).clips]
    for samples in clips:
        ours(samples), other(samples)
    pairs = []
    for index in range(ROUNDS):
        for samples in clips:
            if index % 2:
                theirs = other(samples)
                pairs.append((ours(samples), theirs))
            else:
                mine = ours(samples)
                pairs.append((mine, other(samples)))
    return pairs


def _report(what: str, pairs: list[tuple[Answer, Answer]], of: Callable[[Answer], float]) -> float:
    """Prints both medians and the median ratio within pairs; returns the upper end of its 95 %."""
    ours, other = np.array([[of(mine), of(theirs)] for mine, theirs in pairs]).T
    ratios = ours / other
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(ratios, (2000, len(ratios))), axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    print(
        f"\n{what}: {np.median(ours):.1f} ms against {np.median(other):.1f} ms, "
        f"ratio {np.median(ratios):.2f} [{low:.2f}, {high:.2f}], n = {len(pairs)} pairs"
    )
    return float(high)


def _per_token_ms(answer: Answer) -> float:
    return median(b - a for a, b in pairwise(answer.token_ms))


def _first_ms(answer: Answer) -> float:
    return answer.token_ms[0]


def _end_ms(answer: Answer) -> float:
    return answer.end_ms


@pytest.fixture(scope="module")
def ours() -> Iterator[Arm]:
    engine = load_whisper(WhisperModel(), TorchOptions(threads=THREADS), RealWorld())
    yield _ours(engine)
    engine.close()


def test_beside_generate(ours: Arm, benchmark: BenchmarkFixture) -> None:
    pairs = benchmark.pedantic(_pairs, (ours, _generate()), rounds=1)
    assert all(mine.text == theirs.text for mine, theirs in pairs)
    assert _report("time per token beside generate()", pairs, _per_token_ms) <= 0.6
    assert _report("first token beside generate()", pairs, _first_ms) <= 0.9


def test_beside_ctranslate2(ours: Arm, benchmark: BenchmarkFixture) -> None:
    pairs = benchmark.pedantic(_pairs, (ours, _ctranslate2()), rounds=1)
    assert _report("first text beside CTranslate2", pairs, _first_ms) < 1.0
    assert _report("whole response beside CTranslate2", pairs, _end_ms) <= 1.2
