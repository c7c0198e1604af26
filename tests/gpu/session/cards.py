"""GPUs: what they can reach, and the goals that were set for them.

Goals are set by predictions from counted kernels and bytes; nothing of them was measured. For the
H100 the predictions are in docs/measurements.md. A GPU that is not here has floors by what the
probe has measured, and no goals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Card:
    name: str  # a part of CUDA's name of the device
    tb_s: float  # memory bandwidth stated by the maker
    tflop_s: float  # bfloat16 products without sparsity, stated by the maker
    goals_ms: Mapping[str, float]  # by the key of a row of the table


CARDS = (
    Card(
        name="H200",
        tb_s=4.8,
        tflop_s=989,
        goals_ms={"3b.token": 2.3, "3b.first": 12.0, "rt.step": 3.2, "rt.rows32": 9.0},
    ),
    Card(
        name="H100 80GB HBM3",  # SXM; other H100s have another memory
        tb_s=3.35,
        tflop_s=989,
        goals_ms={"3b.token": 3.0, "3b.first": 15.0, "rt.step": 4.0, "rt.rows32": 80.0},
    ),
)


def card_of(device_name: str | None) -> Card | None:
    """The card of CUDA's name of a device; None: not known, or a CPU."""
    return next((card for card in CARDS if device_name and card.name in device_name), None)
