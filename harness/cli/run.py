"""The verb ``run``: replay recorded audio through one configuration, measure, judge."""

from __future__ import annotations

from omegaconf import DictConfig

from harness.cli import compose as hydra_side
from harness.cli import jobs
from harness.cli.help import asks_for_help, print_help
from harness.cli.measuring import make_plan, measure

WHAT = """\
Replay recorded audio through one configuration, in real time; measure, summarise, judge.

  python -m harness run chunking=6word replay.repeats=5
  python -m harness run dataset=manifest dataset.manifest=my/manifest.jsonl gate=ci
  python -m harness run engine=scripted engine.first_ms=80
  python -m harness run -m chunking=1word,6word       one after the other (compare interleaves)
  python -m harness run -m model.pad_s=5,30 objective=ttft_ms.p50
                                   the figure that a sweeper of Hydra's makes small"""


def run(argv: list[str]) -> int:
    """One arm; with ``-m`` one after the other for every combination of the values given."""
    if asks_for_help(argv):
        return print_help("run", WHAT)

    def task(composed: DictConfig) -> int:
        return measure([make_plan("", composed, jobs.run_folder(), jobs.asked_for())])

    return hydra_side.with_hydra("run", argv, task)
