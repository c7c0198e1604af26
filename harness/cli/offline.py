"""The verbs that need no model: ``report`` and ``rechunk``; neither imports torch."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import msgspec
import yaml

from harness.chunking import chunking_name
from harness.chunking import rechunk as rechunk_tokens
from harness.cli.results import arms_from, arms_of, conclude, finished, print_arms, remake
from harness.config import ChunkingConfig, GateConfig, ReportConfig
from harness.environment import describe_environment, identity
from harness.errors import UsageError
from harness.events import ServedEngine
from harness.metrics import METRICS_VERSION
from harness.metrics.accuracy import normaliser_ids
from harness.metrics.latency import as_recorded, clip_metrics
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
    parser.add_argument("--audio", action="store_true", help="put the clips' sound into the page")
    parser.add_argument("--trace", action="store_true", help="also trace.json, for Perfetto")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--json", dest="show", action="store_const", const="json", default="table")
    shown.add_argument("--quiet", dest="show", action="store_const", const="quiet")
    options = parser.parse_args(argv)
    folders = [folder for run in options.runs for folder in arms_of(_imported(run))]
    runs = [finished(load_run(folder)) for folder in folders]
    out: Path = options.out or _imported_to(options.runs[0])
    arms = arms_from(runs)
    for path in remake(arms, out, embed_audio=options.audio, trace=options.trace):
        if options.show == "table":
            print(path)  # noqa: T201 the answer
    print_arms(arms, out, options.show)
    return exit_code(worst([str(arm.summary.verdict["status"]) for arm in arms]))


def _imported_to(path: Path) -> Path:
    """A session saved by the server's page becomes a folder beside its file."""
    return path.with_suffix("") if path.suffix == ".json" else path


def _imported(path: Path) -> Path:
    """A run as it is; a saved session as the run folders that are made of it, one a strategy."""
    folder = _imported_to(path)
    if folder == path or folder.exists():
        return folder
    from harness.serve.saved import read_saved

    saved, traces = read_saved(path)
    engine = msgspec.structs.asdict(saved.engine or ServedEngine())
    random_weights = bool(engine["random_weights"])
    for name, trace in traces.items():
        dataset = {"name": "page", "sha256": None, "clips": 1}
        arm = {"chunking": name, "model": saved.model, "dataset": "page"}
        environment = describe_environment(
            name=name,
            arm=arm | {"session": trace.session.kind.value},
            model={"model": saved.model, "device": None, "dtype": None, **engine},
            dataset=dataset,
            normalisers=normaliser_ids([trace.session.language]),
            config_identity=identity([saved.model, name]),
            harness_floor_ms=None,
            client=saved.client,  # whose clock the instants are of
            seed=0,
            injected=False,
            simulated=False,
        )
        config = {"replay": {"pace": "realtime", "repeats": 1, "until": "repeats"},
                  "gate": asdict(GateConfig()), "report": asdict(ReportConfig())}  # fmt: skip
        writer = RunWriter(folder / name, yaml.safe_dump(config), environment)
        writer.append(trace, clip_metrics(trace, random_weights=random_weights))
        writer.finish(summarise_run(load_run(writer.folder)))
    return folder


RECHUNK_USAGE = """\
python -m harness rechunk RUN chunking=CHOICE[,CHOICE...] [--out FOLDER]

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
    from harness.cli.compose import compose_alone, to_config
    from harness.cli.sweeping import Sweep

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
    version = source.environment["metrics_version"]
    recorded = source.environment.get("recorded_under_metrics", version)
    environment = {
        **source.environment,
        "name": name,
        "arm": {**source.environment["arm"], "chunking": name},
        "config_identity": identity([source.environment["config_identity"], "rechunked", name]),
        "metrics_version": METRICS_VERSION,  # the recorded events are measured anew
        "recorded_under_metrics": recorded,
        "normalisers": normaliser_ids(trace.session.language for trace in source.traces),
        "rechunked_from": str(source.folder),
    }
    config = {**source.config, "chunking": asdict(chunking)}
    writer = RunWriter(out / name, yaml.safe_dump(config, sort_keys=False), environment)
    random_weights = bool(environment["model"]["random_weights"])
    replayed = source.config["replay"]
    for trace in source.traces:
        chunks = rechunk_tokens(trace.tokens, trace.outcome.at_ns, chunking)
        if trace.failed:
            chunks = chunks[:-1]  # a stream that failed was never flushed
        again = msgspec.structs.replace(trace, chunks=chunks)
        metrics = clip_metrics(again, random_weights=random_weights, pace=replayed["pace"])
        writer.append(again, as_recorded(metrics, recorded, replayed["streams"]))
    writer.append_pauses(source.gc_pauses)
    writer.append_host(source.host)
    writer.append_telemetry(source.telemetry)
    writer.finish(summarise_run(load_run(writer.folder)))
    return writer.folder
