"""The verbs that replay audio: ``run`` and ``compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from harness.chunking import chunking_name
from harness.cli import compose as hydra_side
from harness.cli.help import asks_for_help, print_help
from harness.errors import UsageError

if TYPE_CHECKING:  # loaded when something is replayed: `--help` answers at once
    from harness.experiment import ArmPlan

RUN_WHAT = """\
Replay recorded audio through one configuration, in real time; measure, summarise, judge.

  python -m harness run chunking=6word replay.repeats=5
  python -m harness run dataset=manifest dataset.manifest=my/manifest.jsonl gate=ci
  python -m harness run engine=scripted engine.first_ms=80
  python -m harness run -m chunking=1word,6word       one after the other (compare interleaves)"""
COMPARE_WHAT = """\
Replay through two or more configurations, interleaved in one go; the first is what others are
compared with.

  python -m harness compare chunking=1word,6word
  python -m harness compare engine.dtype=float32,bfloat16 gate=ci"""


def run(argv: list[str]) -> int:
    """One arm; with ``-m`` one after the other for every combination of the values given."""
    if asks_for_help(argv):
        return print_help("run", RUN_WHAT)
    codes: list[int] = []

    def task(composed: DictConfig) -> None:
        codes.append(_replay([_plan("", composed, hydra_side.run_folder())]))

    hydra_side.with_hydra("run", argv, task)
    return max(codes, default=0)


def compare(argv: list[str]) -> int:
    """Every combination of the values given is an arm; all are interleaved in one go."""
    if asks_for_help(argv):
        return print_help("compare", COMPARE_WHAT)
    sweep = hydra_side.Sweep(argv)
    if len(sweep.arms) < 2:
        raise UsageError(
            "compare needs two arms or more",
            value=" ".join(argv),
            hint="give a field several values: python -m harness compare chunking=1word,6word",
        )
    shared = [o for o in sweep.fixed if not o.lstrip("+~").startswith("hydra.")]
    codes: list[int] = []

    def task(_first_arm: DictConfig) -> None:
        folder = hydra_side.run_folder()
        plans = [
            _plan(arm.name, hydra_side.compose([*shared, *arm.overrides]), folder / arm.name)
            for arm in sweep.arms
        ]
        codes.append(_replay(plans))

    hydra_side.with_hydra("compare", [*sweep.fixed, *sweep.arms[0].overrides], task)
    return max(codes, default=0)


def _plan(name: str, composed: DictConfig, folder: Path) -> ArmPlan:
    from harness.experiment import ArmPlan

    config = hydra_side.to_config(composed)
    return ArmPlan(
        name=name or chunking_name(config.chunking),
        config=config,
        config_yaml=hydra_side.to_yaml(composed),
        folder=folder,
    )


def _replay(plans: list[ArmPlan]) -> int:
    from harness.cli.progress import TerminalProgress
    from harness.cli.results import conclude
    from harness.experiment import run_arms

    with TerminalProgress() as progress:
        run_arms(plans, progress)
    return conclude([plan.folder for plan in plans])
