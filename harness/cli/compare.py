"""The verb ``compare``: two or more configurations, or a revision and the files as they are now."""

from __future__ import annotations

import argparse

from omegaconf import DictConfig

from harness.cli import compose as hydra_side
from harness.cli import jobs, own_configs
from harness.cli.help import asks_for_help, print_help
from harness.cli.measuring import make_plan, measure
from harness.cli.sweeping import Sweep
from harness.errors import UsageError
from harness.runs.names import inside

AGAINST = "--against"
WHAT = """\
Replay through two or more configurations, their sessions interleaved; the first is what the others
are compared with.

  python -m harness compare chunking=1word,6word
  python -m harness compare engine.dtype=float32,bfloat16 gate=ci

--against compares a git revision with the current files. Each side runs in its own process, in
turns, one repeat each. The revision runs from a worktree with its own environment:

  python -m harness compare --against main gate=ci"""


def compare(argv: list[str]) -> int:
    """Every combination of the values given is an arm; all are interleaved in one comparison."""
    if asks_for_help(argv):
        return print_help("compare", WHAT)
    revision, argv = _take_against(argv)
    sweep = Sweep(argv)
    if revision is not None:
        return _compare_with(revision, sweep)
    if len(sweep.arms) < 2:
        raise UsageError(
            "compare needs two arms or more",
            value=" ".join(argv),
            hint="give a field several values: python -m harness compare chunking=1word,6word",
        )
    shared = [o for o in sweep.fixed if not o.lstrip("+~").startswith("hydra.")]

    def task(_first_arm: DictConfig) -> int:
        folder = jobs.run_folder()
        plans = []
        for arm in sweep.arms:
            overrides = [*shared, *arm.overrides]
            composed = hydra_side.compose(overrides)
            plans.append(
                make_plan(arm.name, composed, inside(folder, arm.name, "an arm"), overrides)
            )
        return measure(plans)

    return hydra_side.with_hydra("compare", [*sweep.fixed, *sweep.arms[0].overrides], task)


def _take_against(argv: list[str]) -> tuple[str | None, list[str]]:
    """The revision after ``--against``, and the other arguments."""
    if not any(argument.split("=")[0] == AGAINST for argument in argv):
        return None, argv
    parser = argparse.ArgumentParser(prog="python -m harness compare", allow_abbrev=False)
    parser.add_argument(AGAINST, metavar="REVISION")
    options, others = parser.parse_known_args(argv)
    return options.against, others


def _compare_with(revision: str, sweep: Sweep) -> int:
    """Compare ``revision`` with the files as they are now; returns the exit code."""
    if len(sweep.arms) > 1:
        raise UsageError(
            "--against compares two revisions of one configuration",
            value=", ".join(arm.name for arm in sweep.arms),
            hint="give each field one value",
        )
    from harness.cli.progress import TerminalProgress
    from harness.cli.results import conclude
    from harness.experiments.revisions import compare_revision, sigterm_interrupts

    def task(composed: DictConfig) -> int:
        config, folder = hydra_side.to_config(composed), jobs.run_folder()
        overrides = [*jobs.asked_for(), *own_configs.as_arguments()]
        with TerminalProgress() as progress:
            folders = compare_revision(revision, config, overrides, folder, progress)
        return conclude(folders)

    with sigterm_interrupts():
        return hydra_side.with_hydra("compare", sweep.fixed, task)
