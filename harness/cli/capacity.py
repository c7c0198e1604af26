"""The verb ``capacity``: how many streams at once still meet the objectives?"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path

import msgspec
from omegaconf import DictConfig
from rich.console import Console

from harness.cli import compose as hydra_side
from harness.cli.help import asks_for_help, print_help
from harness.cli.progress import TerminalProgress
from harness.cli.progress import console as stderr
from harness.config import Config, ReplayConfig
from harness.engines.remote.options import RealtimeOptions
from harness.engines.voxtral import VoxtralRealtimeModel
from harness.errors import ConfigError
from harness.experiments.plan import ArmPlan
from harness.experiments.run import Rig, replay_arms
from harness.experiments.shards import Shard, draw_clips, replay_shards, share_out
from harness.metrics import METRICS_VERSION, ClipMetrics
from harness.report.capacity import Load, make_load, plot_load, print_load
from harness.report.style import styled, write_plot
from harness.runs.folder import load_run, write_json
from harness.runs.validity import FEWEST_CLIPS
from harness.verdicts import EXIT_CODES
from harness.verdicts.capacity import (
    Search,
    counted,
    look_at,
    parse_objectives,
    require_measured,
    sessions_to_replay,
)
from harness.verdicts.rules import Within

WHAT = """\
Find the largest number of concurrent streams that still meets the objectives, as an interval; every
number that is looked at leaves a run, and capacity.json and plots/capacity.svg tell the whole.

  python -m harness capacity capacity.most_streams=8
  python -m harness capacity engine=realtime engine.url=ws://HOST:PORT/v1/realtime \\
    engine.model=NAME capacity.objectives="['ttft_ms p95 <= 900 ms', 'gap_ms p95 <= 300 ms']"

Exit code 0: the answer is known; 3: one stream alone breaks the objectives; 4: it is not known."""


def capacity(argv: list[str]) -> int:
    if asks_for_help(argv):
        return print_help("capacity", WHAT)
    codes: list[int] = []

    def task(composed: DictConfig) -> None:
        codes.append(_find(composed, hydra_side.run_folder()))

    hydra_side.with_hydra("capacity", argv, task)
    return max(codes, default=0)


def _find(composed: DictConfig, folder: Path) -> int:
    config = hydra_side.to_config(composed)
    objectives = _check(config)
    with TerminalProgress() as progress, closing(Rig(config, progress)) as rig:
        if len(rig.dataset.clips) < FEWEST_CLIPS:
            note = f"{len(rig.dataset.clips)} different clips: others may take longer"
            stderr.print(f"note: {note}", markup=False)
        sockets = isinstance(config.engine, RealtimeOptions)
        looks = _Looks(composed, folder, rig, objectives, sockets=sockets)
        asked = config.capacity
        search = Search(goal=asked.goodput, confidence=asked.confidence, looks=asked.looks,
                        most_streams=asked.most_streams, points=asked.points)  # fmt: skip
        with suppress(KeyboardInterrupt):  # then the answer is what is known so far
            while (streams := search.next_streams()) is not None:
                looks.take(streams, search)
    return _conclude(config, folder, search, looks.loads(search), objectives)


def _check(config: Config) -> tuple[Within, ...]:
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
        composed: DictConfig,
        folder: Path,
        rig: Rig,
        objectives: Sequence[Within],
        *,
        sockets: bool,
    ) -> None:
        self._composed = composed
        self._sockets = sockets
        self._folder = folder
        self._rig = rig
        self._dataset = rig.dataset
        self._objectives = objectives
        self._taken = 0
        self._runs: dict[int, list[str]] = {}
        self._counted: dict[int, list[ClipMetrics]] = {}

    def take(self, streams: int, search: Search) -> None:
        """Replay with so many streams and tell the search.

        Raises:
            KeyboardInterrupt: it was interrupted; what was replayed is kept, and does not count.
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
        least = self._composed.capacity.sessions
        shares = share_out(streams) if self._sockets else [streams]
        self._rig.progress.stage(f"{streams} concurrent streams")
        return [
            self._shard(
                name if len(shares) == 1 else f"{name}/shard-{index + 1}",
                share,
                sessions_to_replay(share, -(-least * share // streams)),
                self._composed.seed + self._taken + 1000 * index,
            )
            for index, share in enumerate(shares)
        ]

    def _shard(self, name: str, streams: int, sessions: int, seed: int) -> Shard:
        """``seed``: other clips, order and arrivals than in any other look or shard."""
        clips = min(sessions, len(self._dataset.clips))
        composed: DictConfig = self._composed.copy()
        composed.seed = seed
        composed.replay.streams = streams
        composed.replay.repeats = -(-sessions // clips)
        composed.replay.until, composed.replay.most_repeats = "repeats", ReplayConfig.most_repeats
        plan = ArmPlan(
            name=Path(name).name,
            config=hydra_side.to_config(composed),
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


def _conclude(
    config: Config,
    folder: Path,
    search: Search,
    loads: Sequence[Load],
    objectives: Sequence[Within],
) -> int:
    """Write ``capacity.json`` and the plot, print the table; returns the exit code."""
    answer, asked = search.answer(), config.capacity
    found = {
        "schema": 1,
        "metrics_version": METRICS_VERSION,
        "asked": asdict(asked),
        "arrivals": config.replay.arrivals,
        **msgspec.structs.asdict(answer),
        "points": [load.record() for load in loads],
    }
    write_json(folder / "capacity.json", found)
    if config.report.plots and loads:
        (folder / "plots").mkdir(exist_ok=True)
        with styled():
            write_plot(plot_load(loads, answer, objectives, asked.goodput), folder / "plots")
    if config.report.show == "json":
        print((folder / "capacity.json").read_text(encoding="utf-8"), end="")  # noqa: T201 asked for
    elif config.report.show == "table":
        console = Console(highlight=False)
        print_load(loads, answer, console)
        console.print(f"{folder}/capacity.json", markup=False)
    if answer.smallest_bad == 1:
        return EXIT_CODES["fail"]
    return EXIT_CODES["pass" if answer.complete else "inconclusive"]
