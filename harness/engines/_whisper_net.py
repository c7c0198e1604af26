"""Whisper's arithmetic, laid out for one utterance at a time.

The weights are those of ``WhisperForConditionalGeneration``; the arithmetic is that of
Radford et al. 2022, section 2.2, without a module's dispatch around every operation: a step of
tiny.en is 50 small operations, and what surrounds them would cost as much as they do.

Letters: n rows (positions in hand), T encoder positions, L layers, H heads, D numbers a head,
V vocabulary.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F  # noqa: N812 its usual name
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

from harness.decoding import KVCache

SAMPLE_RATE_HZ = 16_000
HOP_SAMPLES = 160  # 10 ms a mel frame
WINDOW_SAMPLES = 400  # 25 ms under each
FRAMES_PER_POSITION = 2  # the encoder's second convolution has stride 2: 20 ms a position
WINDOW_POSITIONS = 1500  # 30 s
WINDOW_S = 30.0
POSITIONS_PER_S = 50  # 20 ms each


class MelSpectrogram:
    """Log-mel features, equal to those of transformers' ``WhisperFeatureExtractor``.

    It pads every clip to 30 s. The frames of that silence are one constant, so only those that
    overlap the clip are computed.
    """

    def __init__(self, mels: int, device: torch.device) -> None:
        extractor = WhisperFeatureExtractor(mels)  # type: ignore[no-untyped-call]
        self._filters = torch.tensor(extractor.mel_filters.T, dtype=torch.float32, device=device)
        self._window = torch.hann_window(WINDOW_SAMPLES, device=device)

    def __call__(self, samples: torch.Tensor, frames: int) -> torch.Tensor:
        """Features [mels, frames] of samples [n] and silence after them; n at most frames · 160."""
        # Half a window of silence, plus as much again for the reflection at the end to mirror.
        padded = -(-(len(samples) + 240) // HOP_SAMPLES) * HOP_SAMPLES
        audio = F.pad(samples, (0, min(padded, frames * HOP_SAMPLES) - len(samples)))
        spectrum = torch.stft(
            audio, WINDOW_SAMPLES, HOP_SAMPLES, window=self._window, return_complex=True
        )
        power = spectrum[:, :-1].abs().square()
        mel = F.pad(self._filters @ power, (0, frames - power.shape[1]))
        log = mel.clamp(min=1e-10).log10()
        return (torch.maximum(log, log.max() - 8.0) + 4.0) / 4.0


class _Linear:
    """``x [n, in] -> x · weightᵀ + bias [n, out]``."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self._weight = weight.contiguous()
        self._bias = bias.contiguous()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self._weight, self._bias)


class _Norm:
    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self._weight, self._bias = weight, bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, self._weight.shape, self._weight, self._bias)


