"""The verb ``run``: folders, interruptions, options, exit codes of its gate."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from harness.__main__ import main
from harness.clock import RealWorld
from harness.experiments import run as experiment
from harness.verdicts import judge as summaries
from tests.cli.verbs import (
    FLOODED,
    NOISY,
    ONE_CLIP,
    QUICK,
    lines,
    noisy,
    once,
    one_clip,
    read,
    rule,
    run,
    verdict,
)

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("command_line")]


def test_a_run_leaves_the_folder_of_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("out") == 0
    summary = read("out/summary.json")
    assert summary["arm"] == {
        "chunking": "1word", "model": "scripted", "dataset": "two_cities", "session": "turn",
        "conditions": "clean",
    }  # fmt: skip
    assert (summary["schema"], summary["failed"], summary["validity"]) == (1, 0, [])
    (normaliser,) = read("out/environment.json")["normalisers"]
    assert normaliser.startswith("whisper-normalizer ")
    assert normaliser.endswith(" english")
    clips = lines("out/clips.jsonl")
    assert len(clips) == summary["clips"] * summary["repeats"]
    for clip in clips:
        assert clip["first_token_ms"] == 50
        assert clip["ttft_ms"] == 70  # the first word is whole once the second begins
        assert clip["hypothesis"].split() == clip["reference"].split()
    ttft = summary["metrics"]["ttft_ms"]
    assert (ttft["unit"], ttft["n"], ttft["of"], ttft["p50"]) == ("ms", len(clips), len(clips), 70)
    assert ttft["p99"] is None
    assert ttft["why_null"]["p99"] == f"n={len(clips)} < 459"
    assert summary["metrics"]["wer"]["value"] == 0
    environment = read("out/environment.json")
    assert environment["simulated"] is True
    assert environment["dataset"]["name"] == "two_cities"
    assert Path("out/config.yaml").is_file()
    log = Path("out/run.log").read_text(encoding="utf-8")
    assert "TTFT: 70.0 ms for chunk " in log
    assert "Streaming 1-word chunk 0: 'It'" in log
    assert "TTFT" in capsys.readouterr().out


def test_the_default_folder_says_when_and_what() -> None:
    assert main(["run", *QUICK, "chunking=6word", "dataset.limit=1"]) == 0
    (folder,) = Path("reports/runs").iterdir()
    assert folder.name.endswith("-none-6word")


def test_one_word_comes_sooner_than_six_and_the_text_is_the_same() -> None:
    assert run("out", "chunking=1word,6word", verb="compare") == 0
    one, six = lines("out/1word/clips.jsonl"), lines("out/6word/clips.jsonl")
    by_clip = {clip["clip"]: clip for clip in six}
    for clip in one:
        other = by_clip[clip["clip"]]
        assert clip["hypothesis"] == other["hypothesis"]
        words = len(clip["reference"].split())
        waited = min(6, words - 1) - 1  # six words are whole once the seventh begins, or at the end
        assert other["ttft_ms"] - clip["ttft_ms"] == pytest.approx(20 * waited)
    comparison = read("out/comparison.json")
    assert comparison["arms"] == ["1word", "6word"]
    assert comparison["comparisons"][0]["same_text"] == len(one)
    orders = sorted(
        (event["order"], arm, event["clip"])
        for arm in ("1word", "6word")
        for event in lines(f"out/{arm}/events.jsonl")
        if event["event"] == "started"
    )
    pairs = list(zip(orders[::2], orders[1::2], strict=True))
    assert all(a[2] == b[2] and a[1] != b[1] for a, b in pairs)  # each clip by both, in turn
    assert {pair[0][1] for pair in pairs} == {"1word", "6word"}  # neither is always first


def test_a_sweep_is_one_run_after_the_other() -> None:
    assert main(["run", "-m", *QUICK, "dataset.limit=1", "chunking=1word,6word"]) == 0
    assert len(list(Path("reports").rglob("summary.json"))) == 2


def test_json_is_all_that_json_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("out", "dataset.limit=1", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["arms"]["out"] == read("out/summary.json")
    assert main(["report", "out", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == printed


def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("out", "dataset.limit=1", "--quiet") == 0
    assert capsys.readouterr().out == ""


@pytest.mark.e2e
@pytest.mark.parametrize(
    "end", [signal.SIGINT, pytest.param(signal.SIGKILL, marks=pytest.mark.slow)]
)
def test_a_run_that_is_cut_off_keeps_what_is_finished(end: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "harness", "run", "engine=scripted", "hydra.run.dir=out",
               "dataset.clips=[07-heaven]", "replay.repeats=30", "replay.warmup=0",
               "report.plots=false"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    clips = tmp_path / "out/clips.jsonl"
    world = RealWorld()
    while process.poll() is None and not (clips.is_file() and clips.read_bytes().count(b"\n")):
        world.sleep_until_ns(world.now_ns() + 50_000_000)
    process.send_signal(end)
    _, complaints = process.communicate(timeout=600)
    assert process.returncode == (4 if end is signal.SIGINT else -signal.SIGKILL), complaints
    kept = len(lines("out/clips.jsonl"))
    assert 1 <= kept < 30
    assert Path("out/summary.json").is_file() == (end is signal.SIGINT)
    assert main(["report", "out", "--out", "again"]) == 4
    assert Path("again/report.md").is_file()


def test_an_interrupted_run_is_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    from harness.experiments import run as experiment

    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "replay", interrupted)
    monkeypatch.setattr("harness.experiments.rig.measure_floor_ms", lambda *_: 0.1)
    assert run("out") == 4
    summary = read("out/summary.json")
    assert summary["verdict"]["status"] == "invalid"
    assert "incomplete" in summary["validity"][0]


def test_a_run_is_never_written_over(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("out", "dataset.limit=1") == 0
    before = Path("out/events.jsonl").read_bytes()
    assert run("out", "dataset.limit=1") == 2
    assert "holds a run already" in capsys.readouterr().err
    assert Path("out/events.jsonl").read_bytes() == before


def test_every_field_of_replay_reaches_the_plan() -> None:
    """One value each that differs from the default, and what of the run shows it."""
    from harness.config import ReplayConfig

    shown: dict[str, tuple[str, Any, Any]] = {
        "pace": ("virtual", "simulated", True),
        "frame_ms": (80, "frame_ms", 80),
        "repeats": (2, "repeats", 2),
        "streams": (3, "lanes", 3),
        "arrivals": ("staggered", "spread", True),
        "warmup": (2, "first_order", 2),
        "timeout_s": (0.001, "failed", True),
        "shuffle": (False, "in_order", True),
        "compute_scale": (0, "exact", True),
    }
    with_more = {"until", "most_repeats", "tail_s"}  # a gate, an endpointer: tested with them
    assert set(shown) | with_more == {field.name for field in fields(ReplayConfig)}
    for name, (value, what, expected) in shown.items():
        base = {"replay.pace": "virtual", "replay.repeats": 1, "replay.warmup": 0,
                "replay.frame_ms": 500, "dataset.limit": 4}  # fmt: skip
        if name == "arrivals":
            base["replay.streams"] = 3
        overrides = {**base, "engine": "scripted", "report.plots": "false", f"replay.{name}": value}
        main(["run", f"hydra.run.dir={name}", *(f"{k}={v}" for k, v in overrides.items())])
        started = [e for e in lines(f"{name}/events.jsonl") if e["event"] == "started"]
        summary = read(f"{name}/summary.json")
        seen: dict[str, Any] = {
            "simulated": summary["simulated"],
            "frame_ms": started[0]["frame_ms"],
            "repeats": len({e["repeat"] for e in started}),
            "lanes": len({e["lane"] for e in started}),
            "spread": len({e["t0_ns"] for e in started if e["order"] < 3}) == 3,
            "first_order": min(e["order"] for e in started),
            "failed": summary["failed"] > 0,
            "in_order": [e["clip"] for e in started] == sorted(e["clip"] for e in started),
            "exact": summary["metrics"]["ttft_ms"]["p50"] == 70,
        }
        assert seen[what] == expected, name


def test_a_late_driver_is_invalid(capsys: pytest.CaptureFixture[str]) -> None:
    assert noisy("run", "out", "gate=ci", "inject.driver_late_ms=50") == 4
    assert verdict("out")["status"] == "invalid"
    assert "late_replay" in capsys.readouterr().out


def test_too_few_samples_are_inconclusive_and_say_how_many_are_missing() -> None:
    rules = "gate.rules=['ttft_ms p95 <= 900 ms']"
    assert noisy("run", "out", rules, "replay.repeats=1", "dataset.limit=7") == 4
    found = rule("out", "ttft_ms p95")
    assert found["status"] == "inconclusive"
    assert any(character.isdigit() for character in found["next"])


def test_a_limit_passes_with_certainty_and_fails_with_certainty() -> None:
    assert noisy("run", "good", "gate.rules=['ttft_ms p50 <= 900 ms']") == 0
    assert noisy("run", "bad", "gate.rules=['ttft_ms p50 <= 200 ms']") == 3


@pytest.mark.parametrize(
    "text", ["ttft_ms p95 <= 900 s", "tfft_ms p95 <= 900 ms", "ttft_ms p95 <= 900 parsecs"]
)
def test_a_rule_that_is_none_is_an_error_before_anything_runs(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert noisy("run", "out", f"gate.rules=['{text}']") == 2
    assert text.split(maxsplit=1)[0] in capsys.readouterr().err
    assert not Path("out/events.jsonl").exists()


def test_a_gate_of_regressions_alone_is_inconclusive_without_a_baseline() -> None:
    rules = "gate.rules=['ttft_ms p50 vs baseline: at most +5 % and +10 ms']"
    assert noisy("run", "out", rules) == 4
    assert "baseline" in rule("out", "ttft_ms p50")["next"]


def test_rules_against_a_baseline_are_not_asked_of_a_run_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert noisy("run", "out", "gate=ci") == 0
    assert rule("out", "ttft_ms p50 vs baseline")["status"] == "none"
    assert "NOT ASKED" in capsys.readouterr().out


def test_repeating_until_decided_stops_when_it_is() -> None:
    rules = "gate.rules=['ttft_ms p95 <= 900 ms']"
    ours = ["replay.until=decided", "replay.repeats=2", "replay.most_repeats=40"]
    assert noisy("run", "out", rules, *ours) == 0
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
    assert noisy("run", "out", "gate.rules=['ttft_ms p50 <= 900 ms']", *ours) == 4
    assert verdict("out")["status"] == "invalid"
    assert len(Path("out/clips.jsonl").read_text(encoding="utf-8").splitlines()) == sessions


def test_of_several_runs_a_failed_gate_decides() -> None:
    """One fails, one has too few clips to be decided."""
    rules = "gate.rules=['ttft_ms p50 <= 400 ms','ttft_ms p99 <= 900 ms']"
    sweep = ["-m", *NOISY, "hydra.sweep.dir=each", rules]
    assert main(["run", *sweep, "inject.delay_ms=0,200"]) == 3
    found = [verdict(str(path.parent))["status"] for path in Path("each").rglob("summary.json")]
    assert sorted(found) == ["fail", "inconclusive"]


def test_audio_that_came_faster_than_anyone_speaks_tells_no_latency() -> None:
    rules = "gate.rules=['ttft_ms p50 <= 900 ms','failed = 0','wer <= 0.1']"
    assert noisy("run", "out", rules, *FLOODED) == 4
    said = [found["status"] for found in verdict("out")["rules"]]
    assert said == ["inconclusive", "pass", "pass"]
    assert (
        rule("out", "ttft_ms")["why"] == "ttft_ms was not measured: replay.pace=flood: no latency"
    )


def test_a_tail_may_be_compared_with_what_nothing_was_done_to() -> None:
    assert noisy("compare", "out", "inject.delay_ms=0,100", "inject.tail_share=0.2") == 0


def test_a_folder_may_have_any_name() -> None:
    assert one_clip("my rüns/it's one") == 0
    assert Path("my rüns/it's one/summary.json").is_file()


def test_a_gate_without_rules_is_no_gate(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine/gate").mkdir(parents=True)
    mine = f"hydra.searchpath=[file://{Path('mine').resolve()}]"
    for text in ("name: x\n", "{}\n"):
        Path("mine/gate/x.yaml").write_text(f"# @package gate\n{text}", encoding="utf-8")
        assert one_clip("out", "gate=x", mine) == 2
        assert "has no rules" in capsys.readouterr().err
    assert one_clip("out", "gate=x", mine, "gate.rules=['failed = 0']") == 0


def test_a_terminal_that_cannot_show_a_sign_costs_no_verdict() -> None:
    told = subprocess.run(
        [sys.executable, "-m", "harness", "run", *ONE_CLIP, "hydra.run.dir=out"],
        env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr.decode()
    assert b"TTFT" in told.stdout


def test_nothing_to_decide_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert one_clip("out", "replay.until=decided") == 2
    assert "no gate to decide" in capsys.readouterr().err


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
    once("run", "out", "gate.rules=['ttft_ms p95 <= 900 ms']", *ours)
    assert shares
    assert set(shares) == {0.25}
