"""Voxtral Realtime as one step of 80 ms over many sessions, on buffers that never move.

In each step a session hands in 1280 new samples and takes out one token. The decoder's input is
the sum of two embeddings: that of its last token, and that of the audio of this step (8 mel frames
-> 4 encoder positions -> 1 embedding). It writes ``delay`` steps after it heard.

A session begins with 32 steps of silence and ``<s>``; its first 31 steps are the same for all and
are computed once. Step ``k`` of a session (0, 1, ...) is the decoder's position ``31 + k``. Its
last mel frame ends with sample ``1280 k + 40``: that much audio it waits for, and no more. The
convolutions look back 3 mel frames, so a step reads 2000 samples and carries no other state.

Shapes: R rows (sessions), n rows of one step, d width of the decoder, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.nn import functional

from harness.engines import Samples
from harness.engines.torch.cuda_graphs import Capturer, Step, StepOptions
from harness.engines.torch.log_mel import HOP_SAMPLES, MEL_BANDS, WINDOW_SAMPLES, LogMel
from harness.engines.torch.ring_cache import RingCache
from harness.engines.voxtral.layers import Stack
from harness.engines.voxtral.tokenizer import (
    BEGIN,
    LEFT_PAD_TOKENS,
    SAMPLES_PER_TOKEN,
    STREAMING_PAD,
)

STEP_SAMPLES = SAMPLES_PER_TOKEN  # 80 ms
LOOK_AHEAD_SAMPLES = 40  # half a window past the centre of a step's last frame, less its hop
RIGHT_PAD_TOKENS = 11  # after the audio, in addition to the delay: room for one long word
SHARED_STEPS = LEFT_PAD_TOKENS - 1  # the last step of silence already hears 40 samples of audio

_STEP_MEL_FRAMES = 8
_LOOK_BACK_MEL_FRAMES = 3  # conv 2 reads one frame back, each of them conv 1 two
ENCODER_POSITIONS = 4  # a step, after convolution with stride 2
WINDOW = WINDOW_SAMPLES + HOP_SAMPLES * (_STEP_MEL_FRAMES + _LOOK_BACK_MEL_FRAMES - 1)  # 2000
_LOUDEST = 1.5  # log10 of the power that features are scaled by; transformers' default for it

OWN = -1  # `given`: go on with the token that the row chose itself


def first_output_step(delay_tokens: int) -> int:
    """The step whose token is the first of the text: the prompt is heard by then."""
    return delay_tokens + 1


def samples_needed(step: int) -> int:
    """How much audio must be there before ``step`` can run."""
    return STEP_SAMPLES * step + LOOK_AHEAD_SAMPLES


def last_step(samples: int, delay_tokens: int) -> int:
    """The step after which an utterance of so many samples is done, right padding included."""
    return -(-samples // STEP_SAMPLES) + delay_tokens + RIGHT_PAD_TOKENS - 1


@dataclass(frozen=True, slots=True)
class _Steps:
    """The device work of one span of rows, captured where that was asked for."""

    features: Step
    encode: Step
    decode: dict[int, Step]  # by how many slots of the decoder's cache it reaches


class RealtimeModel:
    """One set of weights, R rows, and the step that advances any of them."""

    def __init__(
        self,
        model: Any,
        *,
        rows: int,
        delay_tokens: int,
        device: torch.device,
        dtype: torch.dtype,
        options: StepOptions,
    ) -> None:
        """
        Args:
            model: transformers' ``VoxtralRealtimeForConditionalGeneration``, on ``device``.
        """
        core = model.model
        self._embedder = core.audio_tower.embedder
        self._projector = core.multi_modal_projector
        self._token_embeddings: torch.Tensor = core.language_model.embed_tokens.weight.data
        self._head: torch.Tensor = model.lm_head.weight.data
        self._log_mel = LogMel(device, _LOUDEST)
        self._encoder = Stack(core.audio_tower)
        self._decoder = Stack(core.language_model, _delay_scales(core, delay_tokens, device, dtype))
        self._encoder_cache = _cache(
            core.audio_tower.config, rows, ENCODER_POSITIONS, device, dtype
        )
        self._decoder_cache = _cache(core.language_model.config, rows, 1, device, dtype)
        if options.compile:
            for part in (self._encoder, self._decoder, self._encoder_cache, self._decoder_cache):
                part.compile()

        width = self._token_embeddings.shape[1]
        pinned = device.type == "cuda"
        self._audio = torch.zeros(rows, WINDOW, device=device)
        self._audio_host = torch.zeros(rows, WINDOW, pin_memory=pinned)
        # Of each row: 1 if it takes part in the step, and the token to go on with, or OWN.
        self._control = torch.zeros(rows, 2, device=device, dtype=torch.long)
        self._control_host = torch.zeros(rows, 2, dtype=torch.long, pin_memory=pinned)
        self._mel = torch.zeros(
            rows, MEL_BANDS, _STEP_MEL_FRAMES + _LOOK_BACK_MEL_FRAMES, device=device, dtype=dtype
        )
        self._heard = torch.zeros(rows, 1, width, device=device, dtype=dtype)
        self._chosen = torch.zeros(rows, device=device, dtype=torch.long)
        self._chosen_host = torch.zeros(rows, dtype=torch.long, pin_memory=pinned)
        self.logits = torch.zeros(rows, self._head.shape[0], device=device, dtype=dtype)  # [R, V]
        self._copied = torch.cuda.Event() if pinned else None  # type: ignore[no-untyped-call]

        self._silence = self._shared_beginning(device, dtype)
        self._steps = self._capture(rows, options)

    # --- sessions ---------------------------------------------------------------------------

    def begin(self, row: int) -> None:
        """Start a session in ``row``; what was there is forgotten."""
        encoder, decoder = self._silence
        self._encoder_cache.restore(row, encoder)
        self._decoder_cache.restore(row, decoder)
        self._control_host[row, 0] = 0  # of a step that failed after it was staged

    def stage(self, row: int, audio: Samples, given: int) -> None:
        """Hand in what ``row`` needs for its next step.

        Args:
            audio: float32 [2000], up to the last sample that the step needs.
            given: the token that the decoder goes on with, or OWN.
        """
        self._audio_host.numpy()[row] = audio
        self._control_host.numpy()[row] = 1, given

    # --- one step: upload, features, encode, decode, read; on a GPU only `read` waits --------

    def upload(self, span: slice) -> None:
        self._audio[span].copy_(self._audio_host[span], non_blocking=True)
        self._control[span].copy_(self._control_host[span], non_blocking=True)

    def features(self, span: slice) -> None:
        self._steps[span.start, span.stop].features()

    def encode(self, span: slice) -> None:
        self._steps[span.start, span.stop].encode()

    def decode(self, span: slice, newest_step: int) -> None:
        """``newest_step``: of the rows in ``span`` that have taken the most steps."""
        reach = self._decoder_cache.reach(SHARED_STEPS + newest_step + 1)
        self._steps[span.start, span.stop].decode[reach]()

    def read(self, span: slice) -> list[int]:
        """The token that each row of ``span`` chose, on the host; the one wait of a step."""
        self._chosen_host[span].copy_(self._chosen[span], non_blocking=True)
        if self._copied is not None:
            self._copied.record()
            self._copied.synchronize()
        self._control_host[span, 0] = 0
        return self._chosen_host[span].tolist()

    def span_of(self, rows: list[int]) -> slice:
        """The adjacent rows that are stepped for ``rows``: one, or a power of two from row 0."""
        if len(rows) == 1 and (rows[0], rows[0] + 1) in self._steps:
            return slice(rows[0], rows[0] + 1)
        stop = next(stop for start, stop in self._steps if start == 0 and stop > max(rows))
        return slice(0, stop)

    # --- what runs on the device --------------------------------------------------------------

    def _features(self, span: slice) -> None:
        self._mel[span] = self._log_mel(self._audio[span]).to(self._mel.dtype)

    def _encode(self, span: slice) -> None:
        conv1, conv2 = self._embedder.conv1, self._embedder.conv2
        x = functional.gelu(functional.conv1d(self._mel[span], conv1.weight, conv1.bias))
        x = functional.gelu(functional.conv1d(x, conv2.weight, conv2.bias, stride=2))
        self._encode_embedded(span, x.transpose(1, 2))

    def _encode_embedded(self, span: slice, x: torch.Tensor) -> None:
        """``x``: after the convolutions, ``[n, 4, width of the encoder]``."""
        active = self._control[span, 0].bool()
        cache = self._encoder_cache
        place = cache.place(span, active, ENCODER_POSITIONS, cache.size)
        # Sums keep the order of numbers of their first part: all layers would have that of x.
        y = self._encoder(x.contiguous(), cache, place)
        cache.advance(span, active, ENCODER_POSITIONS)
        self._heard[span] = self._projector(y.flatten(1))[:, None]

    def _decode(self, span: slice, reach: int) -> None:
        active, given = self._control[span, 0].bool(), self._control[span, 1]
        cache = self._decoder_cache
        tokens = torch.where(given == OWN, self._chosen[span], given)
        x = functional.embedding(tokens, self._token_embeddings)[:, None] + self._heard[span]
        y = self._decoder(x, cache, cache.place(span, active, 1, reach))
        cache.advance(span, active, 1)
        logits = functional.linear(y[:, 0], self._head)
        self.logits[span] = logits
        self._chosen[span] = torch.where(active, logits.argmax(dim=-1), self._chosen[span])

    # --- loading ------------------------------------------------------------------------------

    def _shared_beginning(self, device: torch.device, dtype: torch.dtype) -> tuple[Any, Any]:
        """What every session's caches hold after ``<s>`` and the silence before the audio."""
        frames = SHARED_STEPS * _STEP_MEL_FRAMES
        silence = torch.zeros(1, WINDOW_SAMPLES + HOP_SAMPLES * (frames - 1), device=device)
        embedded = self._embedder(self._log_mel(silence).to(dtype))  # zeros to the left of it
        row = slice(0, 1)
        self._control[0, 0] = 1
        for step in range(SHARED_STEPS):
            self._control[0, 1] = BEGIN if step == 0 else STREAMING_PAD
            begin = step * ENCODER_POSITIONS
            self._encode_embedded(row, embedded[:, begin : begin + ENCODER_POSITIONS])
            self._decode(row, self._decoder_cache.reach(step + 1))
        self._control[0, 0] = 0
        return self._encoder_cache.snapshot(0), self._decoder_cache.snapshot(0)

    def _capture(self, rows: int, options: StepOptions) -> dict[tuple[int, int], _Steps]:
        """A step for each set of adjacent rows that can be asked for; no row takes part yet."""
        spans = [(row, row + 1) for row in range(rows)]
        if options.batching:
            spans += [(0, min(2**power, rows)) for power in range(1, (rows - 1).bit_length() + 1)]
        capture = Capturer(options).capture
        steps = {}
        for start, stop in spans:
            span = slice(start, stop)
            steps[start, stop] = _Steps(
                features=capture(partial(self._features, span)),
                encode=capture(partial(self._encode, span)),
                decode={
                    reach: capture(partial(self._decode, span, reach))
                    for reach in self._decoder_cache.reaches()
                },
            )
        return steps


def _cache(
    config: Any, rows: int, step: int, device: torch.device, dtype: torch.dtype
) -> RingCache:
    return RingCache(**cache_shape(config, rows, step), device=device, dtype=dtype)


def cache_shape(config: Any, rows: int, step: int) -> dict[str, int]:
    """What ``RingCache`` needs to know of an encoder's or decoder's configuration."""
    return {
        "layers": config.num_hidden_layers,
        "rows": rows,
        "heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "window": config.sliding_window,
        "step": step,
    }


def _delay_scales(
    core: Any, delay_tokens: int, device: torch.device, dtype: torch.dtype
) -> list[torch.Tensor]:
    """The delay's conditioning of each decoder layer, ``[d]``: constant, so computed once."""
    delay = torch.full((1,), delay_tokens, device=device, dtype=dtype)
    condition = core.time_embedding(delay)
    return [1 + layer.ada_rms_norm(condition) for layer in core.language_model.layers]