class _Layer:
    """The parts that encoder and decoder layers share, and the decoder's cross attention."""

    def __init__(self, state: _State, prefix: str, *, cross: bool) -> None:
        self.attention_norm = state.norm(f"{prefix}.self_attn_layer_norm")
        self.qkv = state.linear(*(f"{prefix}.self_attn.{x}_proj" for x in "qkv"))
        self.attention_out = state.linear(f"{prefix}.self_attn.out_proj")
        if cross:
            self.cross_norm = state.norm(f"{prefix}.encoder_attn_layer_norm")
            self.cross_query = state.linear(f"{prefix}.encoder_attn.q_proj")
            self.cross_out = state.linear(f"{prefix}.encoder_attn.out_proj")
        self.mlp_norm = state.norm(f"{prefix}.final_layer_norm")
        self.fc1 = state.linear(f"{prefix}.fc1")
        self.fc2 = state.linear(f"{prefix}.fc2")

    def mlp(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(F.gelu(self.fc1(self.mlp_norm(x))))


class _State:
    """A model's tensors by name, on the device and in the dtype of the engine."""

    def __init__(
        self, tensors: dict[str, torch.Tensor], device: torch.device, dtype: torch.dtype
    ) -> None:
        self._tensors = tensors
        self._device, self._dtype = device, dtype

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._tensors[name].to(self._device, self._dtype)

    def norm(self, name: str) -> _Norm:
        return _Norm(self[f"{name}.weight"], self[f"{name}.bias"])

    def linear(self, *names: str) -> _Linear:
        """Several projections of the same input as one; Whisper's keys have no bias."""
        weights = [self[f"{name}.weight"] for name in names]
        biases = [
            self[f"{name}.bias"]
            if f"{name}.bias" in self._tensors
            else weight.new_zeros(len(weight))
            for name, weight in zip(names, weights, strict=True)
        ]
        return _Linear(torch.cat(weights), torch.cat(biases))


class WhisperNet:
    """Encoder and decoder of one set of weights; holds no session."""

    def __init__(
        self, model: WhisperForConditionalGeneration, device: torch.device, dtype: torch.dtype
    ) -> None:
        config = model.config
        self.device, self.dtype = device, dtype
        self.heads: int = config.decoder_attention_heads
        self._encoder_heads: int = config.encoder_attention_heads
        self.layers: int = config.decoder_layers
        self.width: int = config.d_model
        self.positions: int = config.max_target_positions
        state = _State(model.state_dict(), device, dtype)

        self._conv = [
            (state[f"model.encoder.conv{i}.weight"], state[f"model.encoder.conv{i}.bias"])
            for i in (1, 2)
        ]
        self._encoder_positions = state["model.encoder.embed_positions.weight"]
        self._encoder = [
            _Layer(state, f"model.encoder.layers.{i}", cross=False)
            for i in range(config.encoder_layers)
        ]
        self._encoder_norm = state.norm("model.encoder.layer_norm")

        self._embedding = state["model.decoder.embed_tokens.weight"]
        self._decoder_positions = state["model.decoder.embed_positions.weight"]
        self._decoder = [
            _Layer(state, f"model.decoder.layers.{i}", cross=True) for i in range(self.layers)
        ]
        self._cross_kv = state.linear(
            *(
                f"model.decoder.layers.{i}.encoder_attn.{x}_proj"
                for i in range(self.layers)
                for x in "kv"
            )
        )
        self._decoder_norm = state.norm("model.decoder.layer_norm")
        self._head = state["proj_out.weight"]

    def new_cache(self) -> KVCache:
        """A cache for one session of these weights."""
        return KVCache(
            self.layers,
            self.heads,
            self._decoder_positions.shape[0],
            self._decoder_positions.shape[1] // self.heads,
            device=self.device,
            dtype=self.dtype,
        )

    def encode(self, features: torch.Tensor) -> torch.Tensor:
        """Features [mels, 2T] -> [T, width]; T below 1500 uses the first T positions."""
        x = features.to(self.dtype)[None]
        for stride, (weight, bias) in enumerate(self._conv, start=1):
            x = F.gelu(F.conv1d(x, weight, bias, stride=stride, padding=1))
        x = x[0].t() + self._encoder_positions[: x.shape[2]]
        for layer in self._encoder:
            qkv = layer.qkv(layer.attention_norm(x)).view(len(x), 3, self._encoder_heads, -1)
            query, keys, values = qkv.permute(1, 2, 0, 3)[:, None]
            x = x + layer.attention_out(_rows(F.scaled_dot_product_attention(query, keys, values)))
            x = x + layer.mlp(x)
        return self._encoder_norm(x)

    def cross(self, encoded: torch.Tensor) -> torch.Tensor:
        """Keys and values of all layers over encoded [T, width]: [L, 2, 1, H, T, D]."""
        kv = self._cross_kv(encoded).view(len(encoded), self.layers, 2, 1, self.heads, -1)
        return kv.permute(1, 2, 3, 4, 0, 5).contiguous()

    def decode(self, tokens: torch.Tensor, cache: KVCache, cross: torch.Tensor) -> torch.Tensor:
        """Take tokens [n] after those in the cache; returns the last one's logits [V].

        n above 1 only into an empty cache.
        """
        n = len(tokens)
        x = self._embedding[tokens] + self._decoder_positions[cache.length : cache.length + n]
        for index, layer in enumerate(self._decoder):
            qkv = layer.qkv(layer.attention_norm(x)).view(n, 3, self.heads, -1)
            query, keys, values = qkv.permute(1, 2, 0, 3)[:, None]
            keys, values = cache.write(index, keys, values)
            attended = F.scaled_dot_product_attention(query, keys, values, is_causal=n > 1)
            x = x + layer.attention_out(_rows(attended))
            query = layer.cross_query(layer.cross_norm(x)).view(n, self.heads, -1).transpose(0, 1)
            attended = F.scaled_dot_product_attention(query[None], *cross[index])
            x = x + layer.cross_out(_rows(attended))
            x = x + layer.mlp(x)
        cache.advance(n)
        return F.linear(self._decoder_norm(x[-1:]), self._head)[0]


def _rows(attended: torch.Tensor) -> torch.Tensor:
    """[1, H, n, D] -> [n, H · D]"""
    return attended[0].transpose(0, 1).flatten(1)
