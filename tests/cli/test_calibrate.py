"""``calibrate`` through the real command line: scripted engine, virtual time."""

from __future__ import annotations

import html
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from harness.__main__ import main
from harness.verdicts import calibration

pytestmark = pytest.mark.e2e

QUICK = [
    "engine=scripted", "engine.first_ms=350", "engine.jitter_ms=20", "replay.pace=virtual",
    "replay.compute_scale=0", "replay.repeats=1", "replay.frame_ms=500", "calibrate.runs=3",
    "report.plots=false",
]  # fmt: skip
LABELS = ["+2 %", "+5 %", "+10 %", "+25 %", "+100 % on 5 % of the clips"]


@pytest.fixture(autouse=True)
def _few_tries(command_line: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "TRIES", 40)
    monkeypatch.setattr(calibration, "EFFECTS", (0.0, 0.10, 0.25))


def calibrate(*overrides: str) -> int:
    return main(["calibrate", *QUICK, "hydra.run.dir=out", *overrides])


def stored() -> dict[str, Any]:
    (path,) = Path("reports/calibration").iterdir()
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_the_gate_finds_what_it_claims_to_find_and_says_what_it_cannot(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert calibrate("report.plots=true") == 0
    found = stored()
    assert (found["runs"], found["clips"], found["repeats"]) == (3, 11, 1)
    assert 0 < found["bands"]["ttft_ms p50"] < 0.2
    proofs = {proof["injection"]["label"]: proof for proof in found["proofs"]}
    assert list(proofs) == LABELS
    assert proofs["+2 %"]["expected"] == "not fail"
    assert proofs["+2 %"]["status"] != "fail"
    assert (proofs["+25 %"]["expected"], proofs["+25 %"]["status"]) == ("fail", "fail")
    tail = proofs[LABELS[-1]]
    assert (tail["expected"], tail["status"]) == ("any", "inconclusive")
    assert "n = 500" in tail["why"]
    text = Path("out/calibration.md").read_text(encoding="utf-8")
    assert "Not found with so many clips and repeats:" in text
    assert {path.name for path in Path("out/plots").iterdir()} == {"power.svg", "power.png"}
    assert {path.parent.name for path in Path("out").glob("*/summary.json")} == {
        "same-1", "same-2", "same-3", "as-it-is",
        "plus-2", "plus-5", "plus-10", "plus-25", "plus-100-tail",
    }  # fmt: skip
    captured = capsys.readouterr()
    assert "9 runs of 11 clips x 1 repeats" in captured.err
    assert captured.err.count("Loading the engine") == 1
    assert "reports/calibration" in captured.out


@pytest.mark.slow
def test_a_later_gate_uses_the_band() -> None:
    rule = "gate.rules=['ttft_ms p50 vs baseline: at most +0 % and +0 ms']"
    assert calibrate() == 0
    band = stored()["bands"]["ttft_ms p50"]
    engine = [option for option in QUICK if not option.startswith("calibrate")]
    assert main(["run", *engine, "hydra.run.dir=old"]) == 0
    assert main(["baseline", "save", "main", "old"]) == 0
    main(["run", *engine, "hydra.run.dir=new", rule, "gate.baseline=main"])
    summary = json.loads(Path("new/summary.json").read_text(encoding="utf-8"))
    assert f"the noise between runs is {100 * band:.1f} %" in summary["verdict"]["rules"][0]["why"]


@pytest.mark.slow
def test_the_noise_of_one_config_loosens_no_gate_of_another() -> None:
    assert calibrate("engine.jitter_ms=150") in (0, 4)
    engine = [option for option in QUICK if not option.startswith("calibrate")]
    rule = "gate.rules=['ttft_ms p50 vs baseline: at most +0 % and +0 ms']"
    assert main(["run", *engine, "hydra.run.dir=old"]) == 0
    assert main(["baseline", "save", "main", "old"]) == 0
    main(["run", *engine, "hydra.run.dir=new", rule, "gate.baseline=main"])
    assert "the noise between runs" not in Path("new/summary.json").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_run_without_a_calibration_says_how_to_make_the_one_it_would_use() -> None:
    engine = [option for option in QUICK if not option.startswith(("calibrate", "report"))]
    assert main(["run", *engine, "gate=ci", "report.plots=true", "hydra.run.dir=run"]) == 0
    page = html.unescape(Path("run/report.html").read_text(encoding="utf-8"))
    (command,) = re.findall(r"not calibrated: python -m harness (calibrate [^<]*)", page)
    asked = shlex.split(command)
    assert asked == ["calibrate", *engine]
    assert main([*asked, "calibrate.runs=3", "hydra.run.dir=out"]) in (0, 4)
    assert main(["report", "run"]) == 0
    assert "not calibrated" not in Path("run/report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_proof_that_does_not_hold_is_exit_code_3(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gate that cannot fail: what is injected never arrives."""
    from harness.engines.inject import InjectConfig

    monkeypatch.setattr(InjectConfig, "holds_back", property(lambda self: False))
    assert calibrate() == 3
    assert "**no**" in Path("out/calibration.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_nothing_can_be_found_with_four_clips() -> None:
    assert calibrate("dataset.limit=4") == 4
    assert "Smallest effect found in at least 95 % of 40 tries: none of these." in Path(
        "out/calibration.md"
    ).read_text(encoding="utf-8")


def test_what_was_finished_is_kept_when_it_is_interrupted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from harness.experiments import run as experiment

    replay, calls = experiment.replay, 0

    def interrupted(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > 4:  # each run is two: warm-ups, then what is measured
            raise KeyboardInterrupt
        return replay(*arguments)

    monkeypatch.setattr(experiment, "replay", interrupted)
    assert calibrate() == 4
    assert "out/same-3 is not valid: incomplete" in capsys.readouterr().err
    assert Path("out/same-2/summary.json").is_file()
    assert not Path("reports/calibration").exists()


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("calibrate.runs=2", "3 or more"),
        ("calibrate.rule='failed = 0'", "ttft_ms STATISTIC vs baseline"),
        ("inject.delay_ms=5", "injects its own delays"),
        ("replay.until=decided", "planned number of repeats"),
    ],
)
def test_what_cannot_be_calibrated_is_refused_before_anything_runs(
    override: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert calibrate(override) == 2
    assert says in capsys.readouterr().err
    assert not list(Path().rglob("events.jsonl"))
