"""The transformer stack that Voxtral's decoder, Realtime's decoder and its encoder share.

Pre-norm, RMSNorm, rotary positions, grouped-query attention, SwiGLU. transformers' modules launch
some fifty kernels a layer, which costs more than reading the weights when one token is decoded; so
this is a lean forward pass over the same weights: projections that read the same input are one
matrix, norms are one kernel, and the keys and values of grouped heads are read once. The modules'
own parameters become views of the joined matrices: they go on working, on the same memory, and
``generate()`` on them is the oracle of the tests.

Shapes: n rows, T positions a row, d model width, H query heads, K key/value heads, D numbers a
head, W slots of the cache that are reached.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from harness.engines.torch.cuda_graphs import compiled, tuned
from harness.engines.torch.ring_cache import Place, RingCache, Room

Rotary = tuple[torch.Tensor, torch.Tensor]  # cosines and signed sines, each [n, T, 1, D]


class Block(NamedTuple):
    """The weights of one layer."""

    attention_norm: torch.Tensor  # [d]
    qkv: torch.Tensor  # [(H + 2K) D, d]
    qkv_bias: torch.Tensor | None
    out: torch.Tensor  # [d, H D]
    out_bias: torch.Tensor | None
    mlp_norm: torch.Tensor  # [d]
    gate_up: torch.Tensor  # [2 F, d]
    down: torch.Tensor  # [d, F]
    down_bias: torch.Tensor | None


class _Pieces(NamedTuple):
    """What a step runs, layer by layer; each piece the same function for all layers of a shape."""

    prepare: Callable[[torch.Tensor, torch.Tensor, torch.dtype], tuple[Rotary, torch.Tensor]]
    enter: Callable[[torch.Tensor, Block, Rotary, Room], torch.Tensor]
    attend: Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
    between: Callable[
        [torch.Tensor, torch.Tensor, Block, Block, Rotary, Room], tuple[torch.Tensor, torch.Tensor]
    ]
    leave: Callable[[torch.Tensor, torch.Tensor, Block], torch.Tensor]


class Stack:
    """``embeddings -> hidden states`` through all layers, keys and values in a cache."""

    def __init__(self, module: Any, mlp_scales: list[torch.Tensor] | None = None) -> None:
        """
        Args:
            module: a transformers Llama or Voxtral Realtime encoder or text model.
            mlp_scales: one ``[d]`` a layer, to multiply the input of the MLP with: Realtime's
                conditioning on the delay, which is constant for an engine.
        """
        config = module.config
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.head_dim: int = config.head_dim
        self.eps: float = config.rms_norm_eps
        self.norm: torch.Tensor = module.norm.weight.data
        self.inverse_frequencies: torch.Tensor = module.rotary_emb.inv_freq.float()
        self.blocks = [
            _join(layer, mlp_scales[index] if mlp_scales else None)
            for index, layer in enumerate(module.layers)
        ]
        self._pieces = _Pieces(self._prepare, self._enter, _attend, self._between, self._leave)
        self._one_position = self._pieces

    def __call__(
        self,
        x: torch.Tensor,
        cache: RingCache,
        place: Place,
        attention: list[torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """``[n, T, d]`` -> ``[n, T, d]``; the caller advances the cache.

        A place that reaches no slots is a prompt from position 0: its keys are stored, and each of
        its positions sees those before it.

        Args:
            attention: is given, for each layer of the upper half, where the last position's heads
                look: float32 ``[n, H, W]``, for a prompt ``[n, H, T]``; each row a distribution.
        """
        run = self._pieces if x.shape[:2].numel() > 1 else self._one_position
        rotary, bias = run.prepare(place.positions, place.mask, x.dtype)
        seen = bias[..., : place.reach]
        q = run.enter(x, self.blocks[0], rotary, cache.room(0, place))
        for layer, block in enumerate(self.blocks):
            k, v = cache.seen(layer, place)
            y = run.attend(q, k, v, seen) if place.reach else _attend_causal(q, k, v)
            if attention is not None and layer >= len(self.blocks) // 2:
                attention.append(_last_attention(q, k, seen if place.reach else None))
            if layer + 1 < len(self.blocks):
                room = cache.room(layer + 1, place)
                x, q = run.between(x, y, block, self.blocks[layer + 1], rotary, room)
        return run.leave(x, y, self.blocks[-1])

    def compile(self) -> None:
        """Fuse what lies between the products; all layers of one shape are one compilation.

        Where each product is of a matrix and one vector, it is fused too (see `tuned`), and one
        position of one session is what leaves most of a device idle in attention.
        """
        self._pieces = _Pieces(
            prepare=compiled(self._prepare),
            enter=compiled(self._enter),
            attend=_attend,
            between=compiled(self._between),
            leave=compiled(self._leave),
        )
        self._one_position = _Pieces(
            prepare=self._pieces.prepare,
            enter=tuned(self._enter),
            attend=tuned(_attend_spread),
            between=tuned(self._between),
            leave=tuned(self._leave),
        )

    # --- the pieces ---------------------------------------------------------------------------

    def _prepare(
        self, positions: torch.Tensor, mask: torch.Tensor, dtype: torch.dtype
    ) -> tuple[Rotary, torch.Tensor]:
        """What all layers of a step share.

        Args:
            positions: ``[n, T]``.
            mask: ``[n, T, S]``, True where a position may look.

        Returns: the rotary embedding, and what attention adds, 0 or -inf ``[n, 1, G T, S]``: a
            boolean mask would be turned into this in every layer.
        """
        angles = positions[..., None].float() * self.inverse_frequencies
        cos, sin = angles.cos(), angles.sin()
        cos = torch.cat((cos, cos), dim=-1)[:, :, None]
        sin = torch.cat((-sin, sin), dim=-1)[:, :, None]
        bias = torch.zeros(mask.shape, device=mask.device, dtype=dtype)
        bias = bias.masked_fill(~mask, -torch.inf)[:, None]
        group = self.heads // self.kv_heads
        return (cos.to(dtype), sin.to(dtype)), bias.repeat(1, 1, group, 1)

    def _enter(self, x: torch.Tensor, block: Block, rotary: Rotary, room: Room) -> torch.Tensor:
        """``x [n, T, d]`` -> queries ``[n, T, H, D]``; keys and values are stored."""
        y = functional.rms_norm(x, (x.shape[-1],), block.attention_norm, self.eps)
        heads = functional.linear(y, block.qkv, block.qkv_bias)
        heads = heads.view(*x.shape[:2], -1, self.head_dim)  # [n, T, H + 2K, D]
        rotated = _rotate(heads[:, :, : self.heads + self.kv_heads], *rotary)
        room.write(rotated[:, :, self.heads :], heads[:, :, self.heads + self.kv_heads :])
        return rotated[:, :, : self.heads]

    def _between(
        self,
        x: torch.Tensor,
        y: torch.Tensor,
        block: Block,
        following: Block,
        rotary: Rotary,
        room: Room,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """From what ``block`` attended to, to the queries of the block that follows it."""
        x = self._after(x, y, block)
        return x, self._enter(x, following, rotary, room)

    def _after(self, x: torch.Tensor, y: torch.Tensor, block: Block) -> torch.Tensor:
        """What was attended to, ``y [n, T, H D]``, joins ``x``; then the MLP."""
        x = x + functional.linear(y, block.out, block.out_bias)
        y = functional.rms_norm(x, (x.shape[-1],), block.mlp_norm, self.eps)
        gate, up = functional.linear(y, block.gate_up).chunk(2, dim=-1)
        return x + functional.linear(functional.silu(gate) * up, block.down, block.down_bias)

    def _leave(self, x: torch.Tensor, y: torch.Tensor, block: Block) -> torch.Tensor:
        x = self._after(x, y, block)
        return functional.rms_norm(x, (x.shape[-1],), self.norm, self.eps)


def _rotate(heads: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Rotary positions on ``[n, T, heads, D]``: halves swapped, the first one's sine negated."""
    return torch.addcmul(heads * cos, heads.roll(heads.shape[-1] // 2, dims=-1), sin)


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """``q [n, T, H, D]``, ``k, v [n, K, W, D]``, ``bias [n, 1, G T, W]`` -> ``[n, T, H D]``."""
    rows, new, heads, head_dim = q.shape
    # The G query heads that share keys become positions of one query, so keys are read once.
    q = q.transpose(1, 2).reshape(rows, k.shape[1], -1, head_dim)
    y = functional.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    return y.reshape(rows, heads, new, head_dim).transpose(1, 2).flatten(2)


def _attend_spread(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """As `_attend`, to be compiled: three kernels that each spread over the whole device.

    Attention kernels walk through a head's keys in one block, and one session has few heads: most
    of the device would wait, the longer the cache the longer.
    """
    rows, new, heads, head_dim = q.shape
    q = q.transpose(1, 2).reshape(rows, k.shape[1], -1, 1, head_dim)  # [n, K, G T, 1, D]
    scores: torch.Tensor = (q.float() * k[:, :, None]).sum(dim=-1) * head_dim**-0.5 + bias
    weights = scores.softmax(dim=-1)[..., None]  # [n, K, G T, W, 1]
    y: torch.Tensor = (weights * v[:, :, None]).sum(dim=-2).to(q.dtype)  # [n, K, G T, D]
    return y.reshape(rows, heads, new, head_dim).transpose(1, 2).flatten(2)


def _attend_causal(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """``q [n, T, H, D]``, ``k, v [n, K, T, D]`` -> ``[n, T, H D]``."""
    y = functional.scaled_dot_product_attention(
        q.transpose(1, 2), k, v, is_causal=True, enable_gqa=True
    )
    return y.transpose(1, 2).flatten(2)


def _last_attention(q: torch.Tensor, k: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """The weights with which the last of ``q [n, T, H, D]`` sees ``k [n, K, W, D]``: ``[n, H, W]``.

    Attention kernels keep theirs to themselves, so they are computed a second time. ``bias`` as in
    `_attend`; None: it sees all of them.
    """
    last = q[:, -1].reshape(len(q), k.shape[1], -1, q.shape[-1])  # [n, K, G, D]
    scores: torch.Tensor = (last @ k.mT).float() * q.shape[-1] ** -0.5
    if bias is not None:
        scores = scores + bias[:, :, -1:]
    return scores.softmax(dim=-1).flatten(1, 2)


def _join(layer: Any, mlp_scale: torch.Tensor | None) -> Block:
    """One layer's weights; the module keeps them as views of the joined matrices."""
    attention, mlp = layer.self_attn, layer.mlp
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    bias: torch.Tensor | None = None
    if attention.q_proj.bias is not None:  # Realtime's encoder; its keys have none, as in Whisper
        bias = torch.cat(
            [
                p.bias.data if p.bias is not None else p.weight.new_zeros(p.out_features)
                for p in projections
            ]
        )
    before, after = (
        (layer.self_attn_layer_norm, layer.final_layer_norm)
        if hasattr(layer, "self_attn_layer_norm")
        else (layer.input_layernorm, layer.post_attention_layernorm)
    )
    mlp_norm = after.weight.data if mlp_scale is None else after.weight.data * mlp_scale
    return Block(
        attention_norm=before.weight.data,
        qkv=_share(projections),
        qkv_bias=bias,
        out=attention.o_proj.weight.data,
        out_bias=_bias(attention.o_proj),
        mlp_norm=mlp_norm,
        gate_up=_share((mlp.gate_proj, mlp.up_proj)),
        down=mlp.down_proj.weight.data,
        down_bias=_bias(mlp.down_proj),
    )


def _bias(linear: Any) -> torch.Tensor | None:
    return None if linear.bias is None else linear.bias.data


def _share(linears: tuple[Any, ...]) -> torch.Tensor:
    """The linears' weights as one matrix, of which theirs become views."""
    joined = torch.cat([linear.weight.data for linear in linears])
    begin = 0
    for linear in linears:
        end = begin + linear.out_features
        linear.weight.data = joined[begin:end]
        begin = end
    return joined
