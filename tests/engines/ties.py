"""Equal texts on every processor: up to the first token that two likelihoods are too close to tell.

Processors round differently. Where the likeliest two tokens are nearly as likely as each other,
either may be chosen, and what follows may differ from there on.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def assert_same_tokens_up_to_a_tie(
    tokens: Sequence[int], expected: Sequence[int], logits: torch.Tensor, tie: float
) -> None:
    """``tokens`` are those of a reference, or the first other one is nearly as likely there.

    Args:
        logits: [n, V], with which the reference chose ``expected`` [n]; -inf: not allowed.
        tie: how far two logits may lie apart and still be told differently by rounding alone.
    """
    for place, (token, other) in enumerate(zip(tokens, expected, strict=False)):
        if token != other:
            behind = float(logits[place].max() - logits[place, token])
            assert behind <= tie, f"token {place} is {token}, not {other}, {behind:g} behind it"
            return
    assert len(tokens) == len(expected)
