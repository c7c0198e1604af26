"""What one arm of a run is: its name, its config, its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from harness.conditions import Clean
from harness.config import Config, variant_identity
from harness.machine.environment import identity


class ArmPlan(msgspec.Struct, frozen=True):
    """One arm of a run, as asked for."""

    name: str  # what distinguishes it, such as 1word
    config: Config
    folder: Path
    overrides: tuple[str, ...] = ()  # what was asked for on the command line


def config_identity(config: Config) -> str:
    """What makes two runs runs of the same thing; gates, reports and repeats do not.

    Nor does ``inject``: a run that was made worse is compared with what it was made from.
    """
    replayed = {
        name: getattr(config.replay, name)
        for name in ("pace", "frame_ms", "streams", "arrivals", "compute_scale")
    }
    groups = ["chunking", "model", "engine", "session"]
    if config.conditions != Clean():  # identities of before there were any are still the same
        groups.append("conditions")
    parts: list[Any] = [replayed, variant_identity(config, groups)]
    if config.endpointer.keeps_open:
        parts.append([variant_identity(config, ("endpointer",)), config.replay.tail_s])
    return identity(parts)
