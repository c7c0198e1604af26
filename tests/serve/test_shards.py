"""Clients in several processes, against a server in this one."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.config import Config, ReplayConfig
from harness.datasets import ManifestDataset
from harness.datasets.load import load_dataset
from harness.engines.null import NullEngine
from harness.engines.remote.options import RealtimeOptions
from harness.engines.setting import NoModel
from harness.errors import UsageError
from harness.experiments.plan import ArmPlan
from harness.experiments.shards import Shard, draw_clips, replay_shards, share_out
from harness.runs.folder import load_run

from .serving import WORLD, serving

ONE_CLIP = ManifestDataset(clips=["07-heaven"])


@pytest.mark.parametrize(
    ("streams", "shares"),
    [(1, [1]), (250, [250]), (251, [126, 125]), (1000, [250] * 4), (1001, [201] + [200] * 4)],
)
def test_no_process_has_more_sockets_than_it_can_serve(streams: int, shares: list[int]) -> None:
    assert share_out(streams) == shares


def test_clips_are_drawn_from_the_seed() -> None:
    dataset = load_dataset(ManifestDataset())
    ids = [[clip.id for clip in draw_clips(dataset, 3, seed).clips] for seed in (0, 0, 1)]
    assert ids[0] == ids[1] != ids[2]
    assert len(set(ids[0])) == 3
    everything = draw_clips(dataset, 10_000, 0)
    assert {clip.id for clip in everything.clips} == {clip.id for clip in dataset.clips}


def plan(folder: Path, url: str) -> ArmPlan:
    config = Config(
        model=NoModel(),
        engine=RealtimeOptions(url=url, model="null", kind="turn"),
        dataset=ONE_CLIP,
        replay=ReplayConfig(repeats=1, warmup=0, frame_ms=80),
    )
    return ArmPlan(name=folder.name, config=config, folder=folder)


@pytest.mark.e2e
def test_shards_replay_at_the_same_time(tmp_path: Path) -> None:
    with serving(NullEngine(WORLD)) as server:
        folders = [tmp_path / f"shard-{index}" for index in (1, 2)]
        url = server.url("/v1/realtime")
        replay_shards([Shard(plan(folder, url), 1) for folder in folders])
    sessions = [trace for folder in folders for trace in load_run(folder).traces]
    assert [trace.text.strip() for trace in sessions] == ["null", "null"]
    last_began = max(trace.session.t0_ns for trace in sessions)
    first_ended = min(trace.outcome.at_ns for trace in sessions)
    assert last_began < first_ended  # a clip is shorter than a process takes to start


@pytest.mark.slow
def test_a_shard_that_is_refused_ends_them_all(tmp_path: Path) -> None:
    with serving(NullEngine(WORLD)) as server:
        (tmp_path / "used").mkdir()
        (tmp_path / "used/events.jsonl").touch()
        url = server.url("/v1/realtime")
        both = [Shard(plan(tmp_path / name, url), 1) for name in ("used", "free")]
        with pytest.raises(UsageError, match="holds a run already"):
            replay_shards(both)
    assert not (tmp_path / "free/summary.json").exists()
