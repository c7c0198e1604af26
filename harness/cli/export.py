"""The verb ``export``: a run's figures in another tool's format."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from harness.cli.results import arms_of, finished
from harness.errors import RunError, StorageError, UsageError
from harness.export.bencher import bencher
from harness.export.github_action_benchmark import github_action_benchmark
from harness.export.pytest_benchmark import pytest_benchmark
from harness.runs.folder import load_run, write_json

FORMATS = ("pytest-benchmark", "github-action-benchmark", "bencher")


def export(argv: list[str]) -> int:
    """Write a run's figures in another tool's format; exit code 4 if they cannot be relied on."""
    parser = argparse.ArgumentParser(prog="python -m harness export", description=export.__doc__)
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder, or a comparison's")
    parser.add_argument("--format", choices=FORMATS, required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    options = parser.parse_args(argv)
    loaded = [load_run(folder) for folder in arms_of(options.run)]
    if not all(run.clips for run in loaded):
        raise StorageError(
            "a run without a single session: nothing to export", value=str(options.run)
        )
    runs = [finished(run) for run in loaded]
    try:
        options.out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"the folder of --out cannot be made: {error}", hint="choose another --out"
        ) from error
    unfinished = any(run.summary is None for run in loaded)
    summaries = {run.name: run.summary for run in runs if run.summary is not None}
    invalid = [name for name, summary in summaries.items() if summary.validity]
    for name in invalid:
        reasons = "; ".join(summaries[name].validity)
        print(f"warning: {name} is invalid: {reasons}", file=sys.stderr)  # noqa: T201
    match options.format:
        case "pytest-benchmark":
            if len(runs) > 1:
                raise UsageError("a pytest-benchmark file holds one run", hint="name one arm")
            write_json(
                options.out, pytest_benchmark(runs[0].name, runs[0].clips, runs[0].environment)
            )
        case "github-action-benchmark":
            write_json(options.out, github_action_benchmark(summaries))
        case "bencher":
            write_json(options.out, bencher(summaries))
    print(options.out)  # noqa: T201 the answer
    return RunError.exit_code if unfinished or invalid else 0
