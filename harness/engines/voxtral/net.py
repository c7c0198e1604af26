"""Voxtral-Mini-3B as four pieces of device work on buffers that never move.

An utterance goes through ``features``, ``encode`` and ``prefill`` once, then through ``step`` for
each further token. Audio is padded with silence to blocks of 30 s, the only length the encoder
takes; each block becomes 375 embeddings of the prompt
``<s>[INST][BEGIN_AUDIO][AUDIO] x 375 n[/INST]lang:en[TRANSCRIBE]``. The number of blocks is thus
the only shape there is, and everything can be captured once as CUDA graphs.

What a token attends to is computed only where it is asked for (``watch``), in the same captured
steps: a model without cross-attention looks at audio among the positions of its prompt.

Shapes: n blocks of 30 s, P positions of the prompt, d width of the decoder, V vocabulary.
"""

from __future__ import annotations

import io
from functools import partial
from typing import Any

import numpy as np
import soundfile
import torch
from mistral_common.protocol.transcription.request import TranscriptionRequest
from torch.nn import functional

from harness.audio import RATE_HZ
from harness.engines import Samples
from harness.engines.torch.cuda_graphs import Capturer, Step, StepOptions
from harness.engines.torch.log_mel import HOP_SAMPLES, MEL_BANDS, WINDOW_SAMPLES, LogMel
from harness.engines.torch.ring_cache import RingCache
from harness.engines.voxtral.layers import Stack
from harness.engines.voxtral.tokenizer import AUDIO
from harness.engines.voxtral.weights import Loaded

BLOCK_SAMPLES = 30 * RATE_HZ
BLOCK_EMBEDDINGS = 375
EMBEDDING_SAMPLES = BLOCK_SAMPLES // BLOCK_EMBEDDINGS  # 80 ms
_BLOCK_MEL_FRAMES = 3000
_PROMPT_TEXT_TOKENS = 64  # upper limit of prompt tokens that are not audio, for planning memory
_ROW = slice(0, 1)


def cache_shape(config: Any, blocks: int, new_tokens: int) -> dict[str, int]:
    """What ``RingCache`` needs to know; its window holds everything, so it never wraps."""
    return {
        "layers": config.num_hidden_layers,
        "rows": 1,
        "heads": config.num_key_value_heads,
        "head_dim": config.head_dim,
        "window": blocks * BLOCK_EMBEDDINGS + _PROMPT_TEXT_TOKENS + new_tokens,
        "step": 1,
    }


def transcription_prompt(tokenizer: Any, blocks: int, language: str | None) -> list[int]:
    """The prompt's ids, as mistral-common composes them."""
    silence = io.BytesIO()
    soundfile.write(silence, np.zeros(blocks * BLOCK_SAMPLES, np.float32), RATE_HZ, format="wav")
    silence.seek(0)
    request = {"model": "voxtral", "file": silence, "language": language}
    prompt: list[int] = tokenizer.encode_transcription(
        TranscriptionRequest.from_openai(request)
    ).tokens
    return prompt


