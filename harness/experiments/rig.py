"""What arms are replayed with: dataset, clock and engines, loaded once; and the harness's floor."""

from __future__ import annotations

import logging
import statistics
from dataclasses import asdict
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from harness.audio import SpeechBounds
from harness.clock import RealWorld, VirtualWorld, World
from harness.conditions import Condition
from harness.config import Config
from harness.datasets.load import Clip, load_dataset
from harness.engines import Engine
from harness.engines.factory import injected, load_engine
from harness.engines.null import NullEngine
from harness.errors import ConfigError
from harness.events import SessionKind, Trace
from harness.experiments.progress import Progress
from harness.machine.environment import identity
from harness.metrics.instants import request_ns
from harness.replay import Planned, ReplayArm, replay
from harness.session import Pacing

log = logging.getLogger("harness")

FLOOR_TURNS = 5  # sessions of the null engine that the harness floor is the median of
FLOOR_TURN_S = 0.2


class Rig:
    """Dataset, clock and engines, loaded once: for one comparison or for several."""

    def __init__(self, config: Config, progress: Progress) -> None:
        self.progress = progress
        progress.stage("Loading the dataset")
        self.dataset = load_dataset(config.dataset)
        self.world = _make_world(config)
        self._frame_ms = config.replay.frame_ms
        self._engines: dict[str, Engine] = {}
        self._heard: dict[tuple[str, str], Clip] = {}

    def heard(self, config: Config) -> tuple[Clip, ...]:
        """The dataset's clips as they sound under one arm's conditions."""
        condition = config.conditions
        if type(condition).heard is Condition.heard:
            return self.dataset.clips
        made = []
        for clip in self.dataset.clips:
            key = _key(condition), clip.id
            if key not in self._heard:
                self._heard[key] = heard_clip(clip, condition)
            made.append(self._heard[key])
        return tuple(made)

    def engine(self, config: Config) -> Engine:
        """The engine of one arm; arms that ask for the same share it, whatever is injected."""
        key = _key(config.model, config.engine, config.session)
        if key not in self._engines:
            how = ": compiling may take minutes" if getattr(config.engine, "compile", False) else ""
            self.progress.stage(f"Loading the engine{how}")
            self._engines[key] = load_engine(config, self.world)
        worse = _key(config.model, config.engine, config.session, config.inject)
        if worse not in self._engines:
            self._engines[worse] = injected(self._engines[key], config, self.world)
        return self._engines[worse]

    @cached_property
    def floor_ms(self) -> float | None:
        """What the harness itself adds to a TTFT; None in simulated time."""
        if self.world.simulated:
            return None
        self.progress.stage("Measuring the harness itself")
        return measure_floor_ms(self.world, self._frame_ms)

    def close(self) -> None:
        """Close every engine; what one of another package raises then costs no result."""
        for engine in set(self._engines.values()):
            try:
                engine.close()
            except Exception as error:  # noqa: BLE001 foreign code may raise anything
                name = type(error).__name__
                log.warning("engine %s did not close: %s: %s", engine.info.model, name, error)


def _make_world(config: Config) -> World:
    if config.replay.pace == "virtual":
        return VirtualWorld(compute_scale=config.replay.compute_scale)
    return RealWorld()


def _key(*parts: Any) -> str:
    return identity([[type(part).__name__, asdict(part)] for part in parts])


def heard_clip(clip: Clip, condition: Condition) -> Clip:
    """The clip as it sounds under a condition; what is said and when stays.

    Raises:
        ConfigError: the condition, which is not ours, made it longer or shorter.
    """
    bounds = SpeechBounds(clip.speech_onset_s, clip.speech_end_s)
    samples = condition.heard(clip.samples, bounds, clip.id)
    if len(samples) != len(clip.samples):
        raise ConfigError(
            f"conditions={condition.name} changed the length of clip {clip.id}",
            value=len(samples),
            allowed=f"{len(clip.samples)} samples",
        )
    return msgspec.structs.replace(clip, samples=samples)


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
    arm = ReplayArm(engine, Config().chunking.chunker, pacing)
    replay(world, [arm], [Planned(0, clip, i) for i in range(FLOOR_TURNS)], 1, keep)
    engine.close()
    return statistics.median(found)
