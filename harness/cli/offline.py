"""The verbs that need no model: ``report`` and ``rechunk``; neither imports torch."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import msgspec
import yaml

from harness.chunking import chunking_name
from harness.chunking import rechunk as rechunk_tokens
from harness.cli.results import arms_of, conclude, finished, print_runs, status_of
from harness.config import ChunkingConfig
from harness.environment import identity
from harness.errors import UsageError
from harness.metrics.latency import clip_metrics
from harness.report import write_report
from harness.runs import Run, RunWriter, load_run
from harness.summaries import summarise_run
from harness.verdicts import exit_code, worst


def report(argv: list[str]) -> int:
    """Make tables and plots again from saved runs."""
    parser = argparse.ArgumentParser(prog="python -m harness report", description=report.__doc__)
    parser.add_argument(
        "runs", nargs="+", type=Path, metavar="RUN", help="a run's folder, or a comparison's"
    )
    parser.add_argument("--out", type=Path, help="where to write (default: the first run's folder)")
    options = parser.parse_args(argv)
    folders = [folder for run in options.runs for folder in arms_of(run)]
    runs = [finished(load_run(folder)) for folder in folders]
    out: Path = options.out or options.runs[0]
    for path in write_report(runs, out):
        print(path)  # noqa: T201 the answer
    print_runs(runs, out)
    return exit_code(worst([status_of(run) for run in runs]))


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
