"""Voxtral-Mini-3B on torch, in its transcription mode: utterances, and windows of live sessions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Any

import msgspec
import numpy as np
import torch

from harness.audio import RATE_HZ
from harness.clock import World
from harness.engines import Listener, Reference, Samples, Stream
from harness.engines.torch.cuda_graphs import StepOptions, prepare, step_options
from harness.engines.torch.decoding import TokenText, greedy_tokens
from harness.engines.torch.options import TorchOptions
from harness.engines.torch.ring_cache import RingCache
from harness.engines.torch.worker import Laps, LocalEngine, TurnStream, device_events, torch_device
from harness.engines.voxtral import VoxtralModel
from harness.engines.voxtral.net import BLOCK_SAMPLES, EMBEDDING_SAMPLES, VoxtralNet, cache_shape
from harness.engines.voxtral.tokenizer import END
from harness.engines.voxtral.weights import Loaded, load_voxtral_weights
from harness.engines.windows.policies import WindowToken
from harness.errors import ConfigError, DatasetError
from harness.events import SessionKind

_WARM_UP_TOKENS = 4  # prefill and some steps


def load_voxtral(
    model: VoxtralModel, engine: TorchOptions, world: World, *, windows: bool = False
) -> VoxtralEngine:
    """Voxtral, loaded and warm; returns when both are done.

    Args:
        windows: for live sessions: it records its attention for ``transcribe_window``.

    Raises:
        WeightsError, DeviceError, ConfigError: with the next step.
    """
    if windows:
        _check_windows(model)
    device, dtype = torch_device(engine)
    options = step_options(engine, device, live=False)

    def cache_bytes(config: Any) -> int:
        shape = cache_shape(config.text_config, _blocks(model), model.max_new_tokens)
        return RingCache.bytes_needed(**shape, dtype=dtype)

    loaded = load_voxtral_weights("voxtral", model, device, dtype, cache_bytes=cache_bytes)
    return VoxtralEngine(model, loaded, device, dtype, options, world, windows=windows)


def _check_windows(model: VoxtralModel) -> None:
    if model.decode == "forced":
        raise ConfigError(
            "model.decode=forced is for session=turn: for the windows of a live session, the "
            "reference text is unknown",
            hint="model.decode=greedy, or session=turn",
        )
    block_s = BLOCK_SAMPLES / RATE_HZ
    if model.max_audio_s != block_s:
        raise ConfigError(
            "model.max_audio_s is for session=turn: a live session may have any length",
            value=model.max_audio_s,
            allowed=f"{block_s:g} in session=live",
            hint="leave model.max_audio_s out",
        )


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
        *,
        windows: bool = False,
    ) -> None:
        super().__init__(world, "voxtral")
        self._model = model
        self._loaded = loaded
        self._device = device
        self.world, self.worker, self.new_event = world, self._worker, device_events(device)
        self.token_bytes = loaded.token_bytes
        info = loaded.engine_info(model, SessionKind.TURN, device, dtype, options)
        own = {
            "language": model.language,
            "max_new_tokens": model.max_new_tokens,
            "max_audio_s": model.max_audio_s,
        }
        self.info = msgspec.structs.replace(info, details=info.details | own)
        make = partial(
            VoxtralNet,
            loaded,
            blocks=_blocks(model),
            new_tokens=model.max_new_tokens,
            language=model.language,
            device=device,
            dtype=dtype,
            options=options,
            watch=windows,
        )
        self._net = self.run_on_worker(partial(prepare, device, make))
        self.run_on_worker(partial(self._warm_up, windows=windows))

    def open(self, listener: Listener, reference: Reference | None = None) -> Stream:
        """Raises: ConfigError: forced decoding without a reference, or with too long a one."""
        forced = self._forced(reference) if self._model.decode == "forced" else None
        return self.add(
            TurnStream(
                self.world,
                self.worker,
                listener,
                partial(self._transcribe, forced),
                self.new_event,
            )
        )

    def _forced(self, reference: Reference | None) -> list[int]:
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
        return tokens

    # --- on the worker ------------------------------------------------------------------------

    def _warm_up(self, *, windows: bool) -> None:
        laps = Laps(self.world, lambda *_: None, self.world.now_ns(), self.new_event)
        silence = np.zeros(RATE_HZ, np.float32)
        tokens: Iterator[object] = self._transcribe(None, silence, laps)
        if windows:
            tokens = self.transcribe_window(silence, (), laps, _WARM_UP_TOKENS)
        for _ in islice(tokens, _WARM_UP_TOKENS):
            pass
        laps.resolve()

    def _transcribe(self, forced: list[int] | None, samples: Samples, laps: Laps) -> Iterator[str]:
        if len(samples) > self._model.max_audio_s * RATE_HZ:
            raise DatasetError(
                "a clip is longer than model.max_audio_s",
                value=round(len(samples) / RATE_HZ, 2),
                allowed=f"at most {self._model.max_audio_s:g} s",
                hint="a larger model.max_audio_s, or cut the clip in its manifest",
            )
        decoder = _Utterance(self._net, self._encode(samples, laps), laps)
        text = TokenText(self.token_bytes)
        limit = self._model.max_new_tokens
        # Made here, on the worker: the driver would wait for whatever the device is doing.
        known = None if forced is None else torch.tensor(forced, device=self._device)
        for token in greedy_tokens(decoder, end=(END,), limit=limit, forced=known):
            laps.lap("host_read")
            yield text.push(token)
        if rest := text.flush():
            yield rest

    def transcribe_window(
        self, samples: Samples, prefix: Sequence[int], laps: Laps, limit: int
    ) -> Iterator[WindowToken]:
        """The tokens that follow ``prefix``, with the instant in the audio that each attends to.

        ``samples`` are at most 30 s.
        """
        limit = min(limit, self._model.max_new_tokens - len(prefix))
        if limit < 1:
            return
        known = torch.tensor(prefix, dtype=torch.int64, device=self._device)[:, None]
        decoder = _Utterance(self._net, self._encode(samples, laps), laps, known)
        heard = max(1, math.ceil(len(samples) / EMBEDDING_SAMPLES))
        for token in greedy_tokens(decoder, end=(END,), limit=limit):
            position = int(self._net.attention[:heard].argmax())
            laps.lap("host_read")
            if token != END:
                attended_s = position * EMBEDDING_SAMPLES / RATE_HZ
                yield WindowToken(token, self.token_bytes[token], attended_s)

    def _encode(self, samples: Samples, laps: Laps) -> int:
        """Leaves the audio's embeddings in the net; returns how many blocks of 30 s they are."""
        blocks = self._net.upload(samples)
        laps.launched("upload")
        self._net.features(blocks)
        laps.launched("features")
        self._net.encode(blocks)
        laps.launched("encoder")
        return blocks


class _Utterance:
    """One utterance's decoder (see ``harness.engines.torch.decoding.Decoder``)."""

    def __init__(
        self, net: VoxtralNet, blocks: int, laps: Laps, prefix: Iterable[torch.Tensor] = ()
    ) -> None:
        """Args: prefix: ids that are known, int64 [1] each, taken after the prompt."""
        self._net, self._blocks, self._laps = net, blocks, laps
        self._prefix = prefix

    def prefill(self) -> torch.Tensor:
        chosen = self._net.prefill(self._blocks)
        for token in self._prefix:  # as steps, since theirs is the shape that was captured
            chosen = self._net.step(token)
        self._laps.launched("prefill")
        return chosen

    def step(self, token: torch.Tensor) -> torch.Tensor:
        chosen = self._net.step(token)
        self._laps.launched("decode")
        return chosen
