"""Conditions in a run: each arm's own, part of its identity, told at the top of its report."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import harness
from harness.audio import SpeechBounds
from harness.conditions import CONDITIONS, Clean, Condition
from harness.conditions.jitter import Jitter
from harness.conditions.loss import Loss
from harness.conditions.noise import AddedNoise
from harness.conditions.telephone import Telephone
from harness.config import Config, ReplayConfig, outside_variants
from harness.datasets import ManifestDataset
from harness.engines import Samples
from harness.engines.scripted import ScriptedOptions
from harness.engines.setting import NoModel
from harness.errors import ConfigError, StorageError
from harness.experiments.plan import ArmPlan, config_identity
from harness.experiments.progress import Progress
from harness.experiments.rig import Rig
from harness.experiments.run import run_arms
from harness.machine.environment import CLEAN
from harness.report.arms import make_arms
from harness.report.facts import marks
from harness.runs.folder import Run, load_run
from harness.verdicts.baselines import check_comparable

BASE = Config(
    engine=ScriptedOptions(),
    model=NoModel(),
    dataset=ManifestDataset(limit=2),
    replay=ReplayConfig(pace="virtual", compute_scale=0, repeats=1, warmup=1, frame_ms=100),
)
EVERY = (Clean(), Telephone(), AddedNoise(), Jitter(), Loss())


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """One comparison of every condition."""
    folder = tmp_path_factory.mktemp("compared")
    configs = {one.name: replace(BASE, conditions=one) for one in EVERY}
    run_arms([ArmPlan(name, c, folder / name) for name, c in configs.items()], Progress())
    return {name: load_run(folder / name) for name in configs}


def test_arms_of_one_comparison_may_differ_in_conditions(runs: dict[str, Run]) -> None:
    assert list(runs) == ["clean", "telephone", "noise", "jitter", "loss"]
    clips = [{clip.clip for clip in run.clips} for run in runs.values()]
    assert all(found == clips[0] for found in clips)  # paired, clip by clip
    assert len({run.environment.dataset.sha256 for run in runs.values()}) == 1
    assert any(trace.lost for trace in runs["loss"].traces)
    late = [f for trace in runs["jitter"].traces for f in trace.frames if f.asked_ns is not None]
    assert late
    for name, run in runs.items():
        assert run.environment.arm.conditions == name
        assert run.summary is not None
        assert run.summary.arm["conditions"] == name
        assert run.summary.validity == ()
        assert run.summary["send_lateness_ms"].max == 0  # type: ignore[union-attr]


def test_they_stand_in_the_config_and_at_the_top_of_a_report(runs: dict[str, Run]) -> None:
    assert runs["clean"].config["conditions"] == {}
    assert runs["noise"].config["conditions"] == {"snr_db": 10.0, "kind": "pink", "seed": 0}
    shown = [runs["clean"], runs["telephone"], runs["noise"]]
    arms = make_arms(shown, [run.summary for run in shown if run.summary is not None])
    assert [arm.label for arm in arms] == ["clean", "telephone", "noise"]
    said = marks(arms)
    assert "telephone: under the conditions telephone." in said
    assert "noise: under the conditions noise (snr_db=10.0, kind=pink, seed=0)." in said
    assert not any(sentence.startswith("clean") for sentence in said)


def test_baselines_of_other_conditions_are_not_compared_with(runs: dict[str, Run]) -> None:
    found = check_comparable(runs["clean"].environment, runs["noise"].environment)
    assert [mismatch.field for mismatch in found] == ["arm.conditions", "config_identity"]
    assert check_comparable(runs["clean"].environment, runs["clean"].environment) == []


def test_a_clean_run_has_no_frames_that_were_late_on_purpose(
    runs: dict[str, Run], tmp_path: Path
) -> None:
    """Else lateness of the driver could be called the network's."""
    for name in ("jitter", "loss"):
        folder = tmp_path / name
        folder.mkdir()
        for path in runs[name].folder.iterdir():
            if path.is_file():
                (folder / path.name).write_bytes(path.read_bytes())
        environment = json.loads((folder / "environment.json").read_text())
        environment["arm"]["conditions"] = CLEAN
        (folder / "environment.json").write_text(json.dumps(environment))
        with pytest.raises(StorageError, match="whose conditions are clean"):
            load_run(folder)


def test_only_conditions_that_change_something_are_part_of_an_identity() -> None:
    found = [config_identity(replace(BASE, conditions=one)) for one in EVERY]
    assert len(set(found)) == len(EVERY)
    assert found[0] == config_identity(BASE)
    assert config_identity(replace(BASE, conditions=Jitter(seed=1))) not in found


def test_a_name_tells_options_apart() -> None:
    assert [one.name for one in EVERY] == list(CONDITIONS.names())
    assert Clean().name == CLEAN
    assert AddedNoise(snr_db=5).name == AddedNoise(snr_db=5.0).name == "noise_snr_db=5"
    assert AddedNoise(snr_db=5, seed=2).name == "noise_snr_db=5_seed=2"


def test_clips_are_made_once_for_each_condition() -> None:
    rig = Rig(BASE, Progress())
    clean = rig.heard(BASE)
    assert clean is rig.dataset.clips
    noisy = rig.heard(replace(BASE, conditions=AddedNoise()))
    assert [clip.id for clip in noisy] == [clip.id for clip in clean]
    assert not any(np.array_equal(a.samples, b.samples) for a, b in zip(clean, noisy, strict=True))
    again = rig.heard(replace(BASE, conditions=AddedNoise()))
    assert all(a is b for a, b in zip(noisy, again, strict=True))
    assert rig.heard(replace(BASE, conditions=Jitter())) is clean
    rig.close()


def test_jitter_means_nothing_at_flood_pace() -> None:
    flood = ReplayConfig(pace="flood")
    with pytest.raises(ConfigError, match="conditions=jitter"):
        Config(conditions=Jitter(), replay=flood)
    Config(conditions=Loss(), replay=flood)


def test_a_condition_from_outside_is_one_class() -> None:
    @harness.condition("half")
    @dataclass
    class Half(Condition):
        level: float = 0.5
        cut: bool = False

        def heard(self, samples: Samples, speech: SpeechBounds, clip: str) -> Samples:
            return (samples * np.float32(self.level))[int(self.cut) :]

    try:
        config = replace(BASE, conditions=Half())
        assert outside_variants(config)["conditions"].options == {"level": 0.5, "cut": False}
        rig = Rig(config, Progress())
        for heard, clip in zip(rig.heard(config), rig.dataset.clips, strict=True):
            assert np.allclose(heard.samples, clip.samples / 2)
        with pytest.raises(ConfigError, match="changed the length"):
            rig.heard(replace(BASE, conditions=Half(cut=True)))
        rig.close()
    finally:
        CONDITIONS.remove("half")
