"""The verb ``capacity``: how many streams at once still meet the objectives?"""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from harness.cli import compose as hydra_side
from harness.cli import jobs
from harness.cli.help import asks_for_help, print_help
from harness.cli.progress import TerminalProgress
from harness.config import Config
from harness.experiments.capacity import Capacity, find_capacity
from harness.report.capacity import plot_load, print_load
from harness.report.style import styled, write_plot
from harness.verdicts import EXIT_CODES

WHAT = """\
Find the largest number of concurrent streams that still meets the objectives, as an interval. Every
number that is tried leaves a run. capacity.json and plots/capacity.svg have the whole result.

  python -m harness capacity capacity.most_streams=8
  python -m harness capacity engine=realtime engine.url=ws://HOST:PORT/v1/realtime \\
    engine.model=NAME capacity.objectives="['ttft_ms p95 <= 900 ms', 'gap_ms p95 <= 300 ms']"

Exit code 0: the number is known. 3: even one stream misses the objectives. 4: it is not known."""


def capacity(argv: list[str]) -> int:
    if asks_for_help(argv):
        return print_help("capacity", WHAT)

    def task(composed: DictConfig) -> int:
        config, folder = hydra_side.to_config(composed), jobs.run_folder()
        with TerminalProgress() as progress:
            found = find_capacity(config, folder, progress)
        return _conclude(found, config, folder)

    return hydra_side.with_hydra("capacity", argv, task)


def _conclude(found: Capacity, config: Config, folder: Path) -> int:
    """Draw the plot, print the table; returns the exit code."""
    answer, loads = found.answer, found.loads
    if config.report.plots and loads:
        (folder / "plots").mkdir(exist_ok=True)
        with styled():
            plot = plot_load(loads, answer, found.objectives, config.capacity.goodput)
            write_plot(plot, folder / "plots")
    if config.report.show == "json":
        print((folder / "capacity.json").read_text(encoding="utf-8"), end="")  # noqa: T201 asked for
    elif config.report.show == "table":
        console = Console(highlight=False)
        print_load(loads, answer, console)
        console.print(f"{folder}/capacity.json", markup=False)
    if answer.smallest_bad == 1:
        return EXIT_CODES["fail"]
    return EXIT_CODES["pass" if answer.complete else "inconclusive"]
