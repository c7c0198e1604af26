"""From configs to finished runs: clips x repeats x arms, interleaved, replayed, summarised, judged.

:func:`run_arms` is the list of steps; each arm gets a run folder of its own.
"""

from __future__ import annotations

import logging
import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from harness.chunking import chunk_messages, chunking_label, chunking_name, make_chunker
from harness.clock import RealWorld, VirtualWorld, World
from harness.config import Config
from harness.dataset import Clip, Dataset, load_dataset
from harness.engines import Engine
from harness.engines.factory import make_engine
from harness.engines.null import NullEngine
from harness.environment import describe_environment, identity
from harness.errors import ConfigError
from harness.events import SessionKind, Trace
from harness.metrics import Summary
from harness.metrics.instants import request_ns
from harness.metrics.latency import clip_metrics
from harness.replay import Arm, Pacing, Planned, replay
from harness.runs import Run, RunWriter, load_run, refuse_used
from harness.summaries import Against, judge_runs, judged, load_against, summarise_run
from harness.verdicts.rules import parse_rules
from harness.verdicts.sequential import SequentialPlan

log = logging.getLogger("harness")

FLOOR_TURNS = 5  # sessions of the null engine that the harness floor is the median of
FLOOR_TURN_S = 0.2


class ArmPlan(msgspec.Struct, frozen=True):
    """One arm of a run, as asked for."""

    name: str  # what distinguishes it, such as 1word
    config: Config
    config_yaml: str  # the resolved config, as it is kept in the run's folder
    folder: Path


class Progress:
    """Told how far a run is; this one tells nobody. Never called while a frame may be due soon."""

    def stage(self, text: str) -> None:
        """A new step has begun."""

    def clip_done(self, done: int, total: int, seconds_left: float) -> None:
        """A session has been kept."""


def run_arms(plans: Sequence[ArmPlan], progress: Progress) -> list[Summary]:
    """Replay all arms, interleaved in one go; returns their summaries, in order.

    Raises:
        UsageError: something asked for is not there, before anything was timed.
        StorageError: a folder could not be written; what was written before is kept.
    """
    first = plans[0].config
    _check_arms(plans)
    progress.stage("Loading the dataset")
    dataset = load_dataset(first.dataset)
    world = _make_world(first)
    progress.stage("Loading the engine")
    engines = _make_engines(plans, world)
    progress.stage("Measuring the harness itself")
    floor_ms = None if world.simulated else measure_floor_ms(world, first.replay.frame_ms)
    recorders = [
        _ArmRecorder(plan, dataset, engine, world, floor_ms)
        for plan, engine in zip(plans, engines, strict=True)
    ]
    try:
        against = _load_against(recorders)
        progress.stage("Replaying")
        _replay_all(world, recorders, dataset, against, progress)
    except KeyboardInterrupt:
        log.warning("interrupted: the sessions that have ended are kept")
    finally:
        for engine in set(engines):
            engine.close()
        for recorder in recorders:
            recorder.writer.close()
    progress.stage("Summarising")
    return _finish(recorders, against)


# --- steps, in the order in which they are called -------------------------------------------------


def _check_arms(plans: Sequence[ArmPlan]) -> None:
    """Folders are free, rules are rules, and arms differ only in what is compared."""
    for plan in plans:
        refuse_used(plan.folder)
        parse_rules(plan.config.gate.rules)
    first = plans[0].config
    for plan in plans[1:]:
        for field in ("dataset", "seed"):
            if getattr(plan.config, field) != getattr(first, field):
                raise ConfigError(
                    f"arms of one comparison must share {field}",
                    value=plan.name,
                    hint="run them apart; arms are paired clip by clip",
                )
        for field in ("pace", "repeats", "streams", "warmup", "shuffle", "compute_scale"):
            if getattr(plan.config.replay, field) != getattr(first.replay, field):
                raise ConfigError(
                    f"arms of one comparison must share replay.{field}",
                    value=plan.name,
                    hint="run them apart",
                )


def _make_world(config: Config) -> World:
    if config.replay.pace == "virtual":
        return VirtualWorld(compute_scale=config.replay.compute_scale)
    return RealWorld()


