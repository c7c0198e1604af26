"""The verb ``capacity``: how many streams at once still meet the objectives?"""

from __future__ import annotations

import random
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from harness.cli import compose as hydra_side
from harness.cli.help import asks_for_help, print_help
from harness.config import Config, RealtimeEngine, VoxtralRealtimeModel
from harness.errors import ConfigError
from harness.metrics import METRICS_VERSION, ClipMetrics, Summary
from harness.verdicts import EXIT_CODES
from harness.verdicts.capacity import (
    Answer,
    Search,
    counted,
    look_at,
    parse_objectives,
    require_measured,
    sessions_to_replay,
)
from harness.verdicts.rules import Within

if TYPE_CHECKING:  # loaded when something is replayed: `--help` answers at once
    from harness.experiment import Rig
    from harness.report.capacity import Load

WHAT = """\
Find the largest number of concurrent streams that still meets the objectives, as an interval; every
number that is looked at leaves a run, and capacity.json and plots/capacity.svg tell the whole.

  python -m harness capacity capacity.most_streams=8
  python -m harness capacity engine=realtime engine.url=ws://HOST:PORT/v1/realtime \\
    engine.model=NAME capacity.objectives="['ttft_ms p95 <= 900 ms', 'gap_ms p95 <= 300 ms']"

Exit code 0: the answer is known; 3: one stream alone breaks the objectives; 4: it is not known."""

# Sockets share one asyncio thread: 300 of them were sent to 2.1 ms late (p99), 1000 saturate it.
MOST_SOCKETS = 250


def capacity(argv: list[str]) -> int:
    if asks_for_help(argv):
        return print_help("capacity", WHAT)
    codes: list[int] = []

    def task(composed: DictConfig) -> None:
        codes.append(_find(composed, hydra_side.run_folder()))

    hydra_side.with_hydra("capacity", argv, task)
    return max(codes, default=0)


def _find(composed: DictConfig, folder: Path) -> int:
    from harness.cli.progress import TerminalProgress
    from harness.experiment import Rig

    config = hydra_side.to_config(composed)
    objectives = _check(config)
    with TerminalProgress() as progress, closing(Rig(config, progress)) as rig:
        looks = _Looks(composed, folder, rig, objectives)
        asked = config.capacity
        search = Search(goal=asked.goodput, confidence=asked.confidence, looks=asked.looks,
                        most_streams=asked.most_streams, points=asked.points)  # fmt: skip
        while (streams := search.next_streams()) is not None:
            summary = looks.take(streams, search)
            if any(text.startswith("incomplete:") for text in summary.validity):
                break  # interrupted: the answer is what is known so far
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
    if isinstance(config.engine, RealtimeEngine) and most > MOST_SOCKETS:
        raise ConfigError(
            "capacity.most_streams", value=most,
            allowed=f"at most {MOST_SOCKETS} with engine=realtime: one process keeps no more"
            " sockets in time",
        )  # fmt: skip
    if isinstance(config.model, VoxtralRealtimeModel) and most > config.model.max_streams:
        raise ConfigError(
            "capacity.most_streams", value=most,
            allowed=f"at most model.max_streams={config.model.max_streams}",
            hint=f"add model.max_streams={most}",
        )  # fmt: skip
    return parse_objectives(config.capacity.objectives, config.capacity.goodput)


class _Looks:
    """Replays one number of streams after the other, each into a run folder of its own."""

    def __init__(
        self, composed: DictConfig, folder: Path, rig: Rig, objectives: Sequence[Within]
    ) -> None:
        self._composed = composed
        self._folder = folder
        self._rig = rig
        self._dataset = rig.dataset
        self._objectives = objectives
        self._taken = 0
        self._runs: dict[int, list[str]] = {}
        self._counted: dict[int, list[ClipMetrics]] = {}

    def take(self, streams: int, search: Search) -> Summary:
        """Replay with so many streams and tell the search."""
        from harness.experiment import ArmPlan, replay_arms
        from harness.runs import load_run

        least = OmegaConf.select(self._composed, "capacity.sessions")
        sessions = sessions_to_replay(streams, least)
        self._rig.dataset = self._draw_clips(sessions)
        runs = self._runs.setdefault(streams, [])
        name = f"streams-{streams}-look-{len(runs) + 1}"
        self._rig.progress.stage(f"{streams} concurrent streams, {sessions} sessions")
        composed = self._with(
            streams=streams, repeats=-(-sessions // len(self._rig.dataset.clips)), until="repeats"
        )
        plan = ArmPlan(
            name=name, config=hydra_side.to_config(composed),
            config_yaml=hydra_side.to_yaml(composed), folder=self._folder / name,
        )  # fmt: skip
        (summary,) = replay_arms([plan], self._rig)
        clips = load_run(plan.folder).clips
        require_measured(clips, self._objectives)
        look = look_at(streams, clips, summary.validity, self._objectives)
        search.add(look)
        runs.append(name)
        if not look.invalid:
            self._counted.setdefault(streams, []).extend(counted(clips, streams))
        self._taken += 1
        return summary

    def _draw_clips(self, sessions: int) -> Any:
        """Other clips for every look, where there are more than it takes."""
        clips = self._dataset.clips
        drawn = random.Random(f"{self._composed.seed}/{self._taken}")  # noqa: S311 not a secret
        some = tuple(drawn.sample(clips, min(sessions, len(clips))))
        return msgspec.structs.replace(self._dataset, clips=some)

    def _with(self, **replayed: Any) -> DictConfig:
        """The config of one look: other clips' order and arrivals than the look before."""
        composed: DictConfig = self._composed.copy()
        composed.seed += self._taken
        for name, value in replayed.items():
            OmegaConf.update(composed, f"replay.{name}", value)
        return composed

    def loads(self, search: Search) -> list[Load]:
        from harness.report.capacity import make_load

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
    from harness.report.capacity import plot_load, print_load
    from harness.report.style import styled, write_plot
    from harness.runs import write_json

    answer: Answer = search.answer()
    asked = config.capacity
    write_json(
        folder / "capacity.json",
        {
            "schema": 1, "metrics_version": METRICS_VERSION, "objectives": asked.objectives,
            "goodput": asked.goodput, "confidence": asked.confidence,
            "arrivals": config.replay.arrivals, "most_streams": asked.most_streams,
            "largest_good": answer.largest_good, "smallest_bad": answer.smallest_bad,
            "complete": answer.complete, "why": answer.why, "points": loads,
        },
    )  # fmt: skip
    if config.report.plots and loads:
        (folder / "plots").mkdir(exist_ok=True)
        with styled():
            write_plot(plot_load(loads, answer, objectives, asked.goodput), folder / "plots")
    console = Console(highlight=False)
    print_load(loads, answer, console)
    console.print(f"{folder}/capacity.json", markup=False)
    if answer.smallest_bad == 1:
        return EXIT_CODES["fail"]
    return EXIT_CODES["pass" if answer.complete else "inconclusive"]
