"""The command line as a user meets it: real configs and dataset, scripted engine, virtual time."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from traces import gpu_that_said

from harness.__main__ import main
from harness.cli import VERBS
from harness.cli.compose import VARIANTS, choices_of, compose_alone, groups, to_config
from harness.clock import RealWorld
from harness.errors import ConfigError
from harness.metrics import METRICS_VERSION
from harness.runs.folder import write_json

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("command_line")]

QUICK = ["engine=scripted", "replay.pace=virtual", "replay.compute_scale=0", "replay.repeats=1",
         "replay.frame_ms=500", "report.plots=false"]  # fmt: skip


def run(folder: str, *overrides: str, verb: str = "run") -> int:
    return main([verb, *QUICK, f"hydra.run.dir={folder}", *overrides])


def read(path: str) -> Any:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def lines(path: str) -> list[Any]:
    return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]


# --- the main job ---


def test_a_run_leaves_the_folder_of_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("out") == 0
    summary = read("out/summary.json")
    assert summary["arm"] == {
        "chunking": "1word", "model": "scripted", "dataset": "two_cities", "session": "turn",
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


def test_rechunking_agrees_with_a_live_run_of_the_strategy() -> None:
    assert run("one", "chunking=1word") == 0
    assert run("six", "chunking=6word") == 0
    assert main(["rechunk", "one", "chunking=6word,eager_first", "--out", "again"]) == 0
    live = {clip["clip"]: clip for clip in lines("six/clips.jsonl")}
    for clip in lines("again/6word/clips.jsonl"):
        assert clip["ttft_ms"] == live[clip["clip"]]["ttft_ms"]
        assert clip["gap_ms"] == live[clip["clip"]]["gap_ms"]
    assert read("again/6word/environment.json")["rechunked_from"] == "one"


def test_tokens_of_a_gpu_that_lowered_its_clocks_stay_invalid() -> None:
    assert run("one") == 0
    write_json(Path("one/telemetry.json"), gpu_that_said(("hardware_thermal",)))
    assert main(["rechunk", "one", "chunking=6word", "--out", "again"]) == 4
    (problem,) = read("again/6word/summary.json")["validity"]
    assert problem.startswith("throttled: ")


def test_a_sweep_is_one_run_after_the_other() -> None:
    assert main(["run", "-m", *QUICK, "dataset.limit=1", "chunking=1word,6word"]) == 0
    assert len(list(Path("reports").rglob("summary.json"))) == 2


def test_a_report_is_made_again_from_the_folder_alone() -> None:
    assert run("out", "dataset.limit=2") == 0
    assert main(["report", "out"]) == 0
    assert Path("out/report.md").is_file()
    assert list(Path("out/plots").glob("*.svg"))
    assert list(Path("out/plots").glob("*.png"))


def run_of_older_metrics(folder: str) -> None:
    """A run as a harness with version 0 of the metrics has left it."""
    assert run(folder, "dataset.limit=2") == 0
    for name in ("environment.json", "summary.json"):
        write_json(Path(folder, name), read(f"{folder}/{name}") | {"metrics_version": "0"})


def test_figures_of_two_versions_of_the_metrics_are_not_put_side_by_side(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("new", "dataset.limit=2") == 0
    run_of_older_metrics("old")
    assert main(["report", "old", "new", "--out", "both"]) == 4
    told = capsys.readouterr().err
    assert f"0 in old, {METRICS_VERSION} in new" in told
    assert "rechunk RUN" in told
    assert not Path("both").exists()
    assert main(["rechunk", "old", "chunking=1word"]) == 0  # measured anew
    assert main(["report", "new", "old-rechunked/1word", "--out", "both"]) == 0


def test_a_gate_does_not_judge_another_version_of_the_metrics(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_of_older_metrics("old")
    assert main(["gate", "old", "gate.rules=['failed = 0']"]) == 4
    assert "python -m harness rechunk old chunking=" in capsys.readouterr().err
    assert main(["rechunk", "old", "chunking=1word"]) == 0
    assert main(["gate", "old-rechunked/1word", "gate.rules=['failed = 0']"]) == 0


def test_a_report_of_older_metrics_says_that_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    run_of_older_metrics("old")
    Path("old/summary.json").unlink()  # it was killed: its summary is made now, of its clips
    capsys.readouterr()
    assert main(["report", "old", "--json"]) == 0
    captured = capsys.readouterr()
    assert "note: old was measured by version 0 of the metrics" in captured.err
    assert json.loads(captured.out)["arms"]["old"]["metrics_version"] == "0"
    page = Path("old/report.html").read_text(encoding="utf-8")
    assert "Version 0 of the metrics has measured this" in page


def test_json_is_all_that_json_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("out", "dataset.limit=1", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["arms"]["out"] == read("out/summary.json")
    assert main(["report", "out", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == printed


def test_quiet_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("out", "dataset.limit=1", "--quiet") == 0
    assert capsys.readouterr().out == ""


def test_serving_leaves_no_folder_and_no_transcript(monkeypatch: pytest.MonkeyPatch) -> None:
    served = []

    def run_server(app: Any, announce: Any) -> None:
        logging.getLogger("harness.serve").info("Streaming 1-word chunk 0: 'I'")
        served.append(app)

    monkeypatch.setattr("harness.serve.run_server", run_server)
    assert main(["serve", "engine=scripted", "serve.port=0"]) == 0
    assert len(served) == 1
    assert list(Path().rglob("*")) == []
    assert main(["serve", "--prot=0"]) == 2
    assert main(["serve", "chunking=1word,6word"]) == 2


def test_a_session_that_the_page_saved_becomes_a_report() -> None:
    assert run("out", "dataset.limit=1") == 0
    events = lines("out/events.jsonl")
    saved = {"schema": 1, "model": "scripted", "client": "a browser", "arms": {"1word": events}}
    Path("saved.json").write_text(json.dumps(saved), encoding="utf-8")
    assert main(["report", "saved.json"]) == 0
    assert Path("saved/report.html").is_file()
    assert read("saved/1word/summary.json")["metrics"]["ttft_ms"]["mean"] == 70


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


# --- help ---


def test_without_a_verb_it_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(verb in out for verb in VERBS)
    assert "python -m harness run chunking=1word" in out


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_helps(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = main([verb, "--help"])
    except SystemExit as end:  # argparse
        code = int(end.code or 0)
    assert code == 0
    assert f"python -m harness {verb}" in capsys.readouterr().out


@pytest.mark.slow
def test_doctor_says_whether_the_default_run_can_work(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "two_cities" in out
    assert "can work here" in out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("harness 0.")


# --- configs ---


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["rnu"], "did you mean run?"),
        (["chunking=1word"], "a verb comes first"),
        (["run", "chunking=7word"], "did you mean 6word?"),
        (["run", "chunking.words=0"], "chunking.words: 0"),
        (["run", "chunking=timed", "chunking.every_ms=-1"], "above 0"),
        (["run", "replay.repets=3"], "did you mean replay.repeats?"),
        (["run", "enigne=null"], "did you mean engine?"),
        (["run", "replay.repeats=many"], "replay.repeats"),
        (["run", "replay.pace=warp"], "realtime, flood, virtual"),
        (["run", "replay.compute_scale=0"], "replay.pace=virtual"),
        (["run", "engine=null", "engine.threads=2"], "engine.threads"),
        (["run", "engine=null", "model=whisper_tiny_en"], "leave model=... out"),
        (["run", "engine.device=tpu"], "cpu, cuda, cuda:N, mps"),
        (["run", "engine.dtype=int8"], "float32, bfloat16, float16"),
        (["run", "dataset.manifest=nowhere.jsonl"], "no such manifest"),
        (["run", "dataset.clips=[nobody]"], "nobody"),
        (["run", "model=voxtral_mini_4b_realtime", "replay.streams=9"], "model.max_streams=8"),
        (["run", "chunking=[1"], "config group chunking: '[1'"),
        (["run", "engine=scripted", "session=live", "dataset.manifest=bare.jsonl"], "align"),
        (["run", "hydra.run.dir=file/run"], "another with hydra.run.dir"),
        (["compare", "chunking=1word"], "compare needs two arms"),
        (["compare", "engine=null", "dataset.limit=1,2"], "must share dataset"),
        (["compare", "engine=null", "replay.repeats=1,2"], "must share replay.repeats"),
        (
            ["compare", "engine=null", "replay.until=repeats,decided", "gate=ci"],
            "must share replay.until",
        ),
        (["run", "engine=scripted", "inject.tail_share=0.1"], "1, unless inject.delay_ms"),
        (["run", "engine=null", "dataset.loop_gap_s=7"], "1 unless dataset.loop_to_s"),
        (["run", "engine=null", "replay.most_repeats=9"], "10 unless replay.until=decided"),
        (["report", "nowhere"], "no run in this folder"),
        (["rechunk", "nowhere", "chunking=6word"], "no run in this folder"),
        (["rechunk", "nowhere", "engine=null"], "rechunk changes the chunking"),
    ],
)
def test_what_cannot_be_done_is_one_screen_and_exit_code_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("file").write_text("in the way", encoding="utf-8")
    two_cities = Path(__file__).parents[2] / "datasets/two_cities.jsonl"
    bare = json.loads(two_cities.read_text(encoding="utf-8").splitlines()[0])
    bare.pop("words", None)
    Path("bare.jsonl").write_text(json.dumps(bare) + "\n", encoding="utf-8")
    assert main(arguments) == 2
    complaint = capsys.readouterr().err
    assert says in complaint
    assert "Traceback" not in complaint
    assert complaint.count("\n") < 24
    assert not list(Path().rglob("summary.json"))


def test_a_run_is_never_written_over(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("out", "dataset.limit=1") == 0
    before = Path("out/events.jsonl").read_bytes()
    assert run("out", "dataset.limit=1") == 2
    assert "holds a run already" in capsys.readouterr().err
    assert Path("out/events.jsonl").read_bytes() == before


# What a choice leaves for the user to say.
MUST_BE_GIVEN = {
    "dataset=hub": ["dataset.path=folder"],
    "dataset=manifest": ["dataset.manifest=own.jsonl"],
    "engine=python": ["engine.factory=own:make"],
    "engine=realtime": ["engine.model=tiny"],
}


@pytest.mark.parametrize("group", groups())
def test_every_choice_composes_and_every_variant_can_be_chosen(group: str) -> None:
    """A schema that no file in configs/ uses could not be reached by anyone."""
    chosen = set()
    for choice in choices_of(group):
        given = MUST_BE_GIVEN.get(f"{group}={choice}", [])
        config = to_config(compose_alone([f"{group}='{choice}'", *given]))
        chosen.add(type(getattr(config, group, None)))
        for field in given:
            with pytest.raises(ConfigError, match=rf"{field.partition('=')[0]} must be given"):
                to_config(compose_alone([f"{group}='{choice}'"]))
    variants = {kind for _, kind in VARIANTS[group].loaded()} if group in VARIANTS else set()
    assert variants <= chosen


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
    with_a_gate = {"until", "most_repeats"}  # tests/test_cli_verdicts.py
    assert set(shown) | with_a_gate == {field.name for field in fields(ReplayConfig)}
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
