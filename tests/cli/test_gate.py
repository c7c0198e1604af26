"""The verb ``gate``: finished runs are judged again."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from harness.__main__ import main
from tests.cli.verbs import (
    ONE_CLIP,
    noisy,
    one_clip,
    run_of_older_metrics,
    verdict,
)

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("command_line")]


def test_a_gate_does_not_judge_another_version_of_the_metrics(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_of_older_metrics("old")
    assert main(["gate", "old", "gate.rules=['failed = 0']"]) == 4
    assert "python -m harness rechunk old chunking=" in capsys.readouterr().err
    assert main(["rechunk", "old", "chunking=1word"]) == 0
    assert main(["gate", "old-rechunked/1word", "gate.rules=['failed = 0']"]) == 0


def test_a_finished_run_is_judged_again_by_another_gate() -> None:
    assert noisy("run", "out") == 0
    assert main(["gate", "out", "gate.rules=['ttft_ms p50 <= 200 ms']"]) == 3
    junit = ET.parse("out/junit.xml")  # noqa: S314 our own file
    assert len(junit.findall(".//failure")) == 1
    assert verdict("out")["status"] == "fail"
    assert main(["gate", "out", "gate=none"]) == 0
    assert verdict("out")["status"] == "fail"  # nothing was judged: nothing is forgotten
    assert "<failure" in Path("out/junit.xml").read_text(encoding="utf-8")
    assert main(["report", "out"]) == 3
    assert "FAIL by rules given by hand" in Path("out/report.md").read_text(encoding="utf-8")


def test_a_changed_field_is_of_the_gate_that_the_run_had() -> None:
    assert noisy("run", "out", "gate.rules=['ttft_ms p50 <= 200 ms']") == 3
    assert main(["gate", "gate.confidence=0.99", "out"]) == 2  # RUN comes first
    assert main(["gate", "out", "--allow", "python", "gate.confidence=0.99"]) == 3
    assert verdict("out")["confidence"] == 0.99
    assert main(["gate", "out", "gate.confidnce=0.99"]) == 2


def test_one_arm_judged_by_itself_leaves_the_comparisons_verdict() -> None:
    assert noisy("compare", "out", "chunking=1word,6word", "gate=ci", "gate.confirm=false") == 3
    assert main(["gate", "out/6word", "gate.rules=['failed = 0']"]) == 0
    assert verdict("out/6word")["gate"] == "ci"


def test_a_finished_comparison_is_not_judged_against_an_arm_that_it_has_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert noisy("compare", "out", "engine.token_ms=20,30", "replay.repeats=1", "gate=ci") == 3
    capsys.readouterr()
    assert main(["gate", "out", "gate.rules=['text parity vs arm token=30']"]) == 2
    assert "allowed: token_ms=20, token_ms=30" in capsys.readouterr().err
    assert verdict("out/token_ms=30")["gate"] == "ci"
    assert main(["gate", "out", "gate.rules=['text parity vs arm token_ms=30']"]) == 0
    assert main(["gate", "out/token_ms=20", "gate.rules=['text parity vs arm token_ms=30']"]) == 2


def test_a_gate_without_rules_says_that_there_is_nothing_to_judge(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert one_clip("out", "--quiet") == 0
    assert main(["gate", "out"]) == 0
    said = "gate none has no rules: nothing to judge; name one with gate=ci\n"
    assert capsys.readouterr().out == said


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("rules: [failed = 0", "a config file is not YAML"),
        ("rules:\n  - ttft_ms p50 vs baseline: at most +5 % and +10 ms", "stands in quotes"),
        ("arm: 6wrod\nrules: [failed = 0]", "none of that name: '6wrod'"),
    ],
)
def test_a_gate_that_cannot_be_asked(
    text: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine/gate").mkdir(parents=True)
    Path("mine/gate/x.yaml").write_text(f"# @package gate\nname: x\n{text}\n", encoding="utf-8")
    mine = f"hydra.searchpath=[file://{Path('mine').resolve()}]"
    assert one_clip("out", "gate=x", mine) == 2
    assert complaint in capsys.readouterr().err
    assert not Path("out/events.jsonl").exists()


def test_runs_that_lie_in_one_folder_are_no_comparison(capsys: pytest.CaptureFixture[str]) -> None:
    assert one_clip("here/a") == 0
    assert main(["gate", "here", "gate=ci"]) == 2
    assert "were not compared" in capsys.readouterr().err


def test_a_comparison_that_was_cut_off_can_be_judged(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", *ONE_CLIP, "chunking=6word,1word", "hydra.run.dir=out"]) == 0
    Path("out/comparison.json").unlink()
    rule = "gate.rules=['failed = 0']"
    assert main(["gate", "out", "gate=none", rule]) == 0
    assert capsys.readouterr().out.count("PASS") >= 2
