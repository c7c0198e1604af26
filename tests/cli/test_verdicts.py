"""Every exit code of a gate, through the real command line: scripted engine, virtual time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from harness.__main__ import main
from harness.experiments import run as experiment

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("command_line")]

ENGINE = [
    "engine=scripted", "engine.first_ms=350", "engine.jitter_ms=20", "replay.pace=virtual",
    "replay.compute_scale=0", "replay.frame_ms=500", "report.plots=false",
]  # fmt: skip
# Audio all at once, in real time: what waits for nothing takes none.
FLOODED = [
    "replay.pace=flood", "replay.compute_scale=1", "replay.repeats=1", "engine.first_ms=0",
    "engine.token_ms=0", "engine.jitter_ms=0",
]  # fmt: skip


def harness(verb: str, folder: str, *overrides: str) -> int:
    return main([verb, *ENGINE, f"hydra.run.dir={folder}", *overrides])


def verdict(folder: str) -> dict[str, Any]:
    summary = json.loads(Path(folder, "summary.json").read_text(encoding="utf-8"))
    found: dict[str, Any] = summary["verdict"]
    return found


def rule(folder: str, begins: str) -> dict[str, Any]:
    (found,) = [r for r in verdict(folder)["rules"] if r["rule"].startswith(begins)]
    return dict(found)


def test_the_same_against_the_same_passes() -> None:
    # two arms that differ in nothing that matters
    assert harness("compare", "out", "gate=ci", "replay.timeout_s=60,61") == 0
    assert verdict("out/timeout_s=61")["status"] == "pass"


def test_ten_per_cent_slower_fails_and_says_which_rule_and_by_how_much(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert harness("compare", "out", "gate=ci", "inject.delay_ms=0,38") == 3
    failed = rule("out/delay_ms=38", "ttft_ms p50 vs baseline")
    assert failed["status"] == "fail"
    assert failed["observed"] == pytest.approx(38, abs=10)
    out = capsys.readouterr().out
    assert "FAIL         ttft_ms p50 vs baseline" in out
    assert failed["why"][:20] in out


def test_a_changed_transcript_fails() -> None:
    assert harness("compare", "out", "gate=ci", "inject.drop_words=0,4") == 3
    assert rule("out/drop_words=4", "wer_delta")["status"] == "fail"
    assert rule("out/drop_words=4", "wer <=")["status"] == "fail"


def test_a_late_driver_is_invalid(capsys: pytest.CaptureFixture[str]) -> None:
    assert harness("run", "out", "gate=ci", "inject.driver_late_ms=50") == 4
    assert verdict("out")["status"] == "invalid"
    assert "late_replay" in capsys.readouterr().out


def test_too_few_samples_are_inconclusive_and_say_how_many_are_missing() -> None:
    rules = "gate.rules=['ttft_ms p95 <= 900 ms']"
    assert harness("run", "out", rules, "replay.repeats=1", "dataset.limit=7") == 4
    found = rule("out", "ttft_ms p95")
    assert found["status"] == "inconclusive"
    assert any(character.isdigit() for character in found["next"])


def test_a_limit_passes_with_certainty_and_fails_with_certainty() -> None:
    assert harness("run", "good", "gate.rules=['ttft_ms p50 <= 900 ms']") == 0
    assert harness("run", "bad", "gate.rules=['ttft_ms p50 <= 200 ms']") == 3


def test_a_finished_run_is_judged_again_by_another_gate() -> None:
    assert harness("run", "out") == 0
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
    assert harness("run", "out", "gate.rules=['ttft_ms p50 <= 200 ms']") == 3
    assert main(["gate", "gate.confidence=0.99", "out"]) == 2  # RUN comes first
    assert main(["gate", "out", "--allow", "python", "gate.confidence=0.99"]) == 3
    assert verdict("out")["confidence"] == 0.99
    assert main(["gate", "out", "gate.confidnce=0.99"]) == 2


def test_a_comparison_has_no_stored_baseline(capsys: pytest.CaptureFixture[str]) -> None:
    assert harness("compare", "out", "chunking=1word,6word", "gate=ci", "gate.baseline=x") == 2
    assert "judged against its first arm" in capsys.readouterr().err


def test_one_arm_judged_by_itself_leaves_the_comparisons_verdict() -> None:
    assert harness("compare", "out", "chunking=1word,6word", "gate=ci", "gate.confirm=false") == 3
    assert main(["gate", "out/6word", "gate.rules=['failed = 0']"]) == 0
    assert verdict("out/6word")["gate"] == "ci"


def test_a_baseline_is_saved_listed_shown_and_compared_with(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert harness("run", "old") == 0
    assert main(["baseline", "save", "main", "old"]) == 0
    assert main(["baseline", "list"]) == 0
    assert main(["baseline", "show", "main"]) == 0
    assert "main" in capsys.readouterr().out
    assert harness("run", "new", "gate=ci", "gate.baseline=main") == 0
    assert verdict("new")["baseline"] == "main"
    assert harness("run", "slow", "engine.first_ms=390", "gate=ci") == 0  # not asked of a run alone
    assert main(["gate", "slow", "--baseline", "main"]) == 4  # another config: refused
    assert "config_identity" in capsys.readouterr().err
    assert main(["gate", "slow", "--baseline", "main", "--allow", "config_identity"]) == 3
    assert main(["report", "slow"]) == 3
    for name in ("report.md", "report.html"):
        page = Path("slow", name).read_text(encoding="utf-8").replace("\\_", "_")
        assert "by gate ci, against main (although these differ: config_identity)" in page
    assert main(["gate", "new", "--baseline", "missing"]) == 4


def test_a_missing_baseline_stops_a_run_before_anything_is_timed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert harness("run", "out", "gate=ci", "gate.baseline=nobody") == 4
    assert "no such baseline" in capsys.readouterr().err
    assert not Path("out/clips.jsonl").exists() or not Path("out/clips.jsonl").read_bytes()


@pytest.mark.parametrize(
    "text", ["ttft_ms p95 <= 900 s", "tfft_ms p95 <= 900 ms", "ttft_ms p95 <= 900 parsecs"]
)
def test_a_rule_that_is_none_is_an_error_before_anything_runs(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert harness("run", "out", f"gate.rules=['{text}']") == 2
    assert text.split(maxsplit=1)[0] in capsys.readouterr().err
    assert not Path("out/events.jsonl").exists()


def test_a_rule_that_names_no_arm_is_an_error_before_anything_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    misspelt = "gate.rules=['text parity vs arm 6wrod']"
    assert harness("compare", "out", "chunking=1word,6word", misspelt) == 2
    assert "'6wrod'\n  allowed: 1word, 6word\n" in capsys.readouterr().err
    assert harness("run", "out", "chunking=1word", "gate=seed") == 2  # nor is it there in a run
    assert "`compare` with 6word among the arms" in capsys.readouterr().err
    one_by_one = ["-m", *ENGINE, "chunking=1word,6word", "hydra.sweep.dir=each", misspelt]
    assert main(["run", *one_by_one]) == 2
    assert not Path("out").exists()
    assert not list(Path("each").rglob("events.jsonl"))


def test_a_finished_comparison_is_not_judged_against_an_arm_that_it_has_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert harness("compare", "out", "engine.token_ms=20,30", "replay.repeats=1", "gate=ci") == 3
    capsys.readouterr()
    assert main(["gate", "out", "gate.rules=['text parity vs arm token=30']"]) == 2
    assert "allowed: token_ms=20, token_ms=30" in capsys.readouterr().err
    assert verdict("out/token_ms=30")["gate"] == "ci"
    assert main(["gate", "out", "gate.rules=['text parity vs arm token_ms=30']"]) == 0
    assert main(["gate", "out/token_ms=20", "gate.rules=['text parity vs arm token_ms=30']"]) == 2


def test_the_seed_claim_is_judged_on_the_one_word_arm() -> None:
    ours = ["gate=seed", "chunking=1word,6word", "engine.token_ms=60", "engine.jitter_ms=0"]
    assert harness("compare", "held", *ours, "engine.first_ms=20") == 0  # 80 ms against 380
    assert {r["status"] for r in verdict("held/1word")["rules"]} == {"pass"}
    assert harness("compare", "broken", *ours, "engine.first_ms=300") == 3  # 360 ms against 660
    assert rule("broken/1word", "text parity")["status"] == "pass"
    assert rule("broken/1word", "ttft_ms p50 between")["status"] == "fail"
    assert rule("broken/1word", "ttft_ms p50 vs arm 6word")["status"] == "fail"


def test_a_gate_of_regressions_alone_is_inconclusive_without_a_baseline() -> None:
    rules = "gate.rules=['ttft_ms p50 vs baseline: at most +5 % and +10 ms']"
    assert harness("run", "out", rules) == 4
    assert "baseline" in rule("out", "ttft_ms p50")["next"]


def test_rules_against_a_baseline_are_not_asked_of_a_run_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert harness("run", "out", "gate=ci") == 0
    assert rule("out", "ttft_ms p50 vs baseline")["status"] == "none"
    assert "NOT ASKED" in capsys.readouterr().out


def test_repeating_until_decided_stops_when_it_is() -> None:
    rules = "gate.rules=['ttft_ms p95 <= 900 ms']"
    ours = ["replay.until=decided", "replay.repeats=2", "replay.most_repeats=40"]
    assert harness("run", "out", rules, *ours) == 0
    summary = json.loads(Path("out/summary.json").read_text(encoding="utf-8"))
    assert 2 < summary["repeats"] < 40
    assert summary["verdict"]["status"] == "pass"
    assert summary["validity"] == []


@pytest.mark.parametrize("sessions", [1, 11, 33])
def test_until_decided_does_not_mean_until_interrupted(
    sessions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even where repeats have ended: it was to look after four."""
    replay, replayed = experiment.replay, 0

    def interrupted(
        world: Any, arms: Any, planned: Any, streams: Any, keep: Any, *more: Any
    ) -> Any:
        def keep_some(*session: Any) -> None:
            nonlocal replayed
            if not session[0].warmup:
                replayed += 1
            keep(*session)
            if replayed == sessions:
                raise KeyboardInterrupt

        return replay(world, arms, planned, streams, keep_some, *more)

    monkeypatch.setattr(experiment, "replay", interrupted)
    ours = ["replay.until=decided", "replay.repeats=4", "replay.most_repeats=40"]
    assert harness("run", "out", "gate.rules=['ttft_ms p50 <= 900 ms']", *ours) == 4
    assert verdict("out")["status"] == "invalid"
    assert len(Path("out/clips.jsonl").read_text(encoding="utf-8").splitlines()) == sessions


