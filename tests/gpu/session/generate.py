"""Arms of transformers' eager ``generate()`` on the same weights: what our loops are compared with.

Its processor works on the CPU, inside the time to the first token.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers.generation.streamers import BaseStreamer

from harness.audio import RATE_HZ
from harness.clock import NS_PER_MS, NS_PER_S, frozen_gc
from harness.engines.torch.log_mel import HOP_SAMPLES, WINDOW_SAMPLES
from harness.engines.torch.worker import torch_device
from harness.engines.voxtral.tokenizer import Kind
from harness.engines.voxtral.weights import Loaded
from tests.engines.voxtral_oracle import processor
from tests.gpu.session.clips import TEXT, Clip, gaps_ms, make_clip
from tests.gpu.session.device import keep_memory, quantiles
from tests.gpu.session.engines import Way, load, step_weight_bytes, token_weight_bytes
from tests.gpu.session.results import WORLD, Record

_NS_PER_SAMPLE = NS_PER_S // RATE_HZ


class Stamps(BaseStreamer):
    """When each token was on the host. The prompt comes first and is not one."""

    def __init__(self) -> None:
        self.token_ns: list[int] = []
        self._prompt_seen = False

    def put(self, value: torch.Tensor) -> None:
        if self._prompt_seen:
            int(value.reshape(-1)[0])  # on the host, as with our loops
            self.token_ns.append(WORLD.now_ns())
        self._prompt_seen = True

    def end(self) -> None:
        pass


@dataclass(slots=True)
class Answer:
    """One session of ``generate()``."""

    began_ns: int
    token_ns: list[int]  # when each token was on the host
    given_ns: list[int] = field(default_factory=list)  # live: when each chunk's audio was there
    processor_ms: list[float] = field(default_factory=list)  # for each piece of audio


def generate(kind: Kind) -> Callable[[Record], None]:
    """An arm: first token and tokens of ``generate()``; live: lateness and steps."""

    def run(record: Record) -> None:
        _, loaded = load(kind, record)
        weight_bytes = token_weight_bytes if kind == "voxtral" else step_weight_bytes
        record.figure(step_gb=round(weight_bytes(loaded) / 1e9, 3))  # less its caches
        clip = make_clip(record.options.seconds)
        device, dtype = torch_device(Way().engine(record.options))
        with tempfile.TemporaryDirectory() as folder, frozen_gc():
            prepare = processor(kind, Path(folder), len(loaded.token_bytes))
            asked = _Asked(loaded, prepare, clip, device, dtype)
            (_keep_turns if kind == "voxtral" else _keep_live)(record, asked)
        keep_memory(record)
        record.phase("measured")

    return run


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a session of ``generate()`` needs."""

    loaded: Loaded
    processor: Any  # transformers' Voxtral...Processor
    clip: Clip
    device: torch.device
    dtype: torch.dtype


def _keep_turns(record: Record, asked: _Asked) -> None:
    first_ms: list[float] = []
    step_ms: list[float] = []
    processor_ms: list[float] = []
    for repeat in range(record.options.repeats):
        answer = _turn(asked)
        if repeat:
            first_ms.append((answer.token_ns[0] - answer.began_ns) / NS_PER_MS)
            step_ms += gaps_ms(answer.token_ns)
            processor_ms += answer.processor_ms
            record.figure(**quantiles("first", first_ms), **quantiles("step", step_ms))
            record.figure(**quantiles("processor", processor_ms))


def _keep_live(record: Record, asked: _Asked) -> None:
    step_ms: list[float] = []
    for repeat in range(2):
        answer = _live(asked, paced=False)
        if repeat:
            step_ms += gaps_ms(answer.token_ns)
            record.figure(**quantiles("step", step_ms))
    answer = _live(asked, paced=True)
    pairs = zip(answer.given_ns, answer.token_ns, strict=False)  # the last chunks have no token
    late_ms = [(token_ns - given_ns) / NS_PER_MS for given_ns, token_ns in pairs]
    record.figure(**quantiles("first", late_ms), **quantiles("processor", answer.processor_ms))


def _turn(asked: _Asked) -> Answer:
    stamps = Stamps()
    began_ns = WORLD.now_ns()
    inputs = asked.processor.apply_transcription_request(
        audio=[asked.clip.samples],
        model_id="v",
        language="en",
        sampling_rate=RATE_HZ,
        format=["wav"],
    )
    processor_ms = (WORLD.now_ns() - began_ns) / NS_PER_MS
    tokens = len(asked.loaded.encode(TEXT)) + 1  # as many as ours are given
    with torch.inference_mode():
        asked.loaded.model.generate(
            **inputs.to(asked.device, dtype=asked.dtype),
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            do_sample=False,
            streamer=stamps,
        )
    return Answer(began_ns, stamps.token_ns, processor_ms=[processor_ms])


def _live(asked: _Asked, *, paced: bool) -> Answer:
    first = asked.processor.num_samples_first_audio_chunk
    inputs = _process(asked, asked.clip.samples[:first], is_first=True)
    stamps = Stamps()
    answer = Answer(WORLD.now_ns(), stamps.token_ns)
    with torch.inference_mode():
        asked.loaded.model.generate(
            input_ids=inputs.input_ids.to(asked.device),
            input_features=_chunks(asked, inputs.input_features, answer, paced=paced),
            num_delay_tokens=inputs.num_delay_tokens,
            do_sample=False,
            eos_token_id=None,
            streamer=stamps,
        )
    return answer


def _chunks(
    asked: _Asked, features: torch.Tensor, answer: Answer, *, paced: bool
) -> Iterator[torch.Tensor]:
    """The features of each chunk, as transformers' documented loop makes them."""
    process = asked.processor
    mel_frames = process.num_mel_frames_first_audio_chunk
    begin, size = 0, process.num_samples_first_audio_chunk
    while begin + size <= len(asked.clip.samples):
        there_ns = answer.began_ns + (begin + size) * _NS_PER_SAMPLE
        if paced:
            WORLD.sleep_until_ns(there_ns)
        if begin:
            began_ns = WORLD.now_ns()
            piece = asked.clip.samples[begin : begin + size]
            features = _process(asked, piece, is_first=False).input_features
            answer.processor_ms.append((WORLD.now_ns() - began_ns) / NS_PER_MS)
        answer.given_ns.append(there_ns if paced else WORLD.now_ns())
        yield features.to(asked.device, dtype=asked.dtype)
        begin = mel_frames * HOP_SAMPLES - WINDOW_SAMPLES // 2
        mel_frames += process.audio_length_per_tok
        size = process.num_samples_per_audio_chunk


def _process(asked: _Asked, samples: Any, *, is_first: bool) -> Any:
    return asked.processor(
        samples,
        is_streaming=True,
        is_first_audio_chunk=is_first,
        sampling_rate=RATE_HZ,
        return_tensors="pt",
    )
