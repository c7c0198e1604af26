"""Voxtral-Mini-3B on torch, in its transcription mode: turn sessions."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch

from harness.audio import RATE_HZ
from harness.clock import World
from harness.config import TorchEngine, VoxtralModel
from harness.decoding import TokenText, greedy_tokens
from harness.engines import Engine, EngineInfo, Listener, Reference, Samples, Stream
from harness.engines.cuda_graphs import StepOptions, step_errors, step_options
from harness.engines.local import Laps, LocalEngine, TurnStream, device_events, torch_device
from harness.engines.ring_cache import RingCache
from harness.engines.voxtral_net import BLOCK_SAMPLES, VoxtralNet, cache_shape
from harness.engines.voxtral_weights import END, Loaded, load_voxtral_weights
from harness.errors import ConfigError, DatasetError
from harness.events import SessionKind

_WARM_UP_TOKENS = 4  # prefill and some steps


def load_voxtral(model: VoxtralModel, engine: TorchEngine, world: World) -> Engine:
    """Voxtral, loaded and warm; returns when both are done.

    Raises:
        WeightsError, DeviceError, ConfigError: with the next step.
    """
    device, dtype = torch_device(engine)
    options = step_options(engine, device, live=False)

    def cache_bytes(config: Any) -> int:
        shape = cache_shape(config.text_config, _blocks(model), model.max_new_tokens)
        return RingCache.bytes_needed(**shape, dtype=dtype)

    loaded = load_voxtral_weights("voxtral", model, device, dtype, cache_bytes=cache_bytes)
    return VoxtralEngine(model, loaded, device, dtype, options, world)


def _blocks(model: VoxtralModel) -> int:
    """The most blocks of 30 s that an utterance may have."""
    return -(-round(model.max_audio_s * RATE_HZ) // BLOCK_SAMPLES)


class VoxtralEngine(LocalEngine):
    def __init__(
        self,
        model: VoxtralModel,
        loaded: Loaded,
        device: torch.device,
        dtype: torch.dtype,
        options: StepOptions,
        world: World,
    ) -> None:
        super().__init__(world, "voxtral")
        self._model = model
        self._loaded = loaded
        self._device = device
        self.info = EngineInfo(
            model=model.name,
            kinds=(SessionKind.TURN,),
            weights=loaded.weights,
            revision=loaded.revision,
            weights_sha256=loaded.sha256,
            random_weights=loaded.weights == "random",
            device=str(device),
            dtype=str(dtype).removeprefix("torch."),
            parameters=sum(p.numel() for p in loaded.model.parameters()),
            details={
                "threads": torch.get_num_threads(),
                "size": model.size,
                "decode": model.decode,
                "language": model.language,
                "max_new_tokens": model.max_new_tokens,
                "max_audio_s": model.max_audio_s,
                "cuda_graphs": options.cuda_graphs,
                "compile": options.compile,
            },
        )

        def load() -> VoxtralNet:
            if device.type == "cuda":
                torch.cuda.set_device(device)  # events and streams of this thread
            with step_errors():
                return VoxtralNet(
                    loaded,
                    blocks=_blocks(model),
                    new_tokens=model.max_new_tokens,
                    language=model.language,
                    device=device,
                    dtype=dtype,
                    options=options,
                )

        self._net = self.run_on_worker(load)
        self.run_on_worker(self._warm_up)

    def open(self, listener: Listener, reference: Reference | None = None) -> Stream:
        """Raises: ConfigError: forced decoding without a reference, or with too long a one."""
        forced = self._forced(reference) if self._model.decode == "forced" else None
        return self.add(
            TurnStream(
                self._world,
                self._worker,
                listener,
                partial(self._transcribe, forced),
                device_events(self._device),
            )
        )

    def _forced(self, reference: Reference | None) -> torch.Tensor:
        if reference is None:
            raise ConfigError(
                "model.decode=forced needs the reference text of each clip",
                hint="model.decode=greedy",
            )
        tokens = [*self._loaded.encode(reference.text), END]
        if len(tokens) > self._model.max_new_tokens:
            raise ConfigError(
                "model.max_new_tokens is less than a reference has",
                value=self._model.max_new_tokens,
                hint=f"model.max_new_tokens={len(tokens)}",
            )
        return torch.tensor(tokens, device=self._device)

    # --- on the worker ------------------------------------------------------------------------

    def _warm_up(self) -> None:
        laps = Laps(self._world, lambda *_: None, self._world.now_ns())
        silence = np.zeros(RATE_HZ, np.float32)
        for _ in islice(self._transcribe(None, silence, laps), _WARM_UP_TOKENS):
            pass

    def _transcribe(
        self, forced: torch.Tensor | None, samples: Samples, laps: Laps
    ) -> Iterator[str]:
        if len(samples) > self._model.max_audio_s * RATE_HZ:
            raise DatasetError(
                "a clip is longer than model.max_audio_s",
                value=round(len(samples) / RATE_HZ, 2),
                allowed=f"at most {self._model.max_audio_s:g} s",
                hint="a larger model.max_audio_s, or cut the clip in its manifest",
            )
        net = self._net
        blocks = net.upload(samples)
        laps.launched("upload")
        net.features(blocks)
        laps.launched("features")
        net.encode(blocks)
        laps.launched("encoder")
        text = TokenText(self._loaded.token_bytes)
        decoder = _Utterance(net, blocks, laps)
        limit = self._model.max_new_tokens
        for token in greedy_tokens(decoder, end=(END,), limit=limit, forced=forced):
            laps.lap("host_read")
            yield text.push(token)
        if rest := text.flush():
            yield rest


class _Utterance:
    """One utterance's decoder (see ``harness.decoding.Decoder``)."""

    def __init__(self, net: VoxtralNet, blocks: int, laps: Laps) -> None:
        self._net, self._blocks, self._laps = net, blocks, laps

    def prefill(self) -> torch.Tensor:
        chosen = self._net.prefill(self._blocks)
        self._laps.launched("prefill")
        return chosen

    def step(self, token: torch.Tensor) -> torch.Tensor:
        chosen = self._net.step(token)
        self._laps.launched("decode")
        return chosen
