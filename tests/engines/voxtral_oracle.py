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
from harness.engines.torch.cuda_graphs import StepOptions
from harness.engines.torch.decoding import TokenText
from harness.engines.voxtral.net import VoxtralNet
from harness.engines.voxtral.tokenizer import (
    TINY_VOCABULARY,
    random_tokenizer,
    shipped_token_bytes,
    write_tokenizer,
)
from harness.engines.voxtral.weights import Loaded, random_config, random_model

CPU = torch.device("cpu")
RATE_HZ = 16_000
NEW_TOKENS = 24  # at most, after a prompt
EAGER = StepOptions(cuda_graphs=False, compile=False, batching=False)


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


def net_of(
    loaded: Loaded, *, blocks: int = 1, new_tokens: int = NEW_TOKENS, watch: bool = False
) -> VoxtralNet:
    """The 3B's computation on the CPU, step by step.

    Args:
        blocks: of 30 s, that an utterance may have.
        watch: keep the attention of the last step.
    """
    return VoxtralNet(
        loaded, blocks=blocks, new_tokens=new_tokens, language="en", device=CPU,
        dtype=torch.float32, options=EAGER, watch=watch,
    )  # fmt: skip


def generated(loaded: Loaded, inputs: Any, **how: Any) -> tuple[list[int], torch.Tensor]:
    """transformers' tokens after the prompt, and their logits [n, V].

    Args:
        how: of ``generate()``, such as ``max_new_tokens``.
    """
    with torch.inference_mode():
        output = loaded.model.generate(
            **inputs, do_sample=False, return_dict_in_generate=True, output_logits=True, **how
        )
    prompt = inputs.input_ids.shape[1]
    return output.sequences[0, prompt:].tolist(), torch.stack([x[0] for x in output.logits])


def generated_turn(
    loaded: Loaded, processor: Any, audio: Samples, new_tokens: int = NEW_TOKENS
) -> tuple[list[int], torch.Tensor]:
    """Of the 3B, asked to transcribe."""
    inputs = processor.apply_transcription_request(
        audio=[audio], model_id="tiny", language="en", sampling_rate=RATE_HZ, format=["wav"]
    )
    return generated(loaded, inputs, max_new_tokens=new_tokens)


def generated_live(
    loaded: Loaded, processor: Any, audio: Samples
) -> tuple[list[int], torch.Tensor]:
    """Of Realtime, to the end of the audio, which it gets at once."""
    inputs = processor(audio, return_tensors="pt", sampling_rate=RATE_HZ)
    steps = inputs.input_features.shape[-1] // 8 - inputs.input_ids.shape[1]
    return generated(loaded, inputs, max_new_tokens=steps, eos_token_id=None)


def text_of(loaded: Loaded, tokens: list[int]) -> str:
    text = TokenText(loaded.token_bytes)
    return "".join(map(text.push, tokens)) + text.flush()


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
