"""How many streams at once still meet the objectives? Each number that is tried leaves a run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import asdict, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from harness.config import Config, ReplayConfig
from harness.engines.remote.options import RealtimeOptions
from harness.engines.voxtral import VoxtralRealtimeModel
from harness.errors import ConfigError
from harness.experiments.plan import ArmPlan
from harness.experiments.progress import Progress
from harness.experiments.rig import Rig
from harness.experiments.run import replay_arms
from harness.experiments.shards import Shard, draw_clips, replay_shards, share_out
from harness.metrics import METRICS_VERSION, ClipMetrics
from harness.runs.folder import load_run, write_json
from harness.runs.validity import FEWEST_CLIPS
from harness.verdicts.capacity import (
    CapacityAnswer,
    Search,
    counted,
    look_at,
    parse_objectives,
    require_measured,
    sessions_to_replay,
)
from harness.verdicts.load import Load, make_load
from harness.verdicts.rules.within import Within


class Capacity(NamedTuple):
    """What a search has found."""

    answer: CapacityAnswer
    loads: Sequence[Load]  # every number of streams that was tried
    objectives: Sequence[Within]


def find_capacity(config: Config, folder: Path, progress: Progress) -> Capacity:
    """Search for the largest number of streams that meets ``config.capacity``.

    Interrupted (``KeyboardInterrupt``), the answer is what is known so far. ``capacity.json`` in
    ``folder`` says all of it.

    Raises:
        ConfigError: objectives or options that cannot be searched with.
    """
    objectives = check_capacity(config)
    with closing(Rig(config, progress)) as rig:
        if len(rig.dataset.clips) < FEWEST_CLIPS:
            progress.note(f"{len(rig.dataset.clips)} different clips: others may take longer")
        looks = _Looks(
            config, folder, rig, objectives, sockets=isinstance(config.engine, RealtimeOptions)
        )
        asked = config.capacity
        search = Search(goal=asked.goodput, confidence=asked.confidence, looks=asked.looks,
                        most_streams=asked.most_streams, points=asked.points)  # fmt: skip
        with suppress(KeyboardInterrupt):
            while (streams := search.next_streams()) is not None:
                looks.take(streams, search)
    found = Capacity(search.answer(), looks.loads(search), objectives)
    write_json(folder / "capacity.json", _record(found, config))
    return found


def _record(found: Capacity, config: Config) -> dict[str, Any]:
    return {
        "schema": 1,
        "metrics_version": METRICS_VERSION,
        "asked": asdict(config.capacity),
        "arrivals": config.replay.arrivals,
        **msgspec.structs.asdict(found.answer),
        "points": [load.record() for load in found.loads],
    }


def check_capacity(config: Config) -> tuple[Within, ...]:
    """The objectives; whatever cannot be searched with is refused before anything is loaded."""
    most = config.capacity.most_streams
    if config.gate.rules:
        raise ConfigError("capacity is judged by capacity.objectives", hint="leave gate=... out")
    if config.replay.pace == "flood":
        raise ConfigError(
            "replay.pace", value="flood", allowed="realtime, virtual: paced as spoken"
        )
    if isinstance(config.model, VoxtralRealtimeModel) and most > config.model.max_streams:
        raise ConfigError(
            "capacity.most_streams", value=most,
            allowed=f"at most model.max_streams={config.model.max_streams}",
            hint=f"add model.max_streams={most}",
        )  # fmt: skip
    return parse_objectives(config.capacity.objectives, config.capacity.goodput)


class _Looks:
    """Replays one number of streams after the other, each into run folders of its own."""

    def __init__(
        self,
        config: Config,
        folder: Path,
        rig: Rig,
        objectives: Sequence[Within],
        *,
        sockets: bool,
    ) -> None:
        self._config = config
        self._sockets = sockets
        self._folder = folder
        self._rig = rig
        self._dataset = rig.dataset
        self._objectives = objectives
        self._taken = 0
        self._runs: dict[int, list[str]] = {}
        self._counted: dict[int, list[ClipMetrics]] = {}

    def take(self, streams: int, search: Search) -> None:
        """Replay with so many streams and give the result to the search.

        Raises:
            KeyboardInterrupt: it was interrupted; finished sessions stay on disk, and do not count.
        """
        names = self._runs.setdefault(streams, [])
        name = f"streams-{streams}-look-{len(names) + 1}"
        shards = self._plan(name, streams)
        self._replay(shards)
        runs = [load_run(shard.plan.folder) for shard in shards]
        require_measured([clip for run in runs for clip in run.clips], self._objectives)
        parts = [
            counted(run.clips, shard.plan.config.replay.streams)
            for run, shard in zip(runs, shards, strict=True)
        ]
        # Those that began at about the same time stand side by side.
        clips = [clip for place in zip_longest(*parts) for clip in place if clip is not None]
        validity = [text for run in runs if run.summary for text in run.summary.validity]
        if any(text.startswith("incomplete:") for text in validity):
            raise KeyboardInterrupt
        names.append(name)
        self._taken += 1
        look = look_at(streams, clips, validity, self._objectives)
        search.add(look)
        if not look.invalid:
            self._counted.setdefault(streams, []).extend(clips)

    def _plan(self, name: str, streams: int) -> list[Shard]:
        """One shard, or with sockets as many as it takes to serve them in time."""
        least = self._config.capacity.sessions
        shares = share_out(streams) if self._sockets else [streams]
        self._rig.progress.stage(f"{streams} concurrent streams")
        return [
            self._shard(
                name if len(shares) == 1 else f"{name}/shard-{index + 1}",
                share,
                sessions_to_replay(share, -(-least * share // streams)),
                self._config.seed + self._taken + 1000 * index,
            )
            for index, share in enumerate(shares)
        ]

    def _shard(self, name: str, streams: int, sessions: int, seed: int) -> Shard:
        """``seed``: other clips, order and arrivals than in any other look or shard."""
        clips = min(sessions, len(self._dataset.clips))
        replayed = replace(
            self._config.replay, streams=streams, repeats=-(-sessions // clips),
            until="repeats", most_repeats=ReplayConfig.most_repeats,
        )  # fmt: skip
        plan = ArmPlan(
            name=Path(name).name,
            config=replace(self._config, seed=seed, replay=replayed),
            folder=self._folder / name,
        )
        return Shard(plan, clips)

    def _replay(self, shards: Sequence[Shard]) -> None:
        if len(shards) > 1:
            replay_shards(shards)
            return
        ((plan, clips),) = shards
        self._rig.dataset = draw_clips(self._dataset, clips, plan.config.seed)
        replay_arms([plan], self._rig)

    def loads(self, search: Search) -> list[Load]:
        return [
            make_load(point, self._counted.get(point.streams, []), self._runs[point.streams])
            for point in search.points
        ]
