"""Judging finished runs: by their own gate or another, against a baseline or the other arms."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from harness.config import GateConfig
from harness.errors import BaselineError, UsageError
from harness.machine.environment import Environment
from harness.metrics import METRICS_VERSION
from harness.runs.folder import Run, RunWriter, load_run
from harness.runs.records import Summary, Verdict
from harness.runs.summarise import summarise_run
from harness.runs.validity import not_allowed
from harness.verdicts.baselines import FOLDER, Baseline, load_baseline, require_comparable
from harness.verdicts.calibration import load_calibration
from harness.verdicts.gates import JudgingContext, check_arm, check_references, judge
from harness.verdicts.rules import BASELINE, compares_with_baseline, parse_rules
from harness.verdicts.sequential import SequentialPlan, confirm, to_confirm


class BaselineReference(msgspec.Struct, frozen=True):
    """What a run is compared with by rules `vs baseline`, when it is alone."""

    baseline: Baseline
    allowed: tuple[str, ...] = ()  # fields that differ, and were allowed to


def load_against(
    gate: GateConfig,
    environment: Environment,
    name: str | None = None,
    folder: Path = FOLDER,
) -> BaselineReference | None:
    """The baseline that a gate names, checked against the run's environment; None: it names none.

    Raises:
        BaselineError: there is none of this name, or it may not be compared with.
        UsageError: ``gate.allow`` names no field, or no rule compares with a baseline.
    """
    name = name or gate.baseline
    if name is None:
        return None
    if not any(compares_with_baseline(rule) for rule in parse_rules(gate.rules)):
        raise UsageError(
            f"a baseline is named, and no rule of gate {gate.name} compares with one", value=name,
            allowed="a gate with rules `vs baseline`, such as gate=ci",
            hint="add gate=ci, or leave the baseline out",
        )  # fmt: skip
    baseline = load_baseline(name, folder)
    return BaselineReference(baseline, require_comparable(baseline, environment, gate.allow))


def gate_of(run: Run) -> GateConfig:
    """The gate that the run was configured with."""
    return GateConfig(**run.config["gate"])


def judge_runs(
    runs: Sequence[Run],
    summaries: Sequence[Summary],
    gate: GateConfig | None = None,
    against: BaselineReference | None = None,
) -> list[Verdict]:
    """One verdict an arm.

    With ``replay.until=decided`` a look, the last one too, spends its share of the gate's alpha.

    Args:
        runs: the arms of one comparison; rules `vs baseline` compare with the first of several.
        gate: in place of the one that each run was configured with.
        against: what a run that is alone is compared with.

    Raises:
        ConfigError: the gate, or a rule of it, names an arm that is not there.
        BaselineError: a run was measured by another version of the metrics.
    """
    _require_our_metrics(runs)
    reference = _reference(runs, summaries, against)
    names = [
        {"name": run.name, **summary.arm} for run, summary in zip(runs, summaries, strict=True)
    ]
    check_arm(gate or gate_of(runs[0]), names)
    arms = [run.name for run in runs]
    if len(runs) == 1 and runs[0].name != (chunking := summaries[0].arm["chunking"]):
        arms.append(chunking)  # it may lie in a folder of any name
    for run in runs:
        check_references(gate or gate_of(run), arms)
    validity = {
        run.name: not_allowed(summary.validity, (gate or gate_of(run)).allow)
        for run, summary in zip(runs, summaries, strict=True)
    }
    invalid = {name: problems[0] for name, problems in validity.items() if problems}
    if len(runs) > 1 and runs[0].name in invalid:
        invalid[BASELINE] = invalid[runs[0].name]
    verdicts = [
        judge(
            run.clips,
            gate or gate_of(run),
            arm=arm,
            validity=validity[run.name],
            figures=summary.metrics,
            share=_share(run),
            seed=run.environment.seed,
            **_context(run, runs, reference, invalid),
        )
        for run, summary, arm in zip(runs, summaries, names, strict=True)
    ]
    if against is None:
        return verdicts
    command = _compare_command(runs[0], gate or gate_of(runs[0]), against)
    return [_name_next(verdict, command) for verdict in verdicts]


def _reservation(summary: Summary) -> str:
    """A stored baseline was measured at another time: how busy the machine is now matters."""
    busy = (text for text in summary.warnings if text.startswith("busy_machine: "))
    return next((text.removeprefix("busy_machine: ").partition(";")[0] for text in busy), "")


def _context(
    run: Run, runs: Sequence[Run], reference: JudgingContext, invalid: Mapping[str, str]
) -> JudgingContext:
    return {
        **reference,
        "is_reference": len(runs) > 1 and run is runs[0],
        "other_arms": {other.name: other.clips for other in runs if other is not run},
        "invalid_references": {n: why for n, why in invalid.items() if n != run.name},
    }


def _reference(
    runs: Sequence[Run], summaries: Sequence[Summary], against: BaselineReference | None
) -> JudgingContext:
    """What rules `vs baseline` compare with: the first of several arms, or a stored baseline."""
    if len(runs) > 1:
        return {"baseline": runs[0].clips, "baseline_name": f"arm {runs[0].name}"}
    if against is None:
        return {}
    calibration = load_calibration(runs[0].environment, runs[0].config["replay"]["repeats"])
    return {
        "baseline": against.baseline.clips,
        "baseline_name": against.baseline.name,
        "allowed": against.allowed,
        "bands": calibration.bands if calibration else None,
        "reservation": _reservation(summaries[0]),
    }


def _require_our_metrics(runs: Sequence[Run]) -> None:
    for run in runs:
        version = run.environment.metrics_version
        if version != METRICS_VERSION:
            raise BaselineError(
                f"{run.folder} was measured by another version of the metrics than rules are about",
                value=version, allowed=METRICS_VERSION,
                hint="measure its recorded events by this version:"
                f" python -m harness rechunk {run.folder} chunking=CHOICE",
            )  # fmt: skip


def _share(run: Run) -> float:
    replayed = run.config["replay"]
    if replayed.get("until") != "decided":
        return 1.0
    return SequentialPlan(replayed["repeats"], replayed["most_repeats"]).share


def _compare_command(run: Run, gate: GateConfig, against: BaselineReference) -> str:
    """The command that measures both revisions in one comparison: is it the code or the machine?"""
    old = against.baseline.environment
    if old.config_identity != run.environment.config_identity:
        # both revisions would get this run's config
        return "measure both configs in one comparison: compare"
    made_of = old.git_revision
    if made_of is None:
        return (
            "measure old and new in one comparison: compare --against REVISION"
            " (the baseline names none)"
        )
    own = gate_of(run)
    dropped = ("gate.baseline", "gate.allow") if gate.rules == own.rules else ("gate",)
    overrides = [o for o in run.environment.overrides if not o.startswith(dropped)]
    if gate.name != "none" and not any(override.startswith("gate=") for override in overrides):
        overrides.append(f"gate={gate.name}")
    if gate.rules != own.rules and gate.name in ("none", own.name):  # rules given by hand
        overrides.append(f"gate.rules={list(gate.rules)}")
    revision = made_of.removesuffix("+dirty")
    command = shlex.join(["python", "-m", "harness", "compare", "--against", revision, *overrides])
    note = "" if revision == made_of else " (the baseline had changes on top that are not in git)"
    return f"confirm it, old and new interleaved: {command}{note}"


def _name_next(verdict: Verdict, what: str) -> Verdict:
    """``verdict`` with a next step for each regression."""
    regressed = to_confirm(verdict)
    rules = [
        msgspec.structs.replace(rule, next=what) if rule.rule in regressed else rule
        for rule in verdict.rules
    ]
    return msgspec.structs.replace(verdict, rules=tuple(rules))


CONFIRM = "confirm"  # folder of the second measurement, next to the arms' folders


def to_be_confirmed(folders: Sequence[Path]) -> bool:
    """Whether regressions have to be confirmed by a second measurement (``gate.confirm``)."""
    if len(folders) == 1:
        return False
    runs = [load_run(folder) for folder in folders]
    verdicts = judge_runs(runs, list(map(summarise_run, runs)))
    asked = zip(runs, verdicts, strict=True)
    return any(gate_of(run).confirm and to_confirm(v) for run, v in asked)


def judge_again(
    verdicts: Sequence[Verdict], again: Sequence[Run], gate: GateConfig | None = None
) -> list[Verdict]:
    """The verdicts after the same arms were measured once more, interleaved."""
    second = judge_runs(again, list(map(summarise_run, again)), gate)
    return [confirm(*pair) for pair in zip(verdicts, second, strict=True)]


def judged(summary: Summary, verdict: Verdict) -> Summary:
    return msgspec.structs.replace(summary, verdict=verdict)


def finish_arms(
    writers: Sequence[RunWriter],
    against: BaselineReference | None = None,
    again: Sequence[RunWriter] = (),
) -> list[Summary]:
    """Summarise and judge what the arms' folders hold, as ``report`` and ``gate`` would.

    Args:
        again: of the same arms, measured once more to confirm a regression.
    """
    runs = [load_run(writer.folder) for writer in writers]
    summaries = [summarise_run(run) for run in runs]
    verdicts = judge_runs(runs, summaries, against=against)
    if again:
        finish_arms(again)
        verdicts = judge_again(verdicts, [load_run(writer.folder) for writer in again])
    done = [judged(*pair) for pair in zip(summaries, verdicts, strict=True)]
    for writer, summary in zip(writers, done, strict=True):
        writer.finish(summary)
    return done
