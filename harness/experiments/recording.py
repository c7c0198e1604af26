"""The folder of one arm, in which its sessions are stored while they are measured."""

from __future__ import annotations

import logging
from functools import cached_property

import msgspec

from harness.chunking.messages import chunk_messages
from harness.config import config_yaml, outside_variants
from harness.datasets.load import Dataset
from harness.engines import Engine
from harness.events import Failed, Trace
from harness.experiments.plan import ArmPlan, config_identity
from harness.machine.environment import (
    ArmChoices,
    Environment,
    MeasuredModel,
    ReplayedDataset,
    describe_environment,
)
from harness.metrics import ClipMetrics
from harness.metrics.accuracy import normaliser_ids
from harness.metrics.instants import Missing, request_ns
from harness.metrics.latency import clip_metrics, ttft_ms
from harness.runs.folder import Run, RunWriter, load_run
from harness.text import shorten, visible

log = logging.getLogger("harness")
_LONGEST_LOGGED = 500  # characters of text or of an error in a line of the log


class ArmRecorder:
    """One arm's folder and what has been measured of it so far."""

    def __init__(
        self,
        plan: ArmPlan,
        engine: Engine,
        dataset: Dataset,
        *,
        arm_names: list[str],
        floor_ms: float | None,
        simulated: bool,
    ) -> None:
        """
        Args:
            arm_names: of all arms of this comparison, this one included, in their order.
            floor_ms: what the harness itself adds; None in simulated time.
        """
        self.plan = plan
        self.engine = engine
        self._dataset = dataset
        self.environment = self._describe(arm_names, floor_ms, simulated=simulated)

    @cached_property
    def writer(self) -> RunWriter:
        """Makes the folder on first use."""
        return RunWriter(self.plan.folder, config_yaml(self.plan.config), self.environment)

    def _describe(
        self, arm_names: list[str], floor_ms: float | None, *, simulated: bool
    ) -> Environment:
        config = self.plan.config
        return describe_environment(
            self.engine.info.device,
            name=self.plan.name,
            arm=self._arm(),
            arms_of_this_comparison=arm_names,
            overrides=list(self.plan.overrides),
            harness_floor_ms=floor_ms,
            model=msgspec.convert(msgspec.to_builtins(self.engine.info), MeasuredModel),
            dataset=ReplayedDataset(
                name=self._dataset.name,
                sha256=self._dataset.sha256,
                timings_sha256=self._dataset.timings_sha256,
                clips=len(self._dataset.clips),
                sources=list(self._dataset.sources),
                licences=list(self._dataset.licences),
            ),
            normalisers=normaliser_ids(clip.language for clip in self._dataset.clips),
            outside={g: msgspec.to_builtins(v) for g, v in outside_variants(config).items()},
            config_identity=config_identity(config),
            seed=config.seed,
            injected=config.inject.active,
            simulated=simulated,
            warmup_sessions_discarded=config.replay.warmup,
        )

    def _arm(self) -> ArmChoices:
        return ArmChoices(
            chunking=self.plan.config.chunking.name,
            model=self.engine.info.model,
            dataset=self._dataset.name,
            session=self.plan.config.session.kind,
            conditions=self.plan.config.conditions.name,
        )

    def keep(self, trace: Trace) -> ClipMetrics:
        """Measure a session and keep it."""
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


def log_chunks(trace: Trace, label: str) -> None:
    """The log lines of the system this project began with, once the clip is over."""
    session = trace.session
    messages = chunk_messages(trace.chunks, request_ns(trace))
    name = f"{visible(session.clip)}#{session.repeat}"
    first_ms = ttft_ms(trace)
    if not isinstance(first_ms, Missing):
        log.info("TTFT: %.1f ms for chunk %s", first_ms, name)
    for message in messages:
        if message.text:
            text = shorten(message.text, _LONGEST_LOGGED)
            log.info("Streaming %s chunk %d: %r", label, message.chunk_index, text)
    if isinstance(trace.outcome, Failed):
        log.warning("clip %s failed: %s", name, shorten(trace.outcome.error, _LONGEST_LOGGED))
