"""A network that loses frames, in bursts."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from harness.conditions.condition import Condition
from harness.conditions.network import Network
from harness.validation import require_number, require_one_of


@dataclass
class Loss(Condition):
    """A stated share of the frames is lost, in bursts of a stated mean length.

    Whether a frame is lost depends on whether the one before it was (Gilbert 1960); bursts of one
    frame's length or less are of one frame on average.
    """

    registered_as = "loss"

    share: float = 0.05  # of the frames, on average over sessions
    burst_ms: float = 60.0  # of audio that is lost in a row, on average
    conceal: str = "none"  # none: a lost frame never reaches the engine | silence: in its place
    seed: int = 0  # of the schedule; each session's is its own

    def __post_init__(self) -> None:
        require_number("conditions.share", self.share, 0, 0.5)
        require_number("conditions.burst_ms", self.burst_ms, 0, 10_000)
        require_one_of("conditions.conceal", self.conceal, ("none", "silence"))
        require_number("conditions.seed", self.seed, 0)

    def network(self, clip: str, repeat: int, frame_ms: float) -> Network:
        delays_ms = self._delays_ms(f"{self.seed}/{clip}/{repeat}", frame_ms)
        return Network(delays_ms, silence=self.conceal == "silence")

    def _delays_ms(self, seed: str, frame_ms: float) -> Iterator[float | None]:
        drawn = random.Random(seed)  # noqa: S311 not a secret
        burst = max(1.0, self.burst_ms / frame_ms)  # frames, on average
        ends, begins = 1 / burst, self.share / (1 - self.share) / burst
        lost = drawn.random() < self.share
        while True:
            yield None if lost else 0.0
            lost = drawn.random() < (1 - ends if lost else begins)
