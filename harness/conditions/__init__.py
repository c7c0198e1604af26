"""Conditions: what a clip sounds like when it arrives, and when its frames arrive.

``clean``: as recorded, and as spoken. ``telephone`` and ``noise`` change the sound, once, when an
arm is prepared. ``jitter`` and ``loss`` are networks: on a schedule that a seed decides, frames are
handed over late, or not at all. A network's lateness was asked for: it is none of the driver's, and
metrics still count from the instants at which the audio was spoken.

A variant is a dataclass of options with its code (:class:`~harness.conditions.condition.Condition`)
and a name in the registry, or an entry point in the group ``harness.conditions``.
"""

from __future__ import annotations

from harness.conditions.clean import Clean
from harness.conditions.condition import Condition
from harness.registry import Registry

CONDITIONS: Registry[type[Condition]] = Registry(
    "condition",
    {
        "clean": "harness.conditions.clean:Clean",
        "telephone": "harness.conditions.telephone:Telephone",
        "noise": "harness.conditions.noise:AddedNoise",
        "jitter": "harness.conditions.jitter:Jitter",
        "loss": "harness.conditions.loss:Loss",
    },
    group="harness.conditions",
)

__all__ = ["CONDITIONS", "Clean", "Condition"]
