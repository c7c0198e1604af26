"""``calibrate``: what this machine's noise hides, and proof that the gate finds what it does not.

Runs of the same, one after the other on an engine that is loaded once; then every injected delay as
an arm beside one that is left as it is, interleaved. All of them are run folders like any other.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from omegaconf import DictConfig
from rich.console import Console
from rich.markdown import Markdown

from harness.cli import compose as hydra_side
from harness.cli.help import asks_for_help, print_help
from harness.cli.progress import console as stderr
from harness.cli.replaying import make_plan
from harness.config import Config
from harness.errors import ConfigError
from harness.metrics import ClipMetrics, Summary
from harness.runs.folder import load_run, write_text
from harness.verdicts import EXIT_CODES, RuleVerdict, Verdict
from harness.verdicts.calibration import (
    INJECTIONS,
    Calibration,
    Proof,
    as_markdown,
    draw_power,
    expected_of,
    parse_calibrated,
    save_calibration,
    tail_rule,
    typical_ttft_ms,
)
from harness.verdicts.calibration import (
    calibrate as calibrate_runs,
)

if TYPE_CHECKING:  # loaded when something is replayed: `--help` answers at once
    from harness.experiments.run import Rig

WHAT = """\
Find out what this machine's noise hides. Runs of the same thing give the noise between runs, which
gates of that configuration against a stored baseline allow for from then on, and the smallest
slow-down that is found.
Then known delays are injected into the engine, and the gate must find what it claims to find.

  python -m harness calibrate
  python -m harness calibrate calibrate.runs=8 replay.repeats=5

Exit code 0: every injected delay from the smallest detectable one on failed the gate, and none
below what the rule allows did. 3: one of them did not hold. 4: a run was not valid or was cut off,
or no delay at all can be found with so few clips and repeats."""
AS_IT_IS = "as-it-is"  # the arm into which nothing is injected


def calibrate(argv: list[str]) -> int:
    """A/A runs, noise bands, power, and injected delays."""
    if asks_for_help(argv):
        return print_help("calibrate", WHAT)
    codes: list[int] = []

    def task(composed: DictConfig) -> None:
        config = hydra_side.to_config(composed)
        codes.append(_calibrate(config, hydra_side.asked_for(), hydra_side.run_folder()))

    hydra_side.with_hydra("calibrate", argv, task)
    return max(codes, default=0)


def _calibrate(config: Config, overrides: list[str], folder: Path) -> int:
    from harness.cli.progress import TerminalProgress
    from harness.experiments.run import Rig

    _check(config)
    with TerminalProgress() as progress, closing(Rig(config, progress)) as rig:
        progress.stage(_duration(config, rig))
        go = _Goes(config, overrides, folder, rig)
        runs = go.same()
        if runs is None:
            return EXIT_CODES["invalid"]
        environment = load_run(go.folder_of(0)).environment
        found = calibrate_runs(
            runs, environment, config.calibrate.rule, planned_repeats=config.replay.repeats,
            confidence=config.gate.confidence, seed=config.seed,
        )  # fmt: skip
        proofs = go.prove(found, typical_ttft_ms(runs))
    if proofs is None:
        return EXIT_CODES["invalid"]
    return _conclude(msgspec.structs.replace(found, proofs=proofs), config, folder)


def _check(config: Config) -> None:
    parse_calibrated(config.calibrate.rule)
    if config.inject.active:
        raise ConfigError("calibrate injects its own delays", hint="leave inject.* out")
    if config.replay.until == "decided":
        raise ConfigError(
            "a calibration is of a planned number of repeats",
            value="replay.until=decided", hint="replay.repeats=N",
        )  # fmt: skip


def _duration(config: Config, rig: Rig) -> str:
    clips = rig.dataset.clips
    goes, repeats = config.calibrate.runs + len(INJECTIONS) + 1, config.replay.repeats
    text = f"{goes} runs of {len(clips)} clips x {repeats} repeats"
    if config.replay.pace != "realtime":
        return text
    audio_s = sum(clip.duration_s for clip in clips) * repeats * goes / config.replay.streams
    return f"{text}: {audio_s / 60:.0f} minutes of audio, and the time of the answers"


class _Goes:
    """The runs of the same, then the injected delays; each is None if it was not valid."""

    def __init__(self, config: Config, overrides: list[str], folder: Path, rig: Rig) -> None:
        self._config = config
        self._overrides = overrides
        self._folder = folder
        self._rig = rig

    def folder_of(self, run: int) -> Path:
        return self._folder / f"same-{run + 1}"

    def same(self) -> list[tuple[ClipMetrics, ...]] | None:
        runs = []
        for index in range(self._config.calibrate.runs):
            self._rig.progress.stage(f"Run {index + 1} of {self._config.calibrate.runs}")
            folder = self.folder_of(index)
            seed = f"seed={self._config.seed + index}"  # another order of clips
            if not self._replay({folder: ["gate.rules=[]", seed]}):
                return None
            runs.append(load_run(folder).clips)
        return runs

    def prove(self, found: Calibration, ttft_ms: float) -> tuple[Proof, ...] | None:
        """All delays as arms of one go, each judged against the arm that is left as it is."""
        self._rig.progress.stage(f"Injecting {len(INJECTIONS)} delays")
        arms = {self._folder / AS_IT_IS: ["gate.rules=[]"]}
        for injection in INJECTIONS:
            rule = found.rule if injection.tail_share == 1 else tail_rule(found.rule)
            arms[self._folder / injection.arm] = [
                f"gate.rules=['{rule}']", "gate.confirm=false", *injection.overrides(ttft_ms),
            ]  # fmt: skip
        summaries = self._replay(arms)
        if not summaries:
            return None
        proofs = []
        for injection, summary in zip(INJECTIONS, summaries[1:], strict=True):
            (said,) = msgspec.convert(summary.verdict, Verdict).rules
            expected = expected_of(injection, found, ttft_ms)
            proofs.append(
                Proof(injection=injection, status=said.status, why=_why(said), expected=expected)
            )
        return tuple(proofs)

    def _replay(self, arms: dict[Path, list[str]]) -> list[Summary]:
        """One go; nothing if a run of it cannot be relied on, which is said."""
        from harness.experiments.run import replay_arms

        plans = []
        for folder, more in arms.items():
            overrides = [*self._overrides, "gate.name=calibration", "gate.baseline=null", *more]
            composed = hydra_side.compose(overrides)
            plans.append(make_plan(folder.name, composed, folder, overrides))
        summaries = replay_arms(plans, self._rig)
        for folder, summary in zip(arms, summaries, strict=True):
            problems = [*summary.validity, *([f"{summary.failed} failed"] * (summary.failed > 0))]
            if problems:
                stderr.print(
                    f"not calibrated: {folder} is not valid: {problems[0]}"
                    " (the runs that were finished are kept)",
                    markup=False, soft_wrap=True,
                )  # fmt: skip
                return []
        return summaries


def _why(rule: RuleVerdict) -> str:
    return rule.why + (f"; {rule.next}" if rule.status == "inconclusive" else "")


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
