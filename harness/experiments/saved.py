"""Sessions that the server's page saved become run folders."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import yaml

from harness.config import GateConfig, ReportConfig
from harness.errors import HarnessError, UsageError
from harness.events import ServedEngine, Trace
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
from harness.runs.names import inside
from harness.runs.summarise import summarise_run

if TYPE_CHECKING:  # what reads them starts a server
    from harness.serve.saved import SavedSession


def imported_to(path: Path) -> Path:
    """The folder of a saved session: next to its file."""
    return path.with_suffix("") if path.suffix == ".json" else path


def import_session(path: Path) -> Path:
    """A run as it is; a saved session as the run folders that are made of it, one a strategy.

    The folder comes whole or not at all: one that was there before must hold this session.

    Raises:
        UsageError: no saved session, a name in it that is no plain name, or a folder in the way.
    """
    folder = imported_to(path)
    if folder == path:
        return folder
    from harness.serve.saved import read_saved

    saved, traces = read_saved(path)
    inside(folder.parent, folder.name, "a saved session")
    for name in traces:
        inside(folder, name, f"an arm in {path}")
    if folder.exists():
        _require_imported(folder, traces)
        return folder
    try:
        with tempfile.TemporaryDirectory(prefix=f".{folder.name[:60]}-", dir=path.parent) as made:
            _write(Path(made) / "whole", saved, traces)
            (Path(made) / "whole").rename(folder)
    except OSError as error:
        raise UsageError(
            f"the session cannot be imported: {error}", hint="copy the file to another folder"
        ) from error
    return folder


def _require_imported(folder: Path, traces: Mapping[str, Trace]) -> None:
    """The folder was made from these traces, and is whole."""
    try:
        runs = {name: load_run(folder / name) for name in traces}
        same = all(
            run.summary is not None and run.traces == (traces[name],) for name, run in runs.items()
        )
    except HarnessError:
        same = False
    if not same:
        raise UsageError(
            "this folder is in the way: it does not hold the session that is to be imported",
            value=str(folder), hint="rename the file, or move the folder away",
        )  # fmt: skip


def _write(folder: Path, saved: SavedSession, traces: Mapping[str, Trace]) -> None:
    """One run's folder a strategy."""
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
        with closing(RunWriter(folder / name, yaml.safe_dump(config), environment)) as writer:
            writer.append(trace, clip_metrics(trace, random_weights=engine.random_weights))
            writer.finish(summarise_run(load_run(writer.folder)))
