"""A network that is late: a little for every frame, and at times stalled."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from harness.conditions.condition import Condition
from harness.conditions.network import Network
from harness.validation import require_number


@dataclass
class Jitter(Condition):
    """Each frame is late by an exponential time; stalls come by chance and hold up what is sent.

    A stall begins every ``stall_every_s`` of audio, and lasts ``stall_ms``, both exponential with
    that mean. What comes in it arrives when it is over, in a burst.
    """

    registered_as = "jitter"
    paced = True

    mean_ms: float = 20.0  # lateness of a frame outside stalls; 0: none
    stall_ms: float = 300.0  # how long a stall lasts; 0: there are none
    stall_every_s: float = 3.0  # audio from the end of one stall to the next
    in_order: bool = True  # as over TCP: no frame overtakes another; false: as over UDP
    seed: int = 0  # of the schedule; each session's is its own

    def __post_init__(self) -> None:
        require_number("conditions.mean_ms", self.mean_ms, 0, 10_000)
        require_number("conditions.stall_ms", self.stall_ms, 0, 60_000)
        require_number("conditions.stall_every_s", self.stall_every_s, 0, 3_600, above=True)
        require_number("conditions.seed", self.seed, 0)

    def network(self, clip: str, repeat: int, frame_ms: float) -> Network:
        return Network(self._delays_ms(f"{self.seed}/{clip}/{repeat}", frame_ms), self.in_order)

    def _delays_ms(self, seed: str, frame_ms: float) -> Iterator[float]:
        drawn = random.Random(seed)  # noqa: S311 not a secret
        due_ms = 0.0
        begins_ms, ends_ms = self._next_stall(drawn, 0.0)
        while True:
            due_ms += frame_ms
            while due_ms >= ends_ms:
                begins_ms, ends_ms = self._next_stall(drawn, ends_ms)
            delay_ms = drawn.expovariate(1 / self.mean_ms) if self.mean_ms else 0.0
            held_ms = ends_ms - due_ms if due_ms >= begins_ms else 0.0
            yield max(delay_ms, held_ms)

    def _next_stall(self, drawn: random.Random, after_ms: float) -> tuple[float, float]:
        if self.stall_ms == 0:
            return float("inf"), float("inf")
        begins_ms = after_ms + drawn.expovariate(1 / (1000 * self.stall_every_s))
        return begins_ms, begins_ms + drawn.expovariate(1 / self.stall_ms)
