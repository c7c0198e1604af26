"""As it was recorded, and as it was spoken."""

from __future__ import annotations

from dataclasses import dataclass

from harness.conditions.condition import Condition


@dataclass
class Clean(Condition):
    """Nothing is changed."""

    registered_as = "clean"
