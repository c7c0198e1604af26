"""Whisper on torch: the embedded default engine (turn sessions).

An utterance's way: samples -> log-mel features -> encoder -> prompt -> one token at a time, each
handed to the listener the moment its id is on the host.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch

from harness.clock import World
from harness.engines import EngineInfo, Listener, Reference, Samples, Stream
from harness.engines.torch.cuda_graphs import use_device
from harness.engines.torch.decoding import KVCache, TokenText, greedy_tokens
from harness.engines.torch.options import TorchOptions
from harness.engines.torch.worker import Laps, LocalEngine, TurnStream, device_events, torch_device
from harness.engines.whisper import WhisperModel
from harness.engines.whisper.net import (
    FRAMES_PER_POSITION,
    POSITIONS_PER_S,
    SAMPLE_RATE_HZ,
    WINDOW_POSITIONS,
    WINDOW_S,
    MelSpectrogram,
    WhisperNet,
    has_packed_linear,
)
from harness.engines.whisper.weights import WhisperWeights, load_whisper_weights
from harness.engines.windows.policies import WindowToken
from harness.errors import ConfigError, DatasetError
from harness.events import SessionKind
from harness.languages.tags import language_of

_WARM_UP_TOKENS = 4  # prefill and some steps


def load_whisper(model: WhisperModel, engine: TorchOptions, world: World) -> WhisperEngine:
    """Whisper, loaded and warm; returns when both are done.

    Raises:
        WeightsError, DeviceError, ConfigError: with the next step.
    """
    device, dtype = torch_device(engine)
    weights = load_whisper_weights(model.weights, model.revision)
    return WhisperEngine(model, weights, device, dtype, world)


class WhisperEngine(LocalEngine):
    def __init__(
        self,
        model: WhisperModel,
        weights: WhisperWeights,
        device: torch.device,
        dtype: torch.dtype,
        world: World,
    ) -> None:
        super().__init__(world, "whisper")
        config, generation = weights.model.config, weights.model.generation_config
        prompt = _prompt(generation, model.language)
        self._pad_s = model.pad_s
        self._limit = min(model.max_new_tokens, config.max_target_positions - len(prompt))
        self._end = (generation.eos_token_id,)
        self.token_bytes = weights.token_bytes
        self._device = device
        self.world, self.worker, self.new_event = world, self._worker, device_events(device)
        self._mel = MelSpectrogram(config.num_mel_bins, device)
        self._net = WhisperNet(weights.model, device, dtype)
        self._cache = self._net.new_cache()
        self._choice = Choice(prompt, generation, device)
        self.info = EngineInfo(
            model=model.name,
            kinds=(SessionKind.TURN,),
            weights=weights.source,
            revision=weights.revision,
            weights_sha256=weights.sha256,
            device=str(device),
            dtype=str(dtype).removeprefix("torch."),
            parameters=weights.model.num_parameters(),
            details={
                "threads": torch.get_num_threads(),
                "pad_s": model.pad_s,
                "max_new_tokens": self._limit,
                "language": model.language,
                "packed_linear": has_packed_linear(device, dtype),
            },
        )
        self.run_on_worker(partial(use_device, device))
        self.run_on_worker(self._warm_up)

    def open(self, listener: Listener, reference: Reference | None = None) -> Stream:
        return self.add(
            TurnStream(self.world, self.worker, listener, self._transcribe, self.new_event)
        )

    def _warm_up(self) -> None:
        laps = Laps(self._world, lambda *_: None, self._world.now_ns())
        silence = np.zeros(SAMPLE_RATE_HZ, np.float32)
        for _ in islice(self._transcribe(silence, laps), _WARM_UP_TOKENS):
            pass

    def _transcribe(self, samples: Samples, laps: Laps) -> Iterator[str]:
        decoder = _Decoder(self._net, self._choice, self._cache, self._encode(samples, laps))
        text = TokenText(self.token_bytes)
        name = "prefill"
        for token in greedy_tokens(decoder, end=self._end, limit=self._limit):
            laps.lap(name)
            name = "decode"
            yield text.push(token)
        if rest := text.flush():
            yield rest

    def transcribe_window(
        self, samples: Samples, prefix: Sequence[int], laps: Laps, limit: int
    ) -> Iterator[WindowToken]:
        """The tokens that follow ``prefix``, with the instant in the audio that each attends to."""
        encoded = self._encode(samples, laps)
        decoder = _WindowDecoder(self._net, self._choice, self._cache, encoded, prefix)
        heard = max(1, math.ceil(len(samples) / SAMPLE_RATE_HZ * POSITIONS_PER_S))
        name = "prefill"
        limit = min(limit, self._limit - len(prefix))
        for token in greedy_tokens(decoder, end=self._end, limit=limit):
            attended_s = decoder.attended_position(heard) / POSITIONS_PER_S
            laps.lap(name)
            name = "decode"
            if token not in self._end:
                yield WindowToken(token, self.token_bytes[token], attended_s)

    def _encode(self, samples: Samples, laps: Laps) -> torch.Tensor:
        """Samples -> [positions, width]."""
        positions = self._window_positions(samples)
        samples_there = torch.from_numpy(samples).to(self._device)
        features = self._mel(samples_there, FRAMES_PER_POSITION * positions)
        laps.launched("features")
        encoded = self._net.encode(features, positions)
        laps.launched("encoder")
        return encoded

    def _window_positions(self, samples: Samples) -> int:
        """Encoder positions for the clip and the silence after it, at least one."""
        if len(samples) > WINDOW_S * SAMPLE_RATE_HZ:
            raise DatasetError(
                "a clip is too long for Whisper: seconds",
                value=round(len(samples) / SAMPLE_RATE_HZ, 2),
                allowed=f"at most {WINDOW_S:g}",
                hint="cut it at a pause, into several lines of the manifest",
            )
        wanted = math.ceil((len(samples) / SAMPLE_RATE_HZ + self._pad_s) * POSITIONS_PER_S)
        return max(1, min(wanted, WINDOW_POSITIONS))


class Choice:
    """The prompt of a session, and which id follows: ``generate()``'s greedy search."""

    def __init__(self, prompt: Sequence[int], generation: Any, device: torch.device):
        def ids(values: Sequence[int] | None) -> torch.Tensor:
            return torch.tensor(values or [], dtype=torch.int64, device=device)

        self.prompt = ids(prompt)
        self._never = ids(generation.suppress_tokens)
        self._never_first = ids(generation.begin_suppress_tokens)

    def first(self, logits: torch.Tensor) -> torch.Tensor:
        return self.next(logits.index_fill_(0, self._never_first, -torch.inf))

    def next(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits [V], which are changed -> id [1]."""
        return logits.index_fill_(0, self._never, -torch.inf).argmax(0, keepdim=True)


class _Decoder:
    """One utterance's decoder (see ``harness.engines.torch.decoding.Decoder``)."""

    def __init__(
        self, net: WhisperNet, choice: Choice, cache: KVCache, encoded: torch.Tensor
    ) -> None:
        cache.clear()
        self._net, self._choice, self._cache, self._encoded = net, choice, cache, encoded

    def prefill(self) -> torch.Tensor:
        self._cross = self._net.cross(self._encoded)
        return self._choice.first(self._net.decode(self._choice.prompt, self._cache, self._cross))

    def step(self, token: torch.Tensor) -> torch.Tensor:
        return self._choice.next(self._net.decode(token, self._cache, self._cross))


class _WindowDecoder(_Decoder):
    """One pass over a growing window: some of its text is known, and attention is watched."""

    def __init__(
        self,
        net: WhisperNet,
        choice: Choice,
        cache: KVCache,
        encoded: torch.Tensor,
        prefix: Sequence[int],
    ) -> None:
        super().__init__(net, choice, cache, encoded)
        self._prefix = torch.tensor(prefix, dtype=torch.int64, device=encoded.device)
        self._attention: list[torch.Tensor] = []  # of the last token: [heads, T] a layer

    def prefill(self) -> torch.Tensor:
        self._cross = self._net.cross(self._encoded)
        logits = self._decode(torch.cat((self._choice.prompt, self._prefix)))
        return self._choice.next(logits) if len(self._prefix) else self._choice.first(logits)

    def step(self, token: torch.Tensor) -> torch.Tensor:
        return self._choice.next(self._decode(token))

    def attended_position(self, heard: int) -> int:
        """Where the alignment heads look most, of the ``heard`` positions with audio."""
        return int(torch.cat(self._attention)[:, :heard].mean(dim=0).argmax())

    def _decode(self, tokens: torch.Tensor) -> torch.Tensor:
        self._attention = []
        return self._net.decode(tokens, self._cache, self._cross, self._attention)


def _language(name: str) -> str:
    """By today's tag: some of Whisper's own (``jw``) have been withdrawn."""
    try:
        return language_of({"jw": "jv"}.get(name, name))
    except ValueError:
        return name


def _prompt(generation: Any, language: str) -> list[int]:
    """The ids that ask for a transcript without time stamps, as ``generate()`` composes them."""
    prompt = [generation.decoder_start_token_id]
    if getattr(generation, "is_multilingual", False):
        named = {name.strip("<|>"): index for name, index in generation.lang_to_id.items()}
        languages = {_language(name): index for name, index in named.items()}
        if language not in languages:
            raise ConfigError(
                "config field model.language", value=language, allowed=", ".join(sorted(named))
            )
        prompt += [languages[language], generation.task_to_id["transcribe"]]
    elif language != "en":
        raise ConfigError(
            "config field model.language: these weights know English only",
            value=language,
            allowed="en",
        )
    if (no_timestamps := getattr(generation, "no_timestamps_token_id", None)) is not None:
        prompt.append(no_timestamps)
    return prompt
