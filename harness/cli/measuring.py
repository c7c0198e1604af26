"""What the verbs share that measure: from a composed config to a finished run, shown and judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from harness.cli import compose as hydra_side

if TYPE_CHECKING:  # loaded when something is replayed: `--help` answers at once
    from harness.experiments.plan import ArmPlan


def make_plan(name: str, composed: DictConfig, folder: Path, overrides: Sequence[str]) -> ArmPlan:
    """One arm, from a composed config and the overrides that it was composed of."""
    from harness.experiments.plan import ArmPlan

    config = hydra_side.to_config(composed)
    return ArmPlan(
        name=name or config.chunking.name,
        config=config,
        folder=folder,
        overrides=tuple(overrides),
    )


def measure(plans: list[ArmPlan]) -> int:
    """Replay the arms, print what was found; returns the exit code."""
    from harness.cli.progress import TerminalProgress
    from harness.cli.results import conclude
    from harness.experiments.run import run_arms

    with TerminalProgress() as progress:
        run_arms(plans, progress)
    return conclude([plan.folder for plan in plans])
