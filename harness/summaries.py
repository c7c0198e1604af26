"""``summary.json`` of a run, from what its folder holds and nothing else.

So a summary can be made again after a crash, by another gate, or by a later version of the metrics.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from harness.config import GateConfig
from harness.metrics import METRICS_VERSION, Summary
from harness.metrics.summary import summarise
from harness.runs import Run
from harness.verdicts import Verdict
from harness.verdicts.baselines import Baseline, load_baseline, require_comparable
from harness.verdicts.calibration import load_calibration
from harness.verdicts.gates import judge
from harness.verdicts.validity import RunFacts, check_validity


class Against(msgspec.Struct, frozen=True):
    """What a run is compared with by rules `vs baseline`, when it is alone."""

    baseline: Baseline
    allowed: tuple[str, ...] = ()  # fields of the environment that may differ


def load_against(
    gate: GateConfig, environment: dict[str, Any], name: str | None = None
) -> Against | None:
    """The baseline that a gate names, checked against the run's environment; None: it names none.

    Raises:
        BaselineError: there is none of this name, or it may not be compared with.
        UsageError: a field of ``gate.allow`` that there is not.
    """
    name = name or gate.baseline
    if name is None:
        return None
    baseline = load_baseline(name)
    require_comparable(baseline, environment, gate.allow)
    return Against(baseline, tuple(gate.allow))


def summarise_run(run: Run) -> Summary:
    """Metrics and validity of a run, finished or not; judged by nothing."""
    environment, replayed = run.environment, run.config["replay"]
    repeats = _repeats(run)
    facts = RunFacts(
        planned=environment["dataset"]["clips"] * repeats,
        pace=replayed["pace"],
        gc_pauses_ns=tuple((pause.start_ns, pause.end_ns) for pause in run.gc_pauses),
        clock_resolution_ns=environment["clock_resolution_ns"],
    )
    validity, warnings = check_validity(run.traces, run.clips, facts)
    return Summary(
        schema=1,
        metrics_version=METRICS_VERSION,
        arm=environment["arm"],
        clips=environment["dataset"]["clips"],
        repeats=repeats,
        failed=sum(clip.failed is not None for clip in run.clips),
        simulated=environment["simulated"],
        injected=environment["injected"],
        random_weights=environment["model"]["random_weights"],
        harness_floor_ms=environment["harness_floor_ms"],
        validity=validity,
        warnings=warnings,
        metrics=summarise(run.clips, seed=environment["seed"], pace=replayed["pace"]),
        verdict={"status": "invalid" if validity else "none", "rules": []},
    )


def _repeats(run: Run) -> int:
    """As configured; with ``replay.until=decided`` as many as it took."""
    replayed = run.config["replay"]
    if replayed["until"] == "decided":
        return max((clip.repeat + 1 for clip in run.clips), default=replayed["repeats"])
    return int(replayed["repeats"])


def gate_of(run: Run) -> GateConfig:
    """The gate that the run was configured with."""
    return GateConfig(**run.config["gate"])


def judge_runs(
    runs: Sequence[Run],
    summaries: Sequence[Summary],
    gate: GateConfig | None = None,
    against: Against | None = None,
    share: float = 1.0,
) -> list[Verdict]:
    """One verdict an arm.

    Args:
        runs: the arms of one go; rules `vs baseline` compare with the first of several.
        gate: in place of the one that each run was configured with.
        against: what a run that is alone is compared with.
        share: of the gate's alpha that this look may spend.
    """
    reference, name, bands = None, None, None
    if len(runs) > 1:
        reference, name = runs[0].clips, f"arm {runs[0].name}"
    elif against is not None:
        reference, name = against.baseline.clips, against.baseline.name
        calibration = load_calibration(runs[0].environment)
        bands = calibration.bands if calibration else None
    return [
        judge(
            run.clips,
            gate or gate_of(run),
            arm={"name": run.name, **summary.arm},
            validity=summary.validity,
            baseline=reference,
            baseline_name=name,
            allowed=against.allowed if against else (),
            is_reference=len(runs) > 1 and run is runs[0],
            other_arms={other.name: other.clips for other in runs if other is not run},
            bands=bands,
            share=share,
            seed=run.environment["seed"],
        )
        for run, summary in zip(runs, summaries, strict=True)
    ]


def judged(summary: Summary, verdict: Verdict) -> Summary:
    return msgspec.structs.replace(summary, verdict=msgspec.to_builtins(verdict))
