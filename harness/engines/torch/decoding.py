"""The one token loop of all models, with what it needs: a cache of keys and values, exact text.

The loop is explicit because ``generate()`` is not made for latency: it hands tokens to a streamer
that waits for a space, keeps state on the model object, and in its streaming mode asks for audio
chunk k+1 before it gives away token k. It is the oracle of the tests instead.

Shapes: L layers, H key/value heads, P positions, D numbers per head.
"""

from __future__ import annotations

import codecs
from collections.abc import Collection, Iterator, Sequence
from typing import Protocol

import torch


class Decoder(Protocol):
    """One session's decoder: its prompt, its caches, its place in the text."""

    def prefill(self) -> torch.Tensor:
        """Take the prompt; returns the most likely next id, int64 [1], on the model's device."""

    def step(self, token: torch.Tensor) -> torch.Tensor:
        """Take one id, int64 [1] on the device; returns the most likely next one, the same way."""


def greedy_tokens(
    decoder: Decoder,
    *,
    end: Collection[int],
    limit: int,
    forced: torch.Tensor | None = None,
) -> Iterator[int]:
    """Yields each id the moment it is on the host, the end token too.

    Nothing is computed before a token is asked for: a live engine asks once the audio of one more
    step is there, and a caller that stops asking stops the decode.

    Args:
        end: ids after which nothing follows.
        limit: yield at most this many ids, 1 or more.
        forced: int64 [n] on the device: go on with these ids instead of the most likely ones, which
            are computed and copied all the same; n takes the place of ``end`` and ``limit``.
    """
    if forced is not None:
        end, limit = (), len(forced)
    said: list[int] = []
    chosen = decoder.prefill()
    for index in range(limit):
        token = int(chosen)  # the copy to the host: the one synchronisation of a step
        if forced is not None:
            said = said or forced.tolist()  # once, now that the device has nothing to do
            chosen = forced[index : index + 1]
            token = said[index]
        yield token
        if token in end or index + 1 == limit:
            return
        chosen = decoder.step(chosen)


class KVCache:
    """Keys and values of one session in buffers that are allocated once: [L, 1, H, P, D] each."""

    def __init__(
        self,
        layers: int,
        heads: int,
        positions: int,
        head_dim: int,
        *,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        shape = (layers, 1, heads, positions, head_dim)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.length = 0  # positions filled

    def write(
        self, layer: int, keys: torch.Tensor, values: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Put ``[1, H, n, D]`` after what is there; returns everything there is, as views.

        ``length`` stays: all layers of one step write to the same place, then ``advance``.
        """
        end = self.length + keys.shape[2]
        self.keys[layer, :, :, self.length : end] = keys
        self.values[layer, :, :, self.length : end] = values
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def advance(self, positions: int) -> None:
        self.length += positions

    def clear(self) -> None:
        """Forget the session; the buffers stay."""
        self.length = 0


class TokenText:
    """The exact text of a stream of ids, as UTF-8 arrives: half a character waits for its rest."""

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        """Args: token_bytes: the bytes of every id; ``b""`` for a special token."""
        self._token_bytes = token_bytes
        # Only bytes that no valid text holds become U+FFFD.
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token: int) -> str:
        """The characters that this id completes; ``""`` if none."""
        return self._utf8.decode(self._token_bytes[token])

    def flush(self) -> str:
        """End of the stream: U+FFFD for a character that never got its rest, else ``""``."""
        return self._utf8.decode(b"", final=True)
