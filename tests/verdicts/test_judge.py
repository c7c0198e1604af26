"""From run folders to verdicts: who is compared with whom, and what to do about a regression."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from verdicts.clips import make_clips, spread, write_finished_run

from harness.config import GateConfig
from harness.errors import BaselineError, ConfigError, UsageError
from harness.runs.folder import Run, load_run
from harness.runs.records import Verdict
from harness.runs.summarise import summarise_run
from harness.verdicts.baselines import save_baseline
from harness.verdicts.judge import finish_arms, judge_again, judge_runs, load_against

RULE = "ttft_ms p50 vs baseline: at most +5 % and +10 ms"
GATE = GateConfig(name="test", rules=[RULE])


def run_of(folder: Path, name: str, *, slower: float = 1.0, **more: object) -> Run:
    return load_run(write_finished_run(folder / name, make_clips(spread(slower=slower)), **more))  # type: ignore[arg-type]


def judged(*runs: Run, gate: GateConfig = GATE, **how: object) -> list[Verdict]:
    return judge_runs(runs, [run.summary or summarise_run(run) for run in runs], gate, **how)  # type: ignore[arg-type]


def test_the_first_arm_is_what_the_others_are_compared_with(tmp_path: Path) -> None:
    first, same, slow = (
        run_of(tmp_path, name, slower=by) for name, by in (("a", 1.0), ("b", 1.0), ("c", 1.5))
    )
    verdicts = judged(first, same, slow)
    assert [verdict.status for verdict in verdicts] == ["none", "pass", "fail"]
    assert verdicts[2].baseline == "arm a"


def test_a_stored_baseline_is_named_with_the_command_that_confirms(tmp_path: Path) -> None:
    old = run_of(tmp_path, "old")
    save_baseline("main", old.folder, tmp_path / "baselines")
    slow = run_of(tmp_path, "slow", slower=1.5)
    against = load_against(GATE, slow.environment, "main", tmp_path / "baselines")
    (verdict,) = judged(slow, against=against)
    assert (verdict.status, verdict.baseline) == ("fail", "main")
    (rule,) = verdict.rules
    assert rule.next.startswith("confirm it, old and new interleaved: python -m harness compare")
    assert load_against(GATE, slow.environment) is None  # the gate names none


def test_a_run_of_another_version_of_the_metrics_is_not_judged(tmp_path: Path) -> None:
    run = run_of(tmp_path, "run", metrics_version="1")
    with pytest.raises(BaselineError, match="another version of the metrics"):
        judged(run)


def test_a_gate_of_an_arm_that_is_not_there_is_refused(tmp_path: Path) -> None:
    run = run_of(tmp_path, "run")
    with pytest.raises(ConfigError, match="judges one arm"):
        judged(run, gate=GateConfig(name="g", rules=["failed = 0"], arm="nobody"))
    with pytest.raises(ConfigError, match="names an arm"):
        judged(run, gate=GateConfig(name="g", rules=["text parity vs arm nobody"]))


def test_an_allowed_field_must_be_one(tmp_path: Path) -> None:
    run = run_of(tmp_path, "run")
    save_baseline("main", run.folder, tmp_path / "baselines")
    gate = GateConfig(name="g", rules=[RULE], allow=["pakages"])
    with pytest.raises(UsageError, match="--allow"):
        load_against(gate, run.environment, "main", tmp_path / "baselines")


def test_a_regression_is_called_one_when_both_measurements_say_so(tmp_path: Path) -> None:
    old, slow = run_of(tmp_path, "old"), run_of(tmp_path, "slow", slower=1.5)
    first = judged(old, slow)
    (tmp_path / "again").mkdir()
    again = [run_of(tmp_path / "again", name) for name in ("old", "slow")]
    (_, cleared) = judge_again(first, again, GATE)
    assert cleared.status == "pass"
    assert "not confirmed by an interleaved re-run" in cleared.rules[0].why
    (_, confirmed) = judge_again(first, [old, slow], GATE)
    assert confirmed.status == "fail"


def test_finishing_writes_the_verdict_into_the_summary(tmp_path: Path) -> None:
    class Finished(msgspec.Struct):
        folder: Path

        def finish(self, summary: object) -> None:
            kept.append(summary)

    kept: list[object] = []
    (done,) = finish_arms([Finished(run_of(tmp_path, "run").folder)])  # type: ignore[list-item]
    assert kept == [done]
    assert done.verdict.status == "none"
