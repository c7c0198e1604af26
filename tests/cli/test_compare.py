"""The verb ``compare``: interleaved arms, their verdicts, and regressions measured again."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from traces import gpu_that_said

from harness.__main__ import main
from harness.engines import scripted
from harness.experiments import run as experiment
from harness.machine.gpu import GpuTelemetry
from harness.runs.folder import Run, load_run
from harness.verdicts import judge as summaries
from tests.cli.verbs import (
    NOISY,
    ONE_CLIP,
    RULES,
    SLOWER,
    noisy,
    once,
    one_clip,
    regression,
    rule,
    verdict,
)

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("command_line")]


def test_the_same_against_the_same_passes() -> None:
    # two arms that differ in nothing that matters
    assert noisy("compare", "out", "gate=ci", "replay.timeout_s=60,61") == 0
    assert verdict("out/timeout_s=61")["status"] == "pass"


def test_ten_per_cent_slower_fails_and_says_which_rule_and_by_how_much(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert noisy("compare", "out", "gate=ci", "inject.delay_ms=0,38") == 3
    failed = rule("out/delay_ms=38", "ttft_ms p50 vs baseline")
    assert failed["status"] == "fail"
    assert failed["observed"] == pytest.approx(38, abs=10)
    out = capsys.readouterr().out
    assert "FAIL         ttft_ms p50 vs baseline" in out
    assert failed["why"][:20] in out


def test_a_changed_transcript_fails() -> None:
    assert noisy("compare", "out", "gate=ci", "inject.drop_words=0,4") == 3
    assert rule("out/drop_words=4", "wer_delta")["status"] == "fail"
    assert rule("out/drop_words=4", "wer <=")["status"] == "fail"


def test_a_comparison_has_no_stored_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    assert noisy("compare", "out", "chunking=1word,6word", "gate=ci", "gate.baseline=x") == 2
    assert "judged against its first arm" in capsys.readouterr().err


def test_a_rule_that_names_no_arm_is_an_error_before_anything_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    misspelt = "gate.rules=['text parity vs arm 6wrod']"
    assert noisy("compare", "out", "chunking=1word,6word", misspelt) == 2
    assert "'6wrod'\n  allowed: 1word, 6word\n" in capsys.readouterr().err
    assert noisy("run", "out", "chunking=1word", "gate=seed") == 2  # nor is it there in a run
    assert "`compare` with 6word among the arms" in capsys.readouterr().err
    one_by_one = ["-m", *NOISY, "chunking=1word,6word", "hydra.sweep.dir=each", misspelt]
    assert main(["run", *one_by_one]) == 2
    assert not Path("out").exists()
    assert not list(Path("each").rglob("events.jsonl"))


def test_the_seed_claim_is_judged_on_the_one_word_arm() -> None:
    ours = ["gate=seed", "chunking=1word,6word", "engine.token_ms=60", "engine.jitter_ms=0"]
    assert noisy("compare", "held", *ours, "engine.first_ms=20") == 0  # 80 ms against 380
    assert {r["status"] for r in verdict("held/1word")["rules"]} == {"pass"}
    assert noisy("compare", "broken", *ours, "engine.first_ms=300") == 3  # 360 ms against 660
    assert rule("broken/1word", "text parity")["status"] == "pass"
    assert rule("broken/1word", "ttft_ms p50 between")["status"] == "fail"
    assert rule("broken/1word", "ttft_ms p50 vs arm 6word")["status"] == "fail"


def test_an_arm_is_given_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert noisy("compare", "out", "chunking=1word,6word,1word") == 2
    assert "two arms are the same" in capsys.readouterr().err
    assert not Path("out").exists()


def test_a_comparison_does_not_go_into_a_runs_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert one_clip("out") == 0
    assert main(["compare", *ONE_CLIP, "chunking=1word,6word", "hydra.run.dir=out"]) == 2
    assert "this folder holds a run already" in capsys.readouterr().err


def test_a_regression_that_repeats_is_called_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert once("compare", "out", RULES, SLOWER) == 3
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
    assert once("compare", "out", RULES, SLOWER) == 0
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
    assert once("compare", "out", RULES, SLOWER) == 4
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
    assert once("compare", "out", RULES, SLOWER) == 4
    found = regression("out/delay_ms=38")
    assert found["status"] == "invalid"
    assert "throttled" in found["why"]


@pytest.mark.parametrize("more", [["gate.confirm=false", SLOWER], ["inject.delay_ms=0,1"]])
def test_only_a_regression_is_measured_again_and_only_if_that_is_wanted(more: list[str]) -> None:
    assert once("compare", "out", RULES, *more) == (3 if SLOWER in more else 0)
    assert not Path("out/confirm").exists()
