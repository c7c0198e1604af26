"""What this machine's noise hides, and proof that the gate finds what it does not.

Runs of the same, one after the other on an engine that is loaded once; then every injected delay as
an arm, interleaved with one without a delay. All of them are ordinary run folders.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from harness.config import Config
from harness.errors import ConfigError
from harness.experiments.plan import ArmPlan
from harness.experiments.progress import Progress
from harness.experiments.rig import Rig
from harness.experiments.run import replay_arms
from harness.metrics import ClipMetrics
from harness.runs.folder import load_run
from harness.runs.records import RuleVerdict, Summary
from harness.verdicts.calibration import (
    INJECTIONS,
    Calibration,
    Proof,
    expected_of,
    parse_calibrated,
    tail_rule,
    typical_ttft_ms,
)
from harness.verdicts.calibration import (
    calibrate as calibrate_runs,
)

AS_IT_IS = "as-it-is"  # the arm into which nothing is injected


def calibrate(
    config: Config, overrides: Sequence[str], folder: Path, progress: Progress
) -> Calibration | None:
    """Measure noise bands and power, then inject known delays; None: a run was not valid.

    Args:
        overrides: that ``config`` was composed from; kept with every run.
        folder: of all runs.

    Raises:
        ConfigError: options that cannot be calibrated with.
    """
    _check(config)
    with closing(Rig(config, progress)) as rig:
        progress.stage(_duration(config, rig))
        measured = _Runs(config, overrides, folder, rig)
        runs = measured.same()
        if runs is None:
            return None
        environment = load_run(measured.folder_of(0)).environment
        found = calibrate_runs(
            runs, environment, config.calibrate.rule, planned_repeats=config.replay.repeats,
            confidence=config.gate.confidence, seed=config.seed,
        )  # fmt: skip
        proofs = measured.prove(found, typical_ttft_ms(runs))
    return None if proofs is None else msgspec.structs.replace(found, proofs=proofs)


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
    runs, repeats = config.calibrate.runs + len(INJECTIONS) + 1, config.replay.repeats
    text = f"{runs} runs of {len(clips)} clips x {repeats} repeats"
    if config.replay.pace != "realtime":
        return text
    audio_s = sum(clip.duration_s for clip in clips) * repeats * runs / config.replay.streams
    return f"{text}: {audio_s / 60:.0f} minutes of audio, and the time of the answers"


class _Runs:
    """The runs of one configuration, then the injected delays; None: one was not valid."""

    def __init__(self, config: Config, overrides: Sequence[str], folder: Path, rig: Rig) -> None:
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
            seed = self._config.seed + index  # another order of clips
            plan = self._plan(folder, [f"seed={seed}"], seed=seed)
            if not self._replay([plan]):
                return None
            runs.append(load_run(folder).clips)
        return runs

    def prove(self, found: Calibration, ttft_ms: float) -> tuple[Proof, ...] | None:
        """All delays as arms of one comparison, each judged against the arm without a delay."""
        self._rig.progress.stage(f"Injecting {len(INJECTIONS)} delays")
        plans = [self._plan(self._folder / AS_IT_IS, [])]
        for injection in INJECTIONS:
            rule = found.rule if injection.tail_share == 1 else tail_rule(found.rule)
            inject = replace(
                self._config.inject, delay_ms=injection.delay_ms(ttft_ms),
                tail_share=injection.tail_share,
            )  # fmt: skip
            plans.append(
                self._plan(
                    self._folder / injection.arm, injection.overrides(ttft_ms),
                    rules=[rule], inject=inject,
                )
            )  # fmt: skip
        summaries = self._replay(plans)
        if not summaries:
            return None
        proofs = []
        for injection, summary in zip(INJECTIONS, summaries[1:], strict=True):
            (judged,) = summary.verdict.rules
            expected = expected_of(injection, found, ttft_ms)
            proofs.append(
                Proof(
                    injection=injection, status=judged.status, why=_why(judged), expected=expected
                )
            )
        return tuple(proofs)

    def _plan(
        self, folder: Path, more: Sequence[str], rules: Sequence[str] = (), **changed: Any
    ) -> ArmPlan:
        gate = replace(
            self._config.gate, name="calibration", baseline=None, rules=list(rules), confirm=False
        )
        return ArmPlan(
            name=folder.name,
            config=replace(self._config, gate=gate, **changed),
            folder=folder,
            overrides=(*self._overrides, *more),
        )

    def _replay(self, plans: Sequence[ArmPlan]) -> list[Summary]:
        """Measure the arms; nothing if a run of it cannot be relied on, which is reported."""
        summaries = replay_arms(plans, self._rig)
        for plan, summary in zip(plans, summaries, strict=True):
            problems = [*summary.validity, *([f"{summary.failed} failed"] * (summary.failed > 0))]
            if problems:
                self._rig.progress.note(
                    f"not calibrated: {plan.folder} is not valid: {problems[0]}"
                    " (the runs that were finished are kept)"
                )
                return []
        return summaries


def _why(rule: RuleVerdict) -> str:
    return rule.why + (f"; {rule.next}" if rule.status == "inconclusive" else "")