def _make_engines(plans: Sequence[ArmPlan], world: World) -> list[Engine]:
    """One engine per arm; arms that ask for the same engine share it."""
    made: dict[str, Engine] = {}
    for plan in plans:
        key = _engine_key(plan.config)
        if key not in made:
            made[key] = make_engine(plan.config, world)
    return [made[_engine_key(plan.config)] for plan in plans]


def _engine_key(config: Config) -> str:
    parts = (config.model, config.engine, config.session, config.inject)
    return identity([[type(part).__name__, asdict(part)] for part in parts])


def measure_floor_ms(world: World, frame_ms: float) -> float:
    """Median TTFT of the null engine through the same loop: what the harness itself adds."""
    clip = Clip(
        id="floor",
        samples=np.zeros(round(FLOOR_TURN_S * 16_000), np.float32),
        duration_s=FLOOR_TURN_S,
        text="null",
        speech_onset_s=0.0,
        speech_end_s=FLOOR_TURN_S,
        language="en",
        words=(),
        pcm_sha256="",
    )
    found: list[float] = []

    def keep(_planned: Planned, trace: Trace) -> None:
        found.append((trace.chunks[0].at_ns - request_ns(trace)) / 1e6)

    engine = NullEngine(world)
    pacing = Pacing(frame_ms=frame_ms, kind=SessionKind.TURN, timeout_s=10)
    arm = Arm(engine, lambda: make_chunker(Config().chunking), pacing)
    replay(world, [arm], [Planned(0, clip, i) for i in range(FLOOR_TURNS)], 1, keep)
    engine.close()
    return statistics.median(found)


def _make_arm(config: Config, engine: Engine) -> Arm:
    return Arm(
        engine=engine,
        make_chunker=lambda: make_chunker(config.chunking),
        pacing=Pacing(
            frame_ms=config.replay.frame_ms,
            kind=SessionKind(config.session.kind),
            timeout_s=config.replay.timeout_s,
            flood=config.replay.pace == "flood",
            late_ms=config.inject.driver_late_ms,
        ),
    )


def _load_against(recorders: Sequence[_ArmRecorder]) -> Against | None:
    """The stored baseline, for an arm that is alone; refused before anything is timed."""
    if len(recorders) > 1:
        return None
    return load_against(recorders[0].plan.config.gate, recorders[0].environment)


def _replay_all(
    world: World,
    recorders: Sequence[_ArmRecorder],
    dataset: Dataset,
    against: Against | None,
    progress: Progress,
) -> None:
    """Replay every repeat; with ``replay.until=decided``, as many as the gate needs."""
    config = recorders[0].plan.config
    arms = [_make_arm(recorder.plan.config, recorder.engine) for recorder in recorders]
    schedule = _make_schedule(dataset, config, len(arms))
    keep = _Keeper(recorders, config, progress)
    looks = SequentialPlan(config.replay.repeats, config.replay.most_repeats)
    replayed = 0
    for repeat, sessions in enumerate(schedule, start=1):
        keep.plan(sessions)
        pauses = replay(world, arms, sessions, config.replay.streams, keep, replayed)
        replayed += len(sessions)
        for recorder in recorders:
            recorder.writer.append_pauses(pauses)
        if config.replay.until == "decided" and looks.looks(repeat):
            runs = [recorder.load() for recorder in recorders]
            verdicts = judge_runs(runs, list(map(summarise_run, runs)), against=against,
                                  share=looks.share)  # fmt: skip
            if all(looks.stops(repeat, verdict) for verdict in verdicts):
                break


def _make_schedule(dataset: Dataset, config: Config, arms: int) -> Iterator[list[Planned]]:
    """The sessions of one replay after the other: all repeats in one, or each in one of its own.

    Warm-ups first; then, per repeat and clip, every arm, in an order that alternates (ABBA).
    """
    order = random.Random(config.seed)  # noqa: S311 not a secret
    sessions = [
        Planned(arm, dataset.clips[i % len(dataset.clips)], 0, warmup=True)
        for i in range(config.replay.warmup)
        for arm in range(arms)
    ]
    until_decided = config.replay.until == "decided"
    forwards = True
    for repeat in range(config.replay.most_repeats if until_decided else config.replay.repeats):
        clips = list(dataset.clips)
        if config.replay.shuffle:
            order.shuffle(clips)
        for clip in clips:
            in_turn = range(arms) if forwards else reversed(range(arms))
            sessions += [Planned(arm, clip, repeat) for arm in in_turn]
            forwards = not forwards
        if until_decided:
            yield sessions
            sessions = []
    if sessions:
        yield sessions


