"""The verb ``calibrate``: this machine's noise, the smallest effect that it shows, and a proof."""

from __future__ import annotations

from pathlib import Path

import msgspec
from omegaconf import DictConfig
from rich.console import Console
from rich.markdown import Markdown

from harness.cli import compose as hydra_side
from harness.cli import jobs
from harness.cli.help import asks_for_help, print_help
from harness.config import Config
from harness.runs.folder import write_text
from harness.verdicts import EXIT_CODES
from harness.verdicts.calibration import Calibration, as_markdown, draw_power, save_calibration

WHAT = """\
Measure this machine's noise. Several runs of one configuration give the noise between runs and the
smallest slow-down that is found. Later gates of this configuration against a stored baseline allow
for that noise. Then known delays are injected into the engine, to check that the gate finds them.

  python -m harness calibrate
  python -m harness calibrate calibrate.runs=8 replay.repeats=5

Exit code 0: every delay that is detectable failed the gate, and no delay that the rule allows did.
3: one of them had another result. 4: a run was not valid or was interrupted, or so few clips and
repeats find no delay at all."""


def calibrate(argv: list[str]) -> int:
    """A/A runs, noise bands, power, and injected delays."""
    if asks_for_help(argv):
        return print_help("calibrate", WHAT)
    from harness.cli.progress import TerminalProgress
    from harness.experiments.calibrate import calibrate as experiment

    def task(composed: DictConfig) -> int:
        config = hydra_side.to_config(composed)
        folder = jobs.run_folder()
        with TerminalProgress() as progress:
            found = experiment(config, jobs.asked_for(), folder, progress)
        if found is None:
            return EXIT_CODES["invalid"]
        return _conclude(found, config, folder)

    return hydra_side.with_hydra("calibrate", argv, task)


def _conclude(found: Calibration, config: Config, folder: Path) -> int:
    path = save_calibration(found)
    text = as_markdown(found)
    write_text(folder / "calibration.md", text)
    if config.report.plots:
        _plot(found, folder / "plots")
    if config.report.show == "table":
        console = Console(highlight=False, soft_wrap=True)
        console.print(Markdown(text))
        console.print(
            f"{path}: used by gates of such runs against a baseline, on this machine", markup=False
        )
    if config.report.show == "json":
        print(msgspec.json.encode(found).decode())  # noqa: T201 the answer
    if not all(proof.holds for proof in found.proofs):
        return EXIT_CODES["fail"]
    return EXIT_CODES["pass" if found.detectable is not None else "inconclusive"]


def _plot(found: Calibration, folder: Path) -> None:
    from harness.report.style import finish, new_figure, styled, write_plot

    title = "How often a slow-down is found"
    caption = (
        f"Share of redrawn pairs of runs in which `{found.rule}` fails, by how much slower one of"
        f" them is made; {found.runs} runs, {found.clips} clips x {found.repeats} repeats"
    )
    with styled():
        figure = new_figure(title, 2.6)
        draw_power(found, figure.add_subplot())
        plot = finish("power", title, caption, figure)
    folder.mkdir(exist_ok=True)
    write_plot(plot, folder)
