"""Sessions that the server's page saved become run folders."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import msgspec
import yaml

from harness.config import GateConfig, ReportConfig
from harness.events import ServedEngine
from harness.machine.environment import (
    ArmChoices,
    MeasuredModel,
    ReplayedDataset,
    describe_environment,
    identity,
)
from harness.metrics.accuracy import normaliser_ids
from harness.metrics.latency import clip_metrics
from harness.runs.folder import RunWriter, load_run
from harness.runs.summarise import summarise_run


def imported_to(path: Path) -> Path:
    """The folder of a saved session: next to its file."""
    return path.with_suffix("") if path.suffix == ".json" else path


def import_session(path: Path) -> Path:
    """A run as it is; a saved session as the run folders that are made of it, one a strategy."""
    folder = imported_to(path)
    if folder == path or folder.exists():
        return folder
    from harness.serve.saved import read_saved

    saved, traces = read_saved(path)
    engine = saved.engine or ServedEngine()
    model = MeasuredModel(model=saved.model, **msgspec.structs.asdict(engine))
    for name, trace in traces.items():
        environment = describe_environment(
            name=name,
            arm=ArmChoices(
                chunking=name, model=saved.model, dataset="page", session=trace.session.kind.value
            ),
            model=model,
            dataset=ReplayedDataset(name="page", clips=1),
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
        writer.append(trace, clip_metrics(trace, random_weights=engine.random_weights))
        writer.finish(summarise_run(load_run(writer.folder)))
    return folder
