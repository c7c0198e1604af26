"""The verb ``gate``: judge a finished run again, offline."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from harness.cli.results import COMPARISON, arms_of, finished, keep, publish, renew
from harness.config import GateConfig
from harness.errors import UsageError
from harness.runs.folder import SUMMARY, Run, load_run, write_json
from harness.runs.records import Verdict
from harness.verdicts import exit_code, worst
from harness.verdicts.judge import CONFIRM, gate_of, judge_again, judge_runs, judged, load_against


def gate(argv: list[str]) -> int:
    """Judge a finished run, or the arms of a comparison, again: no model, nothing is replayed.

    summary.json, junit.xml, report.html and report.md hold the new verdict from then on.
    """
    parser = argparse.ArgumentParser(
        prog="python -m harness gate", description=gate.__doc__,
        epilog="example: python -m harness gate reports/runs/RUN gate=ci --baseline main",
    )  # fmt: skip
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder, or a comparison's")
    parser.add_argument(
        "overrides", nargs="*", metavar="gate=NAME",
        help="another gate than the run's own, and gate.FIELD=VALUE",
    )  # fmt: skip
    parser.add_argument("--baseline", metavar="NAME", help="what rules `vs baseline` compare with")
    parser.add_argument(
        "--allow", action="append", default=[], metavar="FIELD",
        help="a field of the environment in which the baseline may differ; may be repeated",
    )  # fmt: skip
    options = parser.parse_intermixed_args(argv)
    folders = arms_of(options.run)
    loaded = [load_run(folder) for folder in folders]
    if folders != [options.run] and not _were_compared(options.run, loaded):
        raise UsageError(
            "runs lie in this folder, but were not compared", value=str(options.run),
            hint=f"name one of them, such as {folders[0]}",
        )  # fmt: skip
    runs = [finished(run) for run in loaded]
    chosen = _gate(runs[0], options.overrides) if options.overrides else gate_of(runs[0])
    if not chosen.rules and options.baseline is not None and not options.overrides:
        print("the run was asked for no gate: judged by gate=ci", file=sys.stderr)  # noqa: T201
        chosen = _gate(runs[0], ["gate=ci"])
    chosen.allow = [*chosen.allow, *options.allow]
    against = load_against(chosen, runs[0].environment, options.baseline)
    if against is not None and len(runs) > 1:
        raise UsageError(
            "a comparison is judged against its first arm, not against a baseline",
            value=against.baseline.name,
            hint="name one arm's folder",
        )
    summaries = [run.summary for run in runs if run.summary is not None]
    verdicts = judge_runs(runs, summaries, chosen, against)
    if len(runs) > 1 and chosen.confirm and (options.run / CONFIRM).is_dir():
        again = [load_run(options.run / CONFIRM / run.name) for run in runs]
        verdicts = judge_again(verdicts, again, chosen)
    if not chosen.rules:
        print(  # noqa: T201 the answer
            f"gate {chosen.name} has no rules: nothing to judge; name one with gate=ci"
        )
        return exit_code(worst([verdict.status for verdict in verdicts]))
    keep(runs, verdicts, options.run)
    if len(runs) == 1 and (options.run.parent / COMPARISON).is_file():
        return publish(runs, verdicts)  # one arm of a comparison: the comparison's verdict stays
    runs = _keep(runs, verdicts)
    code = publish(runs, verdicts)
    renew([run for run in runs if run.summary is not None], options.run)
    return code


def _were_compared(folder: Path, runs: Sequence[Run]) -> bool:
    """Not measured one after the other; a comparison that was cut off has no file yet."""
    comparisons = {tuple(run.environment.arms_of_this_comparison) for run in runs}
    names = sorted(run.name for run in runs)
    return (folder / COMPARISON).is_file() or [sorted(arms) for arms in comparisons] == [names]


def _keep(runs: Sequence[Run], verdicts: Sequence[Verdict]) -> list[Run]:
    """The new verdict takes the old one's place, so that a report made again shows it."""
    done = []
    for run, verdict in zip(runs, verdicts, strict=True):
        if run.summary is not None:
            run = msgspec.structs.replace(run, summary=judged(run.summary, verdict))  # noqa: PLW2901
            if (run.folder / SUMMARY).is_file():  # not of a killed run
                write_json(run.folder / SUMMARY, run.summary)
        done.append(run)
    return done


def _gate(run: Run, overrides: Sequence[str]) -> GateConfig:
    """The gate that ``overrides`` name; where they only change fields, the run's own, changed."""
    from harness.cli.compose import compose_alone, to_config

    foreign = [override for override in overrides if not override.startswith("gate")]
    if foreign:
        raise UsageError(
            "a finished run is judged as it is", value=" ".join(foreign),
            allowed="gate=NAME and gate.FIELD=VALUE",
        )  # fmt: skip
    changed = to_config(compose_alone(list(overrides))).gate
    if any(override.startswith("gate=") for override in overrides):
        return changed
    names = {o.partition("=")[0].removeprefix("gate.").partition(".")[0] for o in overrides}
    return replace(gate_of(run), **{name: getattr(changed, name) for name in names})
