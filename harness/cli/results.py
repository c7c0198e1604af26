"""What the verbs share once runs are finished: reading, printing, judging them."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from harness.errors import StorageError
from harness.metrics import METRICS_VERSION, Summary
from harness.metrics.comparison import compare_arms
from harness.report import write_report
from harness.report.arms import make_arms
from harness.report.terminal import print_comparison, print_summary
from harness.runs import Run, load_run, write_json, write_text
from harness.summaries import summarise_run
from harness.verdicts import Verdict, ci, exit_code, worst

STYLES = {"pass": "green", "fail": "bold red", "inconclusive": "yellow", "invalid": "red"}


def conclude(folders: Sequence[Path]) -> int:
    """Write the report of finished runs, print it; returns the worst verdict's exit code."""
    runs = [load_run(folder) for folder in folders]
    out = folders[0] if len(folders) == 1 else folders[0].parent
    if runs[0].config["report"]["plots"]:
        write_report(runs, out)
    if len(runs) > 1:
        write_comparison(runs, out)
    print_runs(runs, out)
    verdicts = [msgspec.convert(_summary(run).verdict, Verdict) for run in runs]
    return publish(runs, verdicts, out)


def write_comparison(runs: Sequence[Run], out: Path) -> None:
    """``comparison.json``: every arm against the first, paired clip by clip."""
    first, *others = runs
    seed = first.environment["seed"]
    comparison = {
        "schema": 1,
        "metrics_version": METRICS_VERSION,
        "arms": [run.name for run in runs],
        "comparisons": [compare_arms(first.clips, other.clips, seed=seed) for other in others],
    }
    write_json(out / "comparison.json", comparison)


def print_runs(runs: Sequence[Run], folder: Path) -> None:
    console = Console(highlight=False)
    if len(runs) == 1:
        step = "python -m harness compare chunking=1word,6word"
        print_summary(_summary(runs[0]), console, folder=folder, next_step=step)
        return
    arms = make_arms(runs, [_summary(run) for run in runs])
    step = f"python -m harness report {' '.join(str(run.folder) for run in runs)}"
    print_comparison(arms, console, folder=folder, next_step=step)


def status_of(run: Run) -> str:
    return str(_summary(run).verdict["status"])


def _summary(run: Run) -> Summary:
    if run.summary is None:
        raise StorageError(f"the run in {run.folder} did not finish: it has no summary.json")
    return run.summary


def publish(runs: Sequence[Run], verdicts: Sequence[Verdict], out: Path) -> int:
    """Print the verdicts, write ``junit.xml``, annotate on GitHub; returns the exit code."""
    by_arm = {run.name: verdict for run, verdict in zip(runs, verdicts, strict=True)}
    write_text(out / "junit.xml", ci.junit_xml(by_arm))
    print_verdicts(by_arm)
    if os.environ.get("GITHUB_ACTIONS") == "true":
        print("\n".join(ci.github_annotations(by_arm)))  # noqa: T201 read by the runner
        if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(ci.markdown(by_arm))
    return exit_code(worst([verdict.status for verdict in verdicts]))


def print_verdicts(by_arm: dict[str, Verdict]) -> None:
    """Every rule of every arm that was judged, with why and what to do."""
    console = Console(highlight=False)
    for arm, verdict in by_arm.items():
        if not verdict.rules:
            continue
        against = f", against {verdict.baseline}" if verdict.baseline else ""
        console.print(f"\n{arm}: {verdict.status.upper()} by gate {verdict.gate}{against}")
        if verdict.allowed:
            console.print(f"  compared although these differ: {', '.join(verdict.allowed)}")
        for rule in verdict.rules:
            status = rule.status.upper() if rule.status != "none" else "NOT ASKED"
            console.print(Text(f"  {status:<13}{rule.rule}", style=STYLES.get(rule.status, "dim")))
            why = rule.why + (f". Next: {rule.next}" if rule.next else "")
            console.print(Padding(Text(why), (0, 0, 0, 15)))


def arms_of(folder: Path) -> list[Path]:
    """The run itself, or the arms of a comparison in the order in which they were compared."""
    arms = sorted(path.parent for path in folder.glob("*/events.jsonl"))
    if (folder / "events.jsonl").is_file() or not arms:
        return [folder]
    return arms


def finished(run: Run) -> Run:
    """The run with a summary: a killed run's is made now, from the clips that it kept."""
    if run.summary is not None:
        return run
    print(f"note: {run.folder} did not finish; {len(run.clips)} clips were kept", file=sys.stderr)  # noqa: T201
    return msgspec.structs.replace(run, summary=summarise_run(run))
