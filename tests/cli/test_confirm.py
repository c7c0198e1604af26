"""A regression is measured again before it is called one: scripted engine, virtual time."""

from __future__ import annotations

import json
import shlex
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from traces import gpu_that_said

from harness.__main__ import main
from harness.engines import scripted
from harness.experiments import run as experiment
from harness.machine.environment import git_revision
from harness.machine.gpu import GpuTelemetry
from harness.runs.folder import Run, load_run
from harness.verdicts import judge as summaries

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("command_line")]

ENGINE = [
    "engine=scripted", "engine.first_ms=350", "engine.jitter_ms=20", "replay.pace=virtual",
    "replay.compute_scale=0", "replay.repeats=1", "replay.frame_ms=500", "report.plots=false",
]  # fmt: skip
RULES = "gate.rules=['failed = 0', 'ttft_ms p50 vs baseline: at most +5 % and +10 ms']"
SLOWER = "inject.delay_ms=0,38"


def harness(verb: str, folder: str, *overrides: str) -> int:
    return main([verb, *ENGINE, f"hydra.run.dir={folder}", *overrides])


def regression(folder: str) -> dict[str, Any]:
    summary = json.loads(Path(folder, "summary.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = summary["verdict"]["rules"][1]
    return found


def test_a_regression_that_repeats_is_called_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert harness("compare", "out", RULES, SLOWER) == 3
    found = regression("out/delay_ms=38")
    assert found["status"] == "fail"
    assert "(confirmed by an interleaved re-run; at first: " in found["why"]
    captured = capsys.readouterr()
    assert "measuring all of it once more" in captured.err
    assert "interleaved re-run" in " ".join(captured.out.split())
    again = load_run(Path("out/confirm/delay_ms=38"))
    assert len(again.clips) == 11
    assert again.summary is not None

    # What is made from the folder later knows the two arms, and the same answer.
    assert main(["gate", "out"]) == 3
    assert "confirmed by" in " ".join(capsys.readouterr().out.split())
    assert main(["report", "out", "--json"]) == 3
    assert set(json.loads(capsys.readouterr().out)["arms"]) == {"delay_ms=0", "delay_ms=38"}
    page = Path("out/report.html").read_text(encoding="utf-8")
    assert "confirmed by an interleaved re-run" in page


def test_a_regression_that_does_not_repeat_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine was slow once: the second time, the slower arm is what it was."""

    def without_delay(folder: Path) -> Run:
        run = load_run(folder)
        if folder.parent.name != "confirm":
            return run
        return msgspec.structs.replace(run, clips=load_run(folder.parent / "delay_ms=0").clips)

    monkeypatch.setattr(summaries, "load_run", without_delay)
    assert harness("compare", "out", RULES, SLOWER) == 0
    found = regression("out/delay_ms=38")
    assert found["status"] == "pass"
    assert "(not confirmed by an interleaved re-run; at first: " in found["why"]


def test_a_second_measurement_that_is_cut_off_confirms_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from harness.experiments import run as experiment

    replay, calls = experiment.replay, 0

    def interrupted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 2:  # warm-ups, what is measured, and then again
            raise KeyboardInterrupt
        return replay(*arguments)

    monkeypatch.setattr(experiment, "replay", interrupted)
    assert harness("compare", "out", RULES, SLOWER) == 4
    assert regression("out/delay_ms=38")["status"] == "invalid"


def test_a_second_measurement_on_a_gpu_that_lowered_its_clocks_confirms_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = [gpu_that_said(()), gpu_that_said(("hardware_thermal",))]

    class Sampler:
        def __init__(self, *_: Any) -> None: ...
        def start(self) -> None: ...
        def stop(self) -> GpuTelemetry:
            return seen.pop(0)

    monkeypatch.setattr(scripted, "EngineInfo", partial(scripted.EngineInfo, device="cuda"))
    monkeypatch.setattr(experiment, "GpuSampler", Sampler)
    assert harness("compare", "out", RULES, SLOWER) == 4
    found = regression("out/delay_ms=38")
    assert found["status"] == "invalid"
    assert "throttled" in found["why"]


@pytest.mark.parametrize("more", [["gate.confirm=false", SLOWER], ["inject.delay_ms=0,1"]])
def test_only_a_regression_is_measured_again_and_only_if_that_is_wanted(more: list[str]) -> None:
    assert harness("compare", "out", RULES, *more) == (3 if SLOWER in more else 0)
    assert not Path("out/confirm").exists()


@pytest.mark.parametrize("made_of", ["0123456789abcdef", "0123456789abcdef+dirty", None])
def test_a_regression_against_a_stored_baseline_says_how_to_confirm_it(
    made_of: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.machine.environment.git_revision", lambda _: made_of)
    assert harness("run", "old") == 0
    assert main(["baseline", "save", "main", "old"]) == 0
    monkeypatch.setattr("harness.machine.environment.git_revision", git_revision)
    stored = Path("reports/baselines/main.json")
    faster = json.loads(stored.read_text(encoding="utf-8"))
    for clip in faster["clips"]:
        clip["ttft_ms"] -= 38
    stored.write_text(json.dumps(faster), encoding="utf-8")
    assert harness("run", "new", RULES, "gate.baseline=main") == 3
    what = regression("new")["next"]
    if made_of is None:
        assert "compare --against REVISION" in what
        return
    assert ("not in git" in what) == made_of.endswith("+dirty")
    command = shlex.split(what.partition(": ")[2].partition(" (the baseline")[0])
    assert command[:6] == ["python", "-m", "harness", "compare", "--against", "0123456789abcdef"]
    assert command[6:] == [*ENGINE, RULES]


def test_a_regression_of_another_config_is_not_confirmed_by_the_revision() -> None:
    assert harness("run", "old") == 0
    assert main(["baseline", "save", "main", "old"]) == 0
    allowed = ["gate.baseline=main", "gate.allow=[config_identity]"]
    assert harness("run", "new", RULES, "engine.first_ms=388", *allowed) == 3
    assert regression("new")["next"] == "measure both configs in one comparison: compare"


def test_a_regression_by_another_gate_is_confirmed_by_that_gate() -> None:
    assert harness("run", "old") == 0
    assert main(["baseline", "save", "main", "old"]) == 0
    stored = Path("reports/baselines/main.json")
    stored.write_text(
        stored.read_text(encoding="utf-8").replace('"ttft_ms":3', '"ttft_ms":2'), encoding="utf-8"
    )
    assert harness("run", "new", "gate=ci") == 0
    assert main(["gate", "new", RULES, "--baseline", "main"]) == 3
    what = regression("new")["next"].partition(": ")[2].partition(" (the baseline")[0]
    assert shlex.split(what)[-2:] == ["gate=ci", RULES]


def test_the_last_look_of_many_spends_no_more_than_its_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shares = []
    judge = summaries.judge

    def watched(*arguments: Any, **more: Any) -> Any:
        shares.append(more["share"])
        return judge(*arguments, **more)

    monkeypatch.setattr(summaries, "judge", watched)
    ours = ["replay.until=decided", "replay.repeats=1", "replay.most_repeats=4"]
    harness("run", "out", "gate.rules=['ttft_ms p95 <= 900 ms']", *ours)
    assert shares
    assert set(shares) == {0.25}
