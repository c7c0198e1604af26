"""Keys and values of several sessions in rings that are allocated once and never move.

A session's row holds its last ``size`` positions; position ``p`` lies in slot ``p % size``. Rotary
position is applied before a key is stored, so the order of slots is free and the mask carries it.
What a slot holds follows from the row's newest position alone, so a row is forgotten by setting
its position to 0, and a step of any session at any time is the same sequence of kernels on the same
addresses: it can be captured once as a CUDA graph, and nothing rolls, grows or is compiled again.

Shapes: L layers, R rows (sessions), H key/value heads, S slots, D numbers a head, n adjacent rows
of one step, T new positions a row, W reached slots (the first W of S).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch

from harness.engines.torch.cuda_graphs import compiled

_SLOT_MULTIPLE = 64  # attention kernels want aligned masks
_LEAST_REACH = 1024  # reading fewer slots than this saves less than it costs in captured graphs


Where = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Place:
    """Where one step's new keys go, and what its queries may see."""

    span: slice  # the n rows
    where: Where  # of the n rows, [n, 1, 1], heads [H], slots [n, T, 1], int64: for [n, T, H, D]
    positions: torch.Tensor  # int64 [n, T], from the beginning of the session
    mask: torch.Tensor  # bool [n, T, S]; True: may be seen. Of a prompt: [n, T, 0]
    reach: int  # W


class Room(NamedTuple):
    """One layer's memory, and where in it the new positions go."""

    keys: torch.Tensor  # [n, H, S + 1, D]
    values: torch.Tensor
    where: Where

    def write(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        """Store ``[n, T, H, D]``."""
        self.keys.index_put_(self.where, keys)
        self.values.index_put_(self.where, values)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one row held, to begin other sessions with."""

    keys: tuple[torch.Tensor, ...]  # one a layer, [H, slots, D]
    values: tuple[torch.Tensor, ...]
    position: int


class RingCache:
    def __init__(
        self,
        *,
        layers: int,
        rows: int,
        heads: int,
        head_dim: int,
        window: int,
        step: int,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        """
        Args:
            window: a query sees its own position and the ``window - 1`` before it.
            step: the most new positions that one step brings.
        """
        self.window = window
        self.size = _round_up(window + step - 1)
        # Rows that sit a step out write into one slot more, which no query reaches.
        shape = (rows, heads, self.size + 1, head_dim)
        self.keys = [torch.zeros(shape, device=device, dtype=dtype) for _ in range(layers)]
        self.values = [torch.zeros(shape, device=device, dtype=dtype) for _ in range(layers)]
        self.positions = torch.zeros(rows, device=device, dtype=torch.long)  # the next of each row
        self._row_ids = torch.arange(rows, device=device)[:, None, None]
        self._head_ids = torch.arange(heads, device=device)
        self._slot_ids = torch.arange(self.size, device=device)
        self._plan = self._positions_slots_mask

    def compile(self) -> None:
        """Plan each step in a few kernels instead of some fifteen."""
        self._plan = compiled(self._positions_slots_mask)

    @staticmethod
    def bytes_needed(
        *,
        layers: int,
        rows: int,
        heads: int,
        head_dim: int,
        window: int,
        step: int,
        dtype: torch.dtype,
    ) -> int:
        slots = _round_up(window + step - 1) + 1
        return 2 * layers * rows * heads * slots * head_dim * dtype.itemsize

    def reaches(self) -> list[int]:
        """Every W that ``reach`` can return: doubling, the last one is the whole ring."""
        reaches = [min(_LEAST_REACH, self.size)]
        while reaches[-1] < self.size:
            reaches.append(min(2 * reaches[-1], self.size))
        return reaches

    def reach(self, positions: int) -> int:
        """W for rows that will hold at most ``positions``."""
        return next(w for w in self.reaches() if w >= min(positions, self.size))

    def place(self, span: slice, active: torch.Tensor, new: int, reach: int) -> Place:
        """Plan a step; no state changes.

        Args:
            span: the n rows.
            active: bool [n]; False: the row sits this step out.
            new: T, at most ``step``.
            reach: W, at least the slots that these rows use; 0: a prompt, the rows are empty and
                their new positions see each other only.
        """
        slot_ids = self._slot_ids if reach else self._slot_ids[:0]
        positions, slots, mask = self._plan(self.positions[span], active, slot_ids, new)
        where = (self._row_ids[: len(active)], self._head_ids, slots)
        return Place(span, where, positions, mask, reach)

    def _positions_slots_mask(
        self, begin: torch.Tensor, active: torch.Tensor, slot_ids: torch.Tensor, new: int
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """``begin, active [n]``, ``slot_ids [S]`` or none: see `Place`."""
        offsets = torch.arange(new, device=active.device)
        positions = begin[:, None] + offsets
        slots = (positions % self.size).masked_fill(~active[:, None], self.size)[:, :, None]
        newest = positions[:, -1:]
        held = newest - (newest - slot_ids) % self.size  # the position in each slot
        age = positions[:, :, None] - held[:, None]
        mask = (held >= 0)[:, None] & (age >= 0) & (age < self.window)
        return positions, slots, mask

    def room(self, layer: int, place: Place) -> Room:
        # Of these rows alone: what is compiled is tuned on a copy of what it changes.
        return Room(self.keys[layer][place.span], self.values[layer][place.span], place.where)

    def seen(self, layer: int, place: Place) -> tuple[torch.Tensor, torch.Tensor]:
        """Views ``[n, H, W, D]``; of a prompt (no reach) its own T positions."""
        slots = place.reach or place.positions.shape[1]
        seen = (place.span, slice(None), slice(slots))
        return self.keys[layer][seen], self.values[layer][seen]

    def advance(self, span: slice, active: torch.Tensor, new: int) -> None:
        """The step is over in all layers: active rows have ``new`` more positions."""
        self.positions[span].add_(active, alpha=new)

    def snapshot(self, row: int) -> Snapshot:
        position = int(self.positions[row])
        used = min(position, self.size)
        return Snapshot(
            keys=tuple(keys[row, :, :used].clone() for keys in self.keys),
            values=tuple(values[row, :, :used].clone() for values in self.values),
            position=position,
        )

    def restore(self, row: int, snapshot: Snapshot) -> None:
        """Begin a session in ``row`` where ``snapshot`` was taken; what it held is forgotten."""
        self._wipe(row)
        used = min(snapshot.position, self.size)
        for layer, (keys, values) in enumerate(zip(snapshot.keys, snapshot.values, strict=True)):
            self.keys[layer][row, :, :used] = keys
            self.values[layer][row, :, :used] = values
        self.positions[row].fill_(snapshot.position)

    def clear(self, row: int) -> None:
        self._wipe(row)
        self.positions[row].zero_()  # `= 0` would copy from the host: not to be captured

    def _wipe(self, row: int) -> None:
        """A masked slot weighs 0, but 0 times NaN is NaN."""
        torch._foreach_zero_([held[row] for held in (*self.keys, *self.values)])


def _round_up(slots: int) -> int:
    return -(-slots // _SLOT_MULTIPLE) * _SLOT_MULTIPLE
