"""The verbs that replay audio: ``run`` and ``compare``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from harness.cli import compose as hydra_side
from harness.cli.help import asks_for_help, print_help
from harness.cli.sweeping import Sweep
from harness.errors import UsageError

if TYPE_CHECKING:  # loaded when something is replayed: `--help` answers at once
    from harness.experiments.plan import ArmPlan

AGAINST = "--against"
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
  python -m harness compare engine.dtype=float32,bfloat16 gate=ci

A git revision is compared with the files as they are now by --against; both sides run as processes
of their own, one repeat in turn, the revision from a worktree with its own environment:

  python -m harness compare --against main gate=ci"""


def run(argv: list[str]) -> int:
    """One arm; with ``-m`` one after the other for every combination of the values given."""
    if asks_for_help(argv):
        return print_help("run", RUN_WHAT)
    codes: list[int] = []

    def task(composed: DictConfig) -> None:
        plan = make_plan("", composed, hydra_side.run_folder(), hydra_side.asked_for())
        codes.append(_replay([plan]))

    hydra_side.with_hydra("run", argv, task)
    return max(codes, key=(0, 4, 3).index, default=0)  # that a gate failed outweighs the rest


def compare(argv: list[str]) -> int:
    """Every combination of the values given is an arm; all are interleaved in one go."""
    if asks_for_help(argv):
        return print_help("compare", COMPARE_WHAT)
    revision, argv = _take_against(argv)
    sweep = Sweep(argv)
    if revision is not None:
        from harness.cli.against import compare_against

        return compare_against(revision, sweep)
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
        plans = []
        for arm in sweep.arms:
            overrides = [*shared, *arm.overrides]
            composed = hydra_side.compose(overrides)
            plans.append(make_plan(arm.name, composed, folder / arm.name, overrides))
        codes.append(_replay(plans))

    hydra_side.with_hydra("compare", [*sweep.fixed, *sweep.arms[0].overrides], task)
    return max(codes, default=0)


def _take_against(argv: list[str]) -> tuple[str | None, list[str]]:
    """The revision after ``--against``, and the other arguments."""
    if not any(argument.split("=")[0] == AGAINST for argument in argv):
        return None, argv
    parser = argparse.ArgumentParser(prog="python -m harness compare", allow_abbrev=False)
    parser.add_argument(AGAINST, metavar="REVISION")
    options, others = parser.parse_known_args(argv)
    return options.against, others


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


def _replay(plans: list[ArmPlan]) -> int:
    from harness.cli.progress import TerminalProgress
    from harness.cli.results import conclude
    from harness.experiments.run import run_arms

    with TerminalProgress() as progress:
        run_arms(plans, progress)
    return conclude([plan.folder for plan in plans])
