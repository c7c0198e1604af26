"""One arm of a run: what was asked for, and the folder in which its sessions are kept."""

from __future__ import annotations

import logging
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from harness.chunking.messages import chunk_messages
from harness.config import Config, config_yaml, outside_variants, variant_identity
from harness.datasets.load import Dataset
from harness.engines import Engine, OnSockets
from harness.events import Failed, Trace
from harness.machine.environment import describe_environment, identity
from harness.metrics import ClipMetrics
from harness.metrics.accuracy import normaliser_ids
from harness.metrics.instants import request_ns
from harness.metrics.latency import clip_metrics
from harness.runs.folder import Run, RunWriter, load_run
from harness.text import shorten, visible

log = logging.getLogger("harness")
_LONGEST_LOGGED = 500  # characters of text or of an error in a line of the log


class ArmPlan(msgspec.Struct, frozen=True):
    """One arm of a run, as asked for."""

    name: str  # what distinguishes it, such as 1word
    config: Config
    folder: Path
    overrides: tuple[str, ...] = ()  # what was asked for on the command line


class ArmRecorder:
    """One arm's folder and what has been measured of it so far."""

    def __init__(
        self,
        plan: ArmPlan,
        engine: Engine,
        dataset: Dataset,
        *,
        beside: list[str],
        floor_ms: float | None,
        simulated: bool,
    ) -> None:
        """
        Args:
            beside: the names of all arms of this go, this one included, in their order.
            floor_ms: what the harness itself adds; None in simulated time.
        """
        self.plan = plan
        self.engine = engine
        self._dataset = dataset
        self.environment = self._describe(beside, floor_ms, simulated=simulated)

    @cached_property
    def writer(self) -> RunWriter:
        """Makes the folder when it is first asked for."""
        return RunWriter(self.plan.folder, config_yaml(self.plan.config), self.environment)

    def _describe(
        self, beside: list[str], floor_ms: float | None, *, simulated: bool
    ) -> dict[str, Any]:
        config = self.plan.config
        return describe_environment(
            self.engine.info.device,
            name=self.plan.name,
            arm=self._arm(),
            arms_of_this_go=beside,
            overrides=list(self.plan.overrides),
            harness_floor_ms=floor_ms,
            model=msgspec.to_builtins(self.engine.info),
            dataset={
                "name": self._dataset.name,
                "sha256": self._dataset.sha256,
                "timings_sha256": self._dataset.timings_sha256,
                "clips": len(self._dataset.clips),
                "sources": list(self._dataset.sources),
                "licences": list(self._dataset.licences),
            },
            normalisers=normaliser_ids(clip.language for clip in self._dataset.clips),
            outside={g: msgspec.to_builtins(v) for g, v in outside_variants(config).items()},
            config_identity=config_identity(config),
            seed=config.seed,
            injected=config.inject.active,
            simulated=simulated,
            warmup_sessions_discarded=config.replay.warmup,
        )

    def _arm(self) -> dict[str, str]:
        return {
            "chunking": self.plan.config.chunking.name,
            "model": self.engine.info.model,
            "dataset": self._dataset.name,
            "session": self.plan.config.session.kind,
        }

    def keep(self, trace: Trace) -> ClipMetrics:
        """Measure a session and keep it."""
        if isinstance(self.engine, OnSockets):
            ticks = self.engine.loop_ticks(trace.session.t0_ns, trace.outcome.at_ns)
            trace = msgspec.structs.replace(trace, loop_ticks=ticks)
        metrics = clip_metrics(
            trace,
            random_weights=self.engine.info.random_weights,
            pace=self.plan.config.replay.pace,
        )
        self.writer.append(trace, metrics)
        log_chunks(trace, self.plan.config.chunking.label)
        return metrics

    def load(self) -> Run:
        return load_run(self.plan.folder)


def config_identity(config: Config) -> str:
    """What makes two runs runs of the same thing; gates, reports and repeats do not.

    Nor does ``inject``: a run that was made worse is compared with what it was made from.
    """
    replayed = {
        name: getattr(config.replay, name)
        for name in ("pace", "frame_ms", "streams", "arrivals", "compute_scale")
    }
    return identity(
        [replayed, variant_identity(config, ("chunking", "model", "engine", "session"))]
    )


def log_chunks(trace: Trace, label: str) -> None:
    """The log lines of the system this project began with, once the clip is over."""
    session = trace.session
    messages = chunk_messages(trace.chunks, request_ns(trace))
    name = f"{visible(session.clip)}#{session.repeat}"
    first_ms = next((m.processing_time_ms for m in messages if m.text), None)
    if first_ms is not None:
        log.info("TTFT: %.1f ms for chunk %s", first_ms, name)
    for message in messages:
        if message.text:
            text = shorten(message.text, _LONGEST_LOGGED)
            log.info("Streaming %s chunk %d: %r", label, message.chunk_index, text)
    if isinstance(trace.outcome, Failed):
        log.warning("clip %s failed: %s", name, shorten(trace.outcome.error, _LONGEST_LOGGED))