def test_of_several_runs_a_failed_gate_decides() -> None:
    """One fails, one has too few clips to be decided."""
    rules = "gate.rules=['ttft_ms p50 <= 400 ms','ttft_ms p99 <= 900 ms']"
    sweep = ["-m", *ENGINE, "hydra.sweep.dir=each", rules]
    assert main(["run", *sweep, "inject.delay_ms=0,200"]) == 3
    found = [verdict(str(path.parent))["status"] for path in Path("each").rglob("summary.json")]
    assert sorted(found) == ["fail", "inconclusive"]


def test_allowed_is_said_only_of_what_differs() -> None:
    assert harness("run", "old", "replay.repeats=5") == 0
    assert main(["baseline", "save", "main", "old"]) == 0
    rules = "gate.rules=['ttft_ms p50 vs baseline: at most +5 % and +10 ms']"
    ours = ["replay.repeats=5", "gate.baseline=main", rules]
    assert harness("run", "out", *ours, "gate.allow=[packages,gpu]") == 0
    assert verdict("out")["allowed"] == []


def test_an_arm_is_given_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert harness("compare", "out", "chunking=1word,6word,1word") == 2
    assert "two arms are the same" in capsys.readouterr().err
    assert not Path("out").exists()


@pytest.mark.parametrize("form", ["pytest-benchmark", "github-action-benchmark", "bencher"])
def test_figures_are_exported(form: str) -> None:
    assert harness("run", "out", "replay.repeats=1") == 0
    assert main(["export", "out", "--format", form, "--out", "figures.json"]) == 0
    assert json.loads(Path("figures.json").read_text(encoding="utf-8"))


