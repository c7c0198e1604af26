"""Whisper's arithmetic, laid out for one utterance at a time.

The weights are those of ``WhisperForConditionalGeneration``; the arithmetic is that of
Radford et al. 2022, section 2.2, without a module's dispatch around every operation: a step of
tiny.en is 50 small operations, and what surrounds them would cost as much as they do.

Letters: n rows (positions in hand), T encoder positions, L layers, H heads, D numbers a head,
V vocabulary.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch.nn import functional as F  # noqa: N812 its usual name
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

from harness.engines.torch.decoding import KVCache

SAMPLE_RATE_HZ = 16_000
HOP_SAMPLES = 160  # 10 ms a mel frame
WINDOW_SAMPLES = 400  # 25 ms under each
FRAMES_PER_POSITION = 2  # the encoder's second convolution has stride 2: 20 ms a position
WINDOW_POSITIONS = 1500  # 30 s
WINDOW_S = 30.0
POSITIONS_PER_S = 50  # 20 ms each
SILENT_FRAMES = 8  # more than the two convolutions see at once: 7
# Libraries keep what they prepared for every shape they meet; so there are 30 of them, not 3000.
_SHAPE_FRAMES = 100

_onednn: Any = torch.ops.mkldnn  # what torch.compile itself calls; it has no public name
_FEW_ROWS = 8  # rows for which a product is bound by reading the weights


def has_packed_linear(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether oneDNN's packed linear is there for ``dtype``.

    torch has it on x86, not on macOS; for bfloat16 the processor needs AVX-512 (or AVX-NE-CONVERT).
    """
    if device.type != "cpu" or not hasattr(_onednn, "_linear_pointwise"):
        return False
    supported: bool = dtype == torch.float32 or _onednn._is_mkldnn_bf16_supported()  # noqa: SLF001
    return supported


class MelSpectrogram:
    """Log-mel features, equal to those of transformers' ``WhisperFeatureExtractor``.

    It pads every clip to 30 s. The frames of that silence all equal one another, so only those
    that overlap the clip are computed, and a few of the silence for whoever continues it.
    """

    def __init__(self, mels: int, device: torch.device) -> None:
        extractor = WhisperFeatureExtractor(mels)  # type: ignore[no-untyped-call]
        self._filters = torch.tensor(extractor.mel_filters.T, dtype=torch.float32, device=device)
        self._window = torch.hann_window(WINDOW_SAMPLES, device=device)

    def __call__(self, samples: torch.Tensor, frames: int) -> torch.Tensor:
        """Features [mels, f] of samples [n] and the silence after them.

        f is even and at most ``frames``; below it, the last ``SILENT_FRAMES`` are silence.
        """
        heard = math.ceil((len(samples) + WINDOW_SAMPLES / 2) / HOP_SAMPLES)
        heard = math.ceil(heard / _SHAPE_FRAMES) * _SHAPE_FRAMES
        kept = min(frames, heard + SILENT_FRAMES)
        # The end is reflected into the window of the last frame: one hop more keeps that silent.
        audio = F.pad(samples, (0, min(kept + 1, frames) * HOP_SAMPLES - len(samples)))
        spectrum = torch.stft(
            audio, WINDOW_SAMPLES, HOP_SAMPLES, window=self._window, return_complex=True
        )
        mel = self._filters @ spectrum[:, :kept].abs().square()
        log = mel.clamp(min=1e-10).log10()
        return (torch.maximum(log, log.max() - 8.0) + 4.0) / 4.0


class _Linear:
    """``x [n, in] -> x · weightᵀ + bias [n, out]``, by what is fast for n rows on a CPU.

    MKL's matrix-vector product reads weights at a third of the memory's bandwidth (measured on AMD
    EPYC); the same product as a batch of blocks of rows reads at all of it. For many rows oneDNN
    with its weights packed once is faster than MKL, and adds GELU or the residual on the way.
    Figures: ``docs/measurements.md``.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, *, packed: bool) -> None:
        """Args: packed: for inputs of one length; oneDNN keeps a product for every length.

        Where few rows have no faster way than oneDNN's (bfloat16), it is packed all the same.
        """
        self._weight, self._bias = weight, bias
        blocks = next(n for n in (4, 3, 2, 1) if len(weight) % n == 0)
        self._blocked = weight.device.type == "cpu" and weight.dtype == torch.float32
        self._weight_blocks = weight.view(blocks, -1, weight.shape[1])
        self._bias_blocks = bias.view(blocks, -1, 1)
        self._packed: torch.Tensor | None = None
        if (packed or not self._blocked) and has_packed_linear(weight.device, weight.dtype):
            self._packed = _onednn._reorder_linear_weight(  # noqa: SLF001
                weight, WINDOW_POSITIONS
            )

    def __call__(
        self, x: torch.Tensor, *, gelu: bool = False, plus: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Args: gelu: apply it to the product; plus: a residual to add to it; not both."""
        if len(x) <= _FEW_ROWS and self._blocked:
            columns = x.t().expand(len(self._weight_blocks), -1, -1)
            y = torch.baddbmm(self._bias_blocks, self._weight_blocks, columns)
            y = y.view(-1, len(x)).t().contiguous()
        elif self._packed is not None:
            return self._packed_product(self._packed, x, gelu=gelu, plus=plus)
        else:
            y = F.linear(x, self._weight, self._bias)
        if gelu:
            y = F.gelu(y)
        return y if plus is None else plus + y

    def _packed_product(
        self, packed: torch.Tensor, x: torch.Tensor, *, gelu: bool, plus: torch.Tensor | None
    ) -> torch.Tensor:
        product = _onednn._linear_pointwise  # noqa: SLF001
        y: torch.Tensor
        if plus is not None:
            y = product.binary(x, plus, packed, self._bias, "add")
        else:
            y = product(x, packed, self._bias, "gelu" if gelu else "none", [], "none")
        return y