class VoxtralNet:
    """One set of weights and the buffers of one utterance."""

    def __init__(
        self,
        loaded: Loaded,
        *,
        blocks: int,
        new_tokens: int,
        language: str | None,
        device: torch.device,
        dtype: torch.dtype,
        options: StepOptions,
        watch: bool = False,
    ) -> None:
        """
        Args:
            blocks: the most blocks of 30 s that an utterance has.
            new_tokens: the most tokens that an utterance gets, those that it is given included.
            watch: compute ``attention``.
        """
        core = loaded.model.model
        text_config = core.language_model.config
        self._audio_tower = core.audio_tower
        self._projector = core.multi_modal_projector
        self._token_embeddings: torch.Tensor = core.language_model.embed_tokens.weight.data
        self._head: torch.Tensor = loaded.model.lm_head.weight.data
        self._log_mel = LogMel(device, loudest=None)
        self._decoder = Stack(core.language_model)
        self._cache = RingCache(
            **cache_shape(text_config, blocks, new_tokens), device=device, dtype=dtype
        )
        if options.compile:
            self._decoder.compile()
            self._cache.compile()
        self._active = torch.ones(1, device=device, dtype=torch.bool)

        samples = blocks * BLOCK_SAMPLES
        self._audio_host = torch.zeros(1, samples, pin_memory=device.type == "cuda")
        self._audio = torch.zeros(1, samples, device=device)
        self._mel = torch.zeros(blocks, MEL_BANDS, _BLOCK_MEL_FRAMES, device=device, dtype=dtype)
        width = self._token_embeddings.shape[1]
        self._heard = torch.zeros(blocks * BLOCK_EMBEDDINGS, width, device=device, dtype=dtype)
        self._chosen = torch.zeros(1, device=device, dtype=torch.long)
        self.logits = torch.zeros(1, len(self._head), device=device, dtype=dtype)  # [1, V]
        self._watch = watch
        # Of the position that chose last, over the first 30 s of audio: the mean of all heads in
        # the upper half of the layers, as Whisper's where its alignment heads are not known.
        self.attention = torch.zeros(BLOCK_EMBEDDINGS, device=device)

        prompts = {
            count: transcription_prompt(loaded.tokenizer, count, language)
            for count in range(1, blocks + 1)
        }
        self._capture_steps(prompts, Capturer(options), device)
        self._length = 0  # positions of the utterance under way

    def _capture_steps(
        self, prompts: dict[int, list[int]], capturer: Capturer, device: torch.device
    ) -> None:
        """Every shape that an utterance may need, captured once.

        Args:
            prompts: blocks of 30 s -> the prompt's tokens.
        """
        self._audio_begin = prompts[1].index(AUDIO)
        capture = capturer.capture
        self._features: dict[int, Step] = {}
        self._encode: dict[int, Step] = {}
        self._prefill: dict[int, Step] = {}
        self._embedded: dict[int, torch.Tensor] = {}  # prompts [1, P, d], audio to be filled in
        for count, prompt in prompts.items():
            self._features[count] = capture(partial(self._run_features, count))
            self._encode[count] = capture(partial(self._run_encode, count))
            # Of the prompt only the audio changes: its text is embedded once. It is kept, because a
            # captured prefill reads its memory and does not hold it.
            ids = torch.tensor(prompt, device=device)
            self._embedded[count] = functional.embedding(ids, self._token_embeddings)[None]
            self._prefill[count] = capture(partial(self._run_prefill, count))
        self._steps = {
            reach: capture(partial(self._run_step, reach)) for reach in self._cache.reaches()
        }
        self._prompt_lengths = {count: len(prompt) for count, prompt in prompts.items()}

    def upload(self, samples: Samples) -> int:
        """Put the utterance on the device; returns how many blocks of 30 s it takes."""
        blocks = max(1, -(-len(samples) // BLOCK_SAMPLES))
        host = self._audio_host.numpy()[0, : blocks * BLOCK_SAMPLES]
        host[: len(samples)] = samples
        host[len(samples) :] = 0
        span = slice(blocks * BLOCK_SAMPLES)
        self._audio[:, span].copy_(self._audio_host[:, span], non_blocking=True)
        return blocks

    def features(self, blocks: int) -> None:
        self._features[blocks]()

    def encode(self, blocks: int) -> None:
        self._encode[blocks]()

    def prefill(self, blocks: int) -> torch.Tensor:
        """Take the prompt; returns the most likely first id, int64 [1], overwritten by steps."""
        self._length = self._prompt_lengths[blocks]
        self._prefill[blocks]()
        return self._chosen

    def step(self, token: torch.Tensor) -> torch.Tensor:
        """Take one id, int64 [1]; returns the most likely next one, in the same buffer."""
        if token is not self._chosen:
            self._chosen.copy_(token)
        self._length += 1
        self._steps[self._cache.reach(self._length)]()
        return self._chosen

    # --- what runs on the device --------------------------------------------------------------

    def _run_features(self, blocks: int) -> None:
        half = WINDOW_SAMPLES // 2  # frames are centred; of the last one only the front is needed
        audio = functional.pad(self._audio[:, : blocks * BLOCK_SAMPLES], (half, half), "reflect")
        mel = self._log_mel(audio[:, :-HOP_SAMPLES])[0]
        self._mel[:blocks] = mel.view(MEL_BANDS, blocks, _BLOCK_MEL_FRAMES).transpose(0, 1)

    def _run_encode(self, blocks: int) -> None:
        hidden = self._audio_tower(self._mel[:blocks]).last_hidden_state  # [n, 1500, encoder width]
        heard = self._projector(hidden.reshape(blocks * BLOCK_EMBEDDINGS, -1))
        self._heard[: blocks * BLOCK_EMBEDDINGS] = heard

    def _run_prefill(self, blocks: int) -> None:
        prompt = self._embedded[blocks]
        begin, end = self._audio_begin, self._audio_begin + blocks * BLOCK_EMBEDDINGS
        heard = self._heard[None, : blocks * BLOCK_EMBEDDINGS]
        x = torch.cat((prompt[:, :begin], heard, prompt[:, end:]), dim=1)
        self._cache.clear(0)
        self._decode(x, reach=0)

    def _run_step(self, reach: int) -> None:
        self._decode(functional.embedding(self._chosen, self._token_embeddings)[None], reach)

    def _decode(self, x: torch.Tensor, reach: int) -> None:
        new = x.shape[1]
        attention: list[torch.Tensor] | None = [] if self._watch else None
        place = self._cache.place(_ROW, self._active, new, reach)
        y = self._decoder(x, self._cache, place, attention)
        if attention is not None:  # a position's slot is its number: the cache never wraps
            audio = slice(self._audio_begin, self._audio_begin + BLOCK_EMBEDDINGS)
            self.attention.copy_(torch.cat(attention, dim=1)[0, :, audio].mean(dim=0))
        self._cache.advance(_ROW, self._active, new)
        self.logits.copy_(functional.linear(y[:, -1], self._head))
        self._chosen.copy_(self.logits.argmax(dim=-1))
