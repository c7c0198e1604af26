"""The verb ``capacity`` as a user meets it: scripted engine, virtual time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.__main__ import main
from harness.cli.compose import compose_alone, to_config

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("command_line")]

SMALL = ["engine=scripted", "replay.pace=virtual", "replay.compute_scale=0", "replay.frame_ms=1000",
         "replay.warmup=0", "dataset.clips=[07-heaven]", "report.plots=false"]  # fmt: skip
# Two answers of 50 % goodput: with a confidence of 0.5 over 2 looks, 2 sessions decide.
ROUGH = ["capacity.most_streams=2", "capacity.goodput=0.5", "capacity.confidence=0.5",
         "capacity.looks=1", "capacity.points=2", "capacity.sessions=6"]  # fmt: skip
TTFT = "capacity.objectives=['ttft_ms p50 <= 900 ms']"


def capacity(*overrides: str) -> int:
    return main(["capacity", *SMALL, *ROUGH, TTFT, "hydra.run.dir=out", *overrides])


def answer() -> Any:
    return json.loads(Path("out/capacity.json").read_text(encoding="utf-8"))


def test_every_number_of_streams_leaves_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert capacity("report.plots=true") == 0
    found = answer()
    assert (found["largest_good"], found["smallest_bad"], found["complete"]) == (2, None, True)
    one, two = found["points"]
    assert (one["streams"], one["sessions"]) == (1, 6)
    assert (two["streams"], two["sessions"]) == (2, 10)  # five rounds of both
    assert two["status"] == "good"
    assert (two["ttft_p50_ms"], two["gap_p95_ms"]) == (70, 20)  # as scripted
    for point in found["points"]:
        (run,) = point["runs"]
        clips = Path("out", run, "clips.jsonl").read_text(encoding="utf-8").splitlines()
        assert len({json.loads(line)["lane"] for line in clips}) == point["streams"]
        assert Path("out", run, "summary.json").is_file()
    assert Path("out/plots/capacity.svg").stat().st_size > 1000
    assert Path("out/plots/capacity.png").is_file()
    told = capsys.readouterr()
    assert "2 streams, the largest number that was allowed, still meet" in told.out
    assert "note: 1 different clips" in told.err
    assert main(["gate", "out", "gate=ci"]) == 2  # one after the other: no comparison
    assert "were not compared" in capsys.readouterr().err


def test_a_system_that_is_too_slow_for_one_has_no_capacity() -> None:
    assert capacity("engine.first_ms=2000") == 3
    found = answer()
    assert (found["largest_good"], found["smallest_bad"], found["complete"]) == (None, 1, True)
    assert found["why"] == "one stream alone does not meet the objectives"


def test_a_late_driver_says_nothing_about_the_system() -> None:
    assert capacity("inject.driver_late_ms=2000") == 4
    found = answer()
    assert (found["largest_good"], found["smallest_bad"], found["complete"]) == (None, None, False)
    (point,) = found["points"]
    assert point["status"] == "invalid"
    assert point["why"].startswith("late_replay: p50 2000.0 ms")
    assert point["ttft_p50_ms"] is None


@pytest.mark.parametrize("flag", ["--json", "--quiet"])
def test_what_is_printed_can_be_chosen(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert capacity("capacity.most_streams=1", flag) == 0
    out = capsys.readouterr().out
    assert (json.loads(out) if flag == "--json" else out) == (answer() if out else "")
    assert bool(out) == (flag == "--json")


def test_an_interrupted_search_says_what_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.experiments import run as experiment

    replayed = experiment.replay
    begun: list[int] = []

    def interrupted(*arguments: Any) -> Any:
        begun.append(arguments[3])  # streams
        if begun[-1] == 2:
            raise KeyboardInterrupt
        return replayed(*arguments)

    monkeypatch.setattr(experiment, "replay", interrupted)
    assert capacity() == 4
    found = answer()
    assert [point["streams"] for point in found["points"]] == [1]
    assert (found["largest_good"], found["complete"]) == (1, False)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        (["capacity.objectives=['wer <= 0.1']"], "no limit on the sessions' own figures"),
        (["capacity.objectives=['ttft_ms p95 <= 900 ms']"], "p50: the share of"),
        (["capacity.goodput=95"], "at most 0.9999"),
        (["gate=ci"], "leave gate=... out"),
        (["replay.pace=flood"], "realtime, virtual"),
        (["engine=torch", "model=voxtral_mini_4b_realtime", "capacity.most_streams=9"],
         "add model.max_streams=9"),
    ],
)  # fmt: skip
def test_what_cannot_be_searched_is_refused_before_anything_is_loaded(
    overrides: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["replay.compute_scale=1", *overrides]
    assert capacity(*given) == 2
    complaint = capsys.readouterr().err
    assert says in complaint
    assert "Loading" not in complaint


def test_the_defaults_agree_with_each_other() -> None:
    from harness.experiments.capacity import check_capacity

    config = to_config(compose_alone([]))
    assert [rule.text for rule in check_capacity(config)] == config.capacity.objectives


@pytest.mark.parametrize(
    ("override", "runs"),
    [
        ("capacity.looks=2", {1: 2, 2: 2}),
        ("capacity.points=1", {1: 1}),
        ("capacity.most_streams=1", {1: 1}),
        ("capacity.sessions=20", {1: 1, 2: 1}),
    ],
)
def test_budgets_bound_the_search(override: str, runs: dict[int, int]) -> None:
    capacity("capacity.confidence=0.99", "capacity.goodput=0.9",
             "capacity.objectives=['ttft_ms p90 <= 900 ms']", override)  # fmt: skip
    found = answer()
    assert {p["streams"]: p["looks"] for p in found["points"]} == runs
    sessions = {p["streams"]: p["sessions"] for p in found["points"]}
    assert sessions[1] == {"capacity.sessions=20": 20, "capacity.looks=2": 12}.get(override, 6)


def test_how_often_gates_may_repeat_is_not_asked_of_looks() -> None:
    assert capacity("replay.until=decided", "replay.most_repeats=20") == 0
