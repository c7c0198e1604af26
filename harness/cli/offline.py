"""The verbs that need no model: ``report`` and ``rechunk``; neither imports torch."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import msgspec
import yaml
from rich.console import Console

from harness.chunking import chunking_name
from harness.chunking import rechunk as rechunk_tokens
from harness.config import ChunkingConfig
from harness.environment import identity
from harness.errors import StorageError, UsageError
from harness.metrics import METRICS_VERSION, Summary
from harness.metrics.comparison import compare_arms
from harness.metrics.latency import clip_metrics
from harness.report import write_report
from harness.report.arms import make_arms
from harness.report.terminal import print_comparison, print_summary
from harness.runs import Run, RunWriter, load_run, write_json
from harness.summaries import summarise_run

EXIT_CODES = {"none": 0, "pass": 0, "fail": 3, "inconclusive": 4, "invalid": 4}


def conclude(folders: Sequence[Path]) -> int:
    """Write the report of finished runs, print it; returns the worst verdict's exit code."""
    runs = [load_run(folder) for folder in folders]
    out = folders[0] if len(folders) == 1 else folders[0].parent
    if runs[0].config["report"]["plots"]:
        write_report(runs, out)
    if len(runs) > 1:
        write_comparison(runs, out)
    print_runs(runs, out)
    return max(exit_code(_summary(run)) for run in runs)


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


def exit_code(summary: Summary) -> int:
    return 4 if summary.validity else EXIT_CODES[str(summary.verdict["status"])]


def print_runs(runs: Sequence[Run], folder: Path) -> None:
    console = Console(highlight=False)
    if len(runs) == 1:
        step = "python -m harness compare chunking=1word,6word"
        print_summary(_summary(runs[0]), console, folder=folder, next_step=step)
        return
    arms = make_arms(runs, [_summary(run) for run in runs])
    step = f"python -m harness report {' '.join(str(run.folder) for run in runs)}"
    print_comparison(arms, console, folder=folder, next_step=step)


def _summary(run: Run) -> Summary:
    if run.summary is None:
        raise StorageError(f"the run in {run.folder} did not finish: it has no summary.json")
    return run.summary


def report(argv: list[str]) -> int:
    """Make tables and plots again from saved runs."""
    parser = argparse.ArgumentParser(prog="python -m harness report", description=report.__doc__)
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="a run's folder, or a comparison's"
    )
    parser.add_argument("--out", type=Path, help="where to write (default: the first run's folder)")
    options = parser.parse_args(argv)
    folders = [folder for run in options.runs for folder in _arms_of(run)]
    runs = [_finished(load_run(folder)) for folder in folders]
    out: Path = options.out or options.runs[0]
    for path in write_report(runs, out):
        print(path)  # noqa: T201 the answer
    print_runs(runs, out)
    return max(exit_code(_summary(run)) for run in runs)


RECHUNK_USAGE = """\
usage: python -m harness rechunk RUN chunking=CHOICE[,CHOICE...] [--out FOLDER]

Releases a run's recorded tokens as other chunking strategies would have, without a model and
without noise: what differs between the results is the strategy alone. Each strategy gets a run
folder of its own in FOLDER (default: RUN-rechunked).
"""


def rechunk(argv: list[str]) -> int:
    """Apply other chunking strategies to a run's recorded tokens."""
    parser = argparse.ArgumentParser(prog="python -m harness rechunk", usage=RECHUNK_USAGE)
    parser.add_argument("run", type=Path)
    parser.add_argument("overrides", nargs="+")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(argv)
    from harness.cli.compose import Sweep, compose_alone, to_config

    foreign = [o for o in options.overrides if not o.startswith("chunking")]
    if foreign:
        raise UsageError(
            "rechunk changes the chunking and nothing else",
            value=" ".join(foreign),
            allowed="chunking=CHOICE and chunking.FIELD=VALUE",
        )
    source = load_run(options.run)
    out: Path = options.out or options.run.with_name(f"{options.run.resolve().name}-rechunked")
    sweep = Sweep(options.overrides)
    folders = []
    for arm in sweep.arms:
        config = to_config(compose_alone([*sweep.fixed, *arm.overrides]))
        folders.append(_rechunk_run(source, config.chunking, out))
    return conclude(folders)


def _rechunk_run(source: Run, chunking: ChunkingConfig, out: Path) -> Path:
    """Write the run that the strategy would have made of these tokens; returns its folder."""
    name = chunking_name(chunking)
    environment = {
        **source.environment,
        "name": name,
        "arm": {**source.environment["arm"], "chunking": name},
        "config_identity": identity([source.environment["config_identity"], "rechunked", name]),
        "rechunked_from": str(source.folder),
    }
    config = {**source.config, "chunking": asdict(chunking)}
    writer = RunWriter(out / name, yaml.safe_dump(config, sort_keys=False), environment)
    random_weights = bool(environment["model"]["random_weights"])
    for trace in source.traces:
        chunks = rechunk_tokens(trace.tokens, trace.outcome.at_ns, chunking)
        if trace.failed:
            chunks = chunks[:-1]  # a stream that failed was never flushed
        again = msgspec.structs.replace(trace, chunks=chunks)
        writer.append(again, clip_metrics(again, random_weights=random_weights))
    writer.append_pauses(source.gc_pauses)
    writer.finish(summarise_run(load_run(writer.folder)))
    return writer.folder


def _arms_of(folder: Path) -> list[Path]:
    """The run itself, or the arms of a comparison in the order in which they were compared."""
    arms = sorted(path.parent for path in folder.glob("*/events.jsonl"))
    if (folder / "events.jsonl").is_file() or not arms:
        return [folder]
    return arms


def _finished(run: Run) -> Run:
    """The run with a summary: a killed run's is made now, from the clips that it kept."""
    if run.summary is not None:
        return run
    print(f"note: {run.folder} did not finish; {len(run.clips)} clips were kept", file=sys.stderr)  # noqa: T201
    return msgspec.structs.replace(run, summary=summarise_run(run))