class _Keeper:
    """Keeps each trace with its arm and says how far the run is."""

    def __init__(
        self, recorders: Sequence[_ArmRecorder], config: Config, progress: Progress
    ) -> None:
        self._recorders = recorders
        self._streams = config.replay.streams
        self._progress = progress
        self._done = self._planned = 0
        self._left_s = 0.0

    def plan(self, sessions: Sequence[Planned]) -> None:
        todo = [planned for planned in sessions if not planned.warmup]
        self._planned += len(todo)
        self._left_s += sum(planned.clip.duration_s for planned in todo)

    def __call__(self, planned: Planned, trace: Trace) -> None:
        self._recorders[planned.arm].keep(trace)
        self._done += 1
        self._left_s -= planned.clip.duration_s
        self._progress.clip_done(self._done, self._planned, self._left_s / self._streams)


def _finish(recorders: Sequence[_ArmRecorder], against: Against | None) -> list[Summary]:
    """Summarise and judge what the folders hold, as ``report`` and ``gate`` would."""
    runs = [recorder.load() for recorder in recorders]
    summaries = [summarise_run(run) for run in runs]
    verdicts = judge_runs(runs, summaries, against=against)
    done = [judged(*pair) for pair in zip(summaries, verdicts, strict=True)]
    for recorder, summary in zip(recorders, done, strict=True):
        recorder.writer.finish(summary)
    return done


class _ArmRecorder:
    """One arm's folder and what has been measured of it so far."""

    def __init__(
        self, plan: ArmPlan, dataset: Dataset, engine: Engine, world: World, floor_ms: float | None
    ) -> None:
        self.plan = plan
        self.engine = engine
        self._dataset = dataset
        self._floor_ms = floor_ms
        self._simulated = world.simulated
        self.environment = self._describe()
        self.writer = RunWriter(plan.folder, plan.config_yaml, self.environment)

    def _describe(self) -> dict[str, Any]:
        config = self.plan.config
        return describe_environment(
            name=self.plan.name,
            arm=self._arm(),
            harness_floor_ms=self._floor_ms,
            model=msgspec.to_builtins(self.engine.info),
            dataset={
                "name": self._dataset.name,
                "sha256": self._dataset.sha256,
                "clips": len(self._dataset.clips),
                "sources": list(self._dataset.sources),
                "licences": list(self._dataset.licences),
            },
            config_identity=config_identity(config),
            seed=config.seed,
            injected=config.inject.active,
            simulated=self._simulated,
            warmup_sessions_discarded=config.replay.warmup,
        )

    def _arm(self) -> dict[str, str]:
        return {
            "chunking": chunking_name(self.plan.config.chunking),
            "model": self.engine.info.model,
            "dataset": self._dataset.name,
            "session": self.plan.config.session.kind,
        }

    def keep(self, trace: Trace) -> None:
        metrics = clip_metrics(trace, random_weights=self.engine.info.random_weights)
        self.writer.append(trace, metrics)
        log_chunks(trace, chunking_label(self.plan.config.chunking))

    def load(self) -> Run:
        return load_run(self.plan.folder)


def config_identity(config: Config) -> str:
    """What makes two runs runs of the same thing; gates, reports and repeats do not."""
    replayed = {
        name: getattr(config.replay, name)
        for name in ("pace", "frame_ms", "streams", "compute_scale")
    }
    parts = (config.chunking, config.model, config.engine, config.session, config.inject)
    return identity([replayed, [[type(part).__name__, asdict(part)] for part in parts]])


def log_chunks(trace: Trace, label: str) -> None:
    """The log lines of the system this project began with, once the clip is over."""
    session = trace.session
    messages = chunk_messages(trace.chunks, request_ns(trace))
    name = f"{session.clip}#{session.repeat}"
    first_ms = next((m.processing_time_ms for m in messages if m.text), None)
    if first_ms is not None:
        log.info("TTFT: %.1f ms for chunk %s", first_ms, name)
    for message in messages:
        if message.text:
            log.info("Streaming %s chunk %d: %r", label, message.chunk_index, message.text)
    if trace.failed:
        log.warning("clip %s failed: %s", name, trace.outcome.error)  # type: ignore[union-attr]
