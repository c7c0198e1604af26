"""The Python API: what a notebook, a test or a service calls."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import harness
from harness.errors import ConfigError, UsageError
from harness.experiments.progress import SessionsDone

QUICK = harness.ReplayConfig(pace="virtual", compute_scale=0.0, repeats=2, warmup=0)


def quick(**fields: Any) -> harness.Config:
    """A config that is measured in a moment, in virtual time."""
    fields = {"engine": harness.ScriptedOptions(first_ms=80), "model": harness.NoModel(), **fields}
    return harness.Config(replay=QUICK, **fields)


class Echo:
    """An engine of one's own: says the reference when the audio is over."""

    def __init__(self, world: harness.World, prefix: str = "") -> None:
        self.info = harness.EngineInfo(model="echo", kinds=(harness.SessionKind.TURN,))
        self.prefix = prefix

    def open(self, listener: harness.Listener, reference: harness.Reference | None = None) -> Any:
        listener.ready()
        return EchoStream(listener, self.prefix + (reference.text if reference else ""))

    def close(self) -> None: ...


@dataclass
class EchoStream:
    listener: harness.Listener
    text: str

    def feed(self, samples: harness.Samples) -> None: ...

    def finish(self) -> None:
        self.listener.token(self.text)
        self.listener.ended()

    def close(self) -> None: ...


def test_a_run_is_measured_kept_and_judged(tmp_path: Path) -> None:
    run = harness.run(quick(), folder=tmp_path / "run")
    assert run.summary is not None
    assert run.summary["first_token_ms"].p50 == pytest.approx(80)
    assert run.judge("failed = 0", "chunks >= 1").status == "pass"
    assert run.judge("ttft_ms p50 <= 10 ms").status == "fail"
    again = harness.load_run(tmp_path / "run")
    assert again.summary == run.summary
    assert again.name == "run"


def test_a_comparison_has_a_run_for_each_config(tmp_path: Path) -> None:
    old, new = harness.compare(
        quick(chunking=harness.Words(6)), quick(chunking=harness.Words(1)), folder=tmp_path / "both"
    )
    assert (old.name, new.name) == ("6word", "1word")
    assert old.summary is not None
    assert new.summary is not None
    assert old.summary["ttft_ms"].p50 > new.summary["ttft_ms"].p50


def test_an_engine_of_ones_own_is_measured_and_named(tmp_path: Path) -> None:
    run = harness.run(quick(), engine=Echo, folder=tmp_path / "run", prefix="oh ")
    assert all(clip.hypothesis.startswith("oh ") for clip in run.clips)
    outside = run.environment.outside["engine"]
    assert outside["name"].endswith("Echo")
    assert outside["options"]["options"] == {"prefix": "oh "}
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["engine"]["options"]


def test_two_engines_never_share_an_identity(tmp_path: Path) -> None:
    def other(world: harness.World) -> Echo:
        return Echo(world)

    runs = [
        harness.run(quick(), engine=Echo, folder=tmp_path / "a"),
        harness.run(quick(), engine=Echo, folder=tmp_path / "b", prefix="oh "),
        harness.run(quick(), engine=other, folder=tmp_path / "c"),
    ]
    assert len({run.environment.config_identity for run in runs}) == 3


def test_what_cannot_be_measured_is_an_error_not_an_exit(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two configurations or more"):
        harness.compare(quick())
    harness.run(quick(), folder=tmp_path / "run")
    with pytest.raises(UsageError, match="holds a run already"):
        harness.run(quick(), folder=tmp_path / "run")
    with pytest.raises(ConfigError, match="no rule to judge by"):
        harness.load_run(tmp_path / "run").judge()
    with pytest.raises(ConfigError, match="options without an engine"):
        harness.run(quick(), prefix="oh ")


def test_progress_is_a_callback(tmp_path: Path) -> None:
    class Seen(harness.Progress):
        def __init__(self) -> None:
            self.done: list[tuple[int, int]] = []

        def session_done(self, so_far: SessionsDone) -> None:
            self.done.append((so_far.done, so_far.planned))

    seen = Seen()
    run = harness.run(quick(), folder=tmp_path / "run", progress=seen)
    assert seen.done[-1] == (len(run.clips), len(run.clips))


def test_every_public_name_can_be_used_and_no_other() -> None:
    for name in dir(harness):
        assert getattr(harness, name) is not None or name.startswith("__")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = harness.nothing


@pytest.mark.e2e
def test_import_is_light_and_leaves_logging_alone() -> None:
    code = (
        "import sys, logging, harness\n"
        "assert logging.getLogger().handlers == []\n"
        "heavy = {'torch', 'hydra', 'numpy', 'matplotlib', 'transformers'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "harness.Config, harness.run\n"
        "assert not {'torch', 'hydra', 'matplotlib'} & set(sys.modules)\n"
        "assert logging.getLogger().handlers == []\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: harness.run("1word"), r"no harness\.Config: .*1word"),  # type: ignore[arg-type]
        (lambda: harness.run({}), r"no harness\.Config: \{\}"),  # type: ignore[arg-type]
        (lambda: harness.compare(quick(), None), r"no harness\.Config"),  # type: ignore[arg-type]
        (lambda: harness.run(quick(chunking="1word")), r"config field chunking.*Words\(\)"),
        (lambda: harness.run(quick(chunking=harness.Words)), "config field chunking"),
        (lambda: harness.run(quick(dataset=None)), "config field dataset"),
        (lambda: harness.run(quick(), engine="echo"), "neither a class nor a function"),  # type: ignore[arg-type]
        (lambda: harness.run(quick(), progress=print), r"no harness\.Progress"),  # type: ignore[arg-type]
        (lambda: harness.Words("2"), r"chunking\.words"),  # type: ignore[arg-type]
    ],
)
def test_what_has_a_wrong_type_is_named(
    wrong: Any, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(harness.HarnessError, match=f"(?s){says}"):
        wrong()
    assert not list(tmp_path.iterdir())


def test_a_gate_is_an_object(tmp_path: Path) -> None:
    run = harness.run(quick(), folder=tmp_path / "run")
    with pytest.raises(UsageError, match=r"no harness\.GateConfig: 'team\.yaml'"):
        run.judge(gate="team.yaml")  # type: ignore[arg-type]