class _Norm:
    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self._weight, self._bias = weight, bias

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, self._weight.shape, self._weight, self._bias)


class _Layer:
    """The parts that encoder and decoder layers share, and the decoder's cross attention."""

    def __init__(self, state: _State, prefix: str, *, cross: bool) -> None:
        linear = partial(state.linear, packed=not cross)
        self.attention_norm = state.norm(f"{prefix}.self_attn_layer_norm")
        self.qkv = linear(*(f"{prefix}.self_attn.{x}_proj" for x in "qkv"))
        self.attention_out = linear(f"{prefix}.self_attn.out_proj")
        if cross:
            self.cross_norm = state.norm(f"{prefix}.encoder_attn_layer_norm")
            self.cross_query = linear(f"{prefix}.encoder_attn.q_proj")
            self.cross_out = linear(f"{prefix}.encoder_attn.out_proj")
        self.mlp_norm = state.norm(f"{prefix}.final_layer_norm")
        self.fc1 = linear(f"{prefix}.fc1")
        self.fc2 = linear(f"{prefix}.fc2")

    def mlp(self, x: torch.Tensor) -> torch.Tensor:
        """With the residual."""
        return self.fc2(self.fc1(self.mlp_norm(x), gelu=True), plus=x)


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

    def linear(self, *names: str, packed: bool) -> _Linear:
        """Several projections of the same input as one; Whisper's keys have no bias."""
        weights = [self[f"{name}.weight"] for name in names]
        biases = [
            self[f"{name}.bias"]
            if f"{name}.bias" in self._tensors
            else weight.new_zeros(len(weight))
            for name, weight in zip(names, weights, strict=True)
        ]
        return _Linear(torch.cat(weights), torch.cat(biases), packed=packed)


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
            ),
            packed=True,
        )
        # (layer, head) that follow the audio; unknown ones: all of the upper half, as in OpenAI's.
        heads = getattr(model.generation_config, "alignment_heads", None) or [
            (layer, head)
            for layer in range(self.layers // 2, self.layers)
            for head in range(self.heads)
        ]
        self._alignment_heads = [
            torch.tensor(
                [head for at, head in heads if at == layer], dtype=torch.int64, device=device
            )
            for layer in range(self.layers)
        ]
        self._decoder_norm = state.norm("model.decoder.layer_norm")
        # [width, V]: one row times this is read at full bandwidth, times its transpose at a third.
        self._head = state["proj_out.weight"].t().contiguous()

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

    def encode(self, features: torch.Tensor, positions: int) -> torch.Tensor:
        """Features [mels, f] continued by their silence -> [positions, width].

        Below 1500 the encoder sees the first ``positions`` of its window and nothing after them.
        """
        x = features.to(self.dtype)[None]
        for stride, (weight, bias) in enumerate(self._conv, start=1):
            x = F.gelu(F.conv1d(x, weight, bias, stride=stride, padding=1))
        x = x[0].t()
        # All silence looks the same to the convolutions, but for the last position, at the edge.
        silence = x[-2:-1].expand(positions - len(x), -1)
        x = torch.cat((x[:-1], silence, x[-1:])) + self._encoder_positions[:positions]
        for layer in self._encoder:
            qkv = layer.qkv(layer.attention_norm(x)).view(len(x), 3, self._encoder_heads, -1)
            query, keys, values = qkv.permute(1, 2, 0, 3)[:, None]
            attended = F.scaled_dot_product_attention(query, keys, values)
            x = layer.mlp(layer.attention_out(_rows(attended), plus=x))
        return self._encoder_norm(x)

    def cross(self, encoded: torch.Tensor) -> torch.Tensor:
        """Keys and values of all layers over encoded [T, width]: [L, 2, 1, H, T, D]."""
        kv = self._cross_kv(encoded).view(len(encoded), self.layers, 2, 1, self.heads, -1)
        return kv.permute(1, 2, 3, 4, 0, 5).contiguous()

    def decode(
        self,
        tokens: torch.Tensor,
        cache: KVCache,
        cross: torch.Tensor,
        attention: list[torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Take tokens [n] after those in the cache; returns the last one's logits [V].

        n above 1 only into an empty cache.

        Args:
            attention: is given, layer by layer, where the last token's alignment heads look:
                [heads, T], each row a distribution over the encoder's positions.
        """
        n = len(tokens)
        x = self._embedding[tokens] + self._decoder_positions[cache.length : cache.length + n]
        for index, layer in enumerate(self._decoder):
            qkv = layer.qkv(layer.attention_norm(x)).view(n, 3, self.heads, -1)
            query, keys, values = qkv.permute(1, 2, 0, 3)[:, None]
            keys, values = cache.write(index, keys, values)
            attended = F.scaled_dot_product_attention(query, keys, values, is_causal=n > 1)
            x = layer.attention_out(_rows(attended), plus=x)
            query = layer.cross_query(layer.cross_norm(x)).view(n, self.heads, -1).transpose(0, 1)
            attended = F.scaled_dot_product_attention(query[None], *cross[index])
            if attention is not None and len(heads := self._alignment_heads[index]):
                scores = (
                    query[heads, -1:] @ cross[index][0, 0, heads].mT / math.sqrt(query.shape[2])
                )
                attention.append(scores[:, 0].softmax(dim=1))
            x = layer.mlp(layer.cross_out(_rows(attended), plus=x))
        cache.advance(n)
        return torch.mm(self._decoder_norm(x[-1:]), self._head)[0]


def _rows(attended: torch.Tensor) -> torch.Tensor:
    """[1, H, n, D] -> [n, H · D]"""
    return attended[0].transpose(0, 1).flatten(1)
