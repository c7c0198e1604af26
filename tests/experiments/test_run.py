"""An experiment is a function: plans in, folders and summaries out; no Hydra, no terminal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.chunking import Words
from harness.config import Config, GateConfig, ReplayConfig
from harness.datasets import ManifestDataset
from harness.engines.inject import InjectConfig
from harness.engines.scripted import ScriptedOptions
from harness.engines.setting import NoModel
from harness.errors import ConfigError, UsageError
from harness.experiments.plan import ArmPlan
from harness.experiments.progress import Progress, SessionsDone
from harness.experiments.run import run_arms
from harness.runs.folder import load_run

BASE = Config(
    engine=ScriptedOptions(),
    model=NoModel(),
    dataset=ManifestDataset(limit=2),
    replay=ReplayConfig(pace="virtual", compute_scale=0, repeats=2, warmup=0, frame_ms=500),
)


class Stages(Progress):
    def __init__(self) -> None:
        self.stages: list[str] = []
        self.clips = 0

    def stage(self, text: str) -> None:
        self.stages.append(text)

    def session_done(self, so_far: SessionsDone) -> None:
        self.clips = so_far.done
        assert so_far.done <= so_far.planned


def plans(folder: Path, **configs: Config) -> list[ArmPlan]:
    return [ArmPlan(name, config, folder / name) for name, config in configs.items()]


def test_arms_are_interleaved_and_summarised(tmp_path: Path) -> None:
    progress = Stages()
    arms = plans(tmp_path, old=replace(BASE, chunking=Words(6)), new=BASE)
    old, new = run_arms(arms, progress)
    assert (old.failed, new.failed) == (0, 0)
    assert old["ttft_ms"].p50 > new["ttft_ms"].p50  # type: ignore[union-attr, operator]
    runs = [load_run(tmp_path / name) for name in ("old", "new")]
    orders = [sorted(trace.session.order for trace in run.traces) for run in runs]
    assert sorted(orders[0] + orders[1]) == list(range(8))  # 2 arms x 2 clips x 2 repeats
    for at in range(0, 8, 2):  # a clip is replayed by every arm before the next clip is
        assert all(len({at, at + 1} & set(found)) == 1 for found in orders)
    assert [run.environment.arms_of_this_comparison for run in runs] == [["old", "new"]] * 2
    assert progress.clips == 8
    assert progress.stages[0] == "Loading the dataset"
    assert progress.stages[-1] == "Summarising"


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"seed": 1}, "must share seed"),
        ({"dataset": ManifestDataset(limit=1)}, "must share dataset"),
        ({"replay": replace(BASE.replay, streams=2)}, "must share replay.streams"),
        ({"inject": InjectConfig(tail_share=0.5)}, "inject.tail_share"),
        ({"gate": GateConfig(rules=["text parity vs arm nobody"])}, "names an arm"),
    ],
    ids=str,
)
def test_arms_that_cannot_be_compared_are_refused_before_anything_is_timed(
    tmp_path: Path, other: dict[str, object], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        run_arms(plans(tmp_path, a=BASE, b=replace(BASE, **other)), Progress())  # type: ignore[arg-type]
    assert not (tmp_path / "a").exists()


def test_a_folder_is_never_written_over(tmp_path: Path) -> None:
    run_arms(plans(tmp_path, a=BASE), Progress())
    with pytest.raises(UsageError, match="holds a run already"):
        run_arms(plans(tmp_path, a=BASE), Progress())


def test_a_comparison_has_no_stored_baseline(tmp_path: Path) -> None:
    gate = GateConfig(name="g", rules=["failed = 0"], baseline="main")
    arms = plans(tmp_path, a=replace(BASE, gate=gate), b=replace(BASE, gate=gate))
    with pytest.raises(UsageError, match="judged against its first arm"):
        run_arms(arms, Progress())
