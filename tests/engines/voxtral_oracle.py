"""Shared by the Voxtral tests: tiny random weights, speech-like noise, and transformers' answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import (
    VoxtralProcessor,
    VoxtralRealtimeFeatureExtractor,
    VoxtralRealtimeProcessor,
    WhisperFeatureExtractor,
)
from transformers.tokenization_mistral_common import MistralCommonBackend

from harness.clock import VirtualWorld
from harness.engines import Engine, Reference, Samples
from harness.engines.voxtral.tokenizer import (
    TINY_VOCABULARY,
    random_tokenizer,
    shipped_token_bytes,
    write_tokenizer,
)
from harness.engines.voxtral.weights import Loaded, random_config, random_model

CPU = torch.device("cpu")
RATE_HZ = 16_000


def noise(seconds: float, seed: int = 0) -> Samples:
    """Bursts of noise that survive 16 bits: transformers' Voxtral processor goes through WAV."""
    generator = np.random.default_rng(seed)
    count = round(seconds * RATE_HZ)
    loudness = np.abs(np.sin(np.arange(count) / 2500 + seed)) * 4000
    return (np.round(generator.normal(size=count) * loudness).clip(-32767, 32767) / 32768).astype(
        np.float32
    )


def tiny(kind: Any, head_dim: int = 16, **windows: int) -> Loaded:
    """Random weights, in which the sliding windows can be shrunk: ``audio=40, text=24``.

    Args:
        head_dim: of the decoder.
    """
    config = random_config(kind, "tiny")
    config.text_config.head_dim = head_dim
    for part, window in windows.items():
        getattr(config, f"{part}_config").sliding_window = window
    return Loaded(
        model=random_model(config, CPU, torch.float32),
        tokenizer=random_tokenizer(kind, TINY_VOCABULARY),
        token_bytes=shipped_token_bytes(TINY_VOCABULARY),
        weights="random",
        revision=None,
        sha256=None,
    )


def processor(kind: Any, folder: Path, vocabulary: int = TINY_VOCABULARY) -> Any:
    """transformers' processor, for the tiny tokenizer or one with more ids."""
    path = folder / "tekken.json"
    write_tokenizer(path, kind, vocabulary)
    tokenizer = MistralCommonBackend(path)
    if kind == "voxtral":
        return VoxtralProcessor(WhisperFeatureExtractor(feature_size=128), tokenizer)
    return VoxtralRealtimeProcessor(VoxtralRealtimeFeatureExtractor(), tokenizer)


class NoValueRead(TorchDispatchMode):
    """Fails on operations whose result the host must see: they cannot be captured on a GPU.

    To be used without ``inference_mode``, in which composite operations hide what they are made of.
    """

    _READS = ("_local_scalar_dense", "nonzero", "masked_select", "_unique2", "equal")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        assert name not in self._READS, f"{name} reads a value"
        return func(*args, **(kwargs or {}))


class Heard:
    """A listener that keeps what it is told, stamped with the world's time."""

    def __init__(self, world: VirtualWorld) -> None:
        self.world = world
        self.tokens: list[str] = []
        self.stamps_ns: list[int] = []
        self.spans: list[tuple[str, int, int]] = []
        self.shared_by: list[int] = []  # of each span
        self.outcome: str | None = None

    def ready(self) -> None:
        pass

    def token(self, text: str, at_ns: int | None = None, after_ns: int | None = None) -> None:
        self.tokens.append(text)
        self.stamps_ns.append(self.world.now_ns() if at_ns is None else at_ns)

    def span(self, name: str, start_ns: int, end_ns: int, shared_by: int = 1) -> None:
        assert self.outcome is None, "a span came after the end"
        self.spans.append((name, start_ns, end_ns))
        self.shared_by.append(shared_by)

    def ended(self) -> None:
        assert self.outcome is None
        self.outcome = "ended"

    def failed(self, error: str) -> None:
        assert self.outcome is None
        self.outcome = error

    @property
    def text(self) -> str:
        return "".join(self.tokens)


def replay(
    world: VirtualWorld,
    engine: Engine,
    clips: list[Samples],
    *,
    frame_ms: float = 20.0,
    begin_ms: list[float] | None = None,
    references: list[Reference | None] | None = None,
) -> list[Heard]:
    """Feed clips as they would be spoken, all at once or from ``begin_ms`` on; run to the end."""
    driver = world.timeline("driver", costs=False)
    heard = []
    frame = round(frame_ms * 16)
    for index, clip in enumerate(clips):
        listener = Heard(world)
        heard.append(listener)
        stream = engine.open(listener, references[index] if references else None)
        t0_ns = world.now_ns() + round((begin_ms[index] if begin_ms else 0) * 1e6)
        for start in range(0, len(clip), frame):
            piece = clip[start : start + frame]
            due_ns = t0_ns + (start + len(piece)) * 62_500
            driver.call_at(due_ns, lambda stream=stream, piece=piece: stream.feed(piece))
        driver.call_at(t0_ns + len(clip) * 62_500, stream.finish)
    world.run()
    return heard