def test_a_refused_baseline_leaves_nothing_behind() -> None:
    assert harness("run", "out", "gate=ci", "gate.baseline=nobody") == 4
    assert not Path("out").exists()
    assert harness("run", "out", "gate=ci") == 0


def test_audio_that_came_faster_than_anyone_speaks_tells_no_latency() -> None:
    rules = "gate.rules=['ttft_ms p50 <= 900 ms','failed = 0','wer <= 0.1']"
    assert harness("run", "out", rules, *FLOODED) == 4
    said = [found["status"] for found in verdict("out")["rules"]]
    assert said == ["inconclusive", "pass", "pass"]
    assert (
        rule("out", "ttft_ms")["why"] == "ttft_ms was not measured: replay.pace=flood: no latency"
    )


def test_recorded_audio_that_came_too_fast_has_no_latency_under_another_chunking() -> None:
    assert harness("run", "out", *FLOODED) == 0
    assert main(["rechunk", "out", "chunking=6word", "--out", "again"]) == 0
    figure = json.loads(Path("again/6word/summary.json").read_text(encoding="utf-8"))["metrics"][
        "ttft_ms"
    ]
    assert (figure["n"], figure["why_null"]["p50"]) == (0, "replay.pace=flood: no latency")


def test_a_tail_may_be_compared_with_what_nothing_was_done_to() -> None:
    assert harness("compare", "out", "inject.delay_ms=0,100", "inject.tail_share=0.2") == 0
