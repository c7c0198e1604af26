"""The run that another chunking strategy would have made of a run's recorded tokens."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import msgspec
import yaml

from harness.chunking import Strategy, rechunk
from harness.machine.environment import identity
from harness.metrics import METRICS_VERSION
from harness.metrics.accuracy import normaliser_ids
from harness.metrics.latency import as_recorded, clip_metrics
from harness.runs.folder import Run, RunWriter, load_run
from harness.runs.names import inside
from harness.runs.summarise import summarise_run


def rechunk_run(source: Run, chunking: Strategy, out: Path) -> Path:
    """Write the run that the strategy would have made of these tokens; returns its folder."""
    name = chunking.name
    version = source.environment.metrics_version
    recorded = source.environment.recorded_under_metrics or version
    environment = msgspec.structs.replace(
        source.environment,
        name=name,
        arm=msgspec.structs.replace(source.environment.arm, chunking=name),
        config_identity=identity([source.environment.config_identity, "rechunked", name]),
        metrics_version=METRICS_VERSION,  # the recorded events are measured again
        recorded_under_metrics=recorded,
        normalisers=normaliser_ids(trace.session.language for trace in source.traces),
        rechunked_from=str(source.folder),
    )
    config = {**source.config, "chunking": asdict(chunking)}
    out_folder = inside(out, name, "a strategy")
    writer = RunWriter(out_folder, yaml.safe_dump(config, sort_keys=False), environment)
    random_weights = environment.model.random_weights
    replayed = source.config["replay"]
    for trace in source.traces:
        chunks = rechunk(trace.updates, trace.outcome.at_ns, chunking)
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
