"""Runs that an older harness recorded give the same figures today.

``fixtures/runs_v3`` holds small runs of every kind (its README.txt says how each was made). A
metric whose definition changed since is moved from ``UNCHANGED`` to ``RENAMED`` or ``CHANGED``.
"""

from __future__ import annotations

import functools
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from harness.__main__ import main
from harness.cli.compose import compose_alone
from harness.metrics import METRICS_VERSION
from harness.metrics.latency import as_recorded, clip_metrics
from harness.runs.folder import Run, load_run
from harness.runs.summarise import summarise_run
from harness.verdicts.baselines import load_baseline
from harness.verdicts.calibration import load_calibration
from harness.verdicts.capacity import Search, counted, look_at, parse_objectives

RUNS = Path(__file__).parent / "fixtures" / "runs_v3"
RECORDED = "3"  # the metrics version of these runs

# Fields of a line of clips.jsonl: measured again from events.jsonl, they are exactly the same.
UNCHANGED = (
    "clip", "repeat", "order", "lane", "session", "duration_s", "speech_onset_s", "reference",
    "hypothesis", "failed", "ttft_ms", "first_token_ms", "ttft_floor_ms", "response_ms", "final_ms",
    "flush_ms", "gap_per_word_ms", "setup_ms", "compute_ms", "stall_ratio",
    "match_rate", "lag_slope_ms_per_min", "laal_ms", "laal_ca_ms", "wer", "cer", "gap_ms",
    "delivery_ms", "word_delay_ms", "word_delay_floor_ms", "send_lateness_ms", "chunks",
    "budget_ms", "delay_causes_ms", "lag_slope_ci95", "word_edits", "char_edits",
)  # fmt: skip
# Same definition, another name now, such as {"rewrites": "split_words"}.
RENAMED: dict[str, str] = {"rewrites": "split_words"}
# Another definition now: not compared.
CHANGED: tuple[str, ...] = ("hold_ms",)  # of the last word: 4
# Metrics of summary.json and comparison.json that are not compared.
NOT_SUMMARISED: tuple[str, ...] = ("hold_ms",)


class Codes(NamedTuple):
    """The exit code of each verb; of ``gate`` while rules are about the recorded version."""

    report: int
    gate: int
    rechunk: int | None  # None: not a single run
    export: int


EXIT = {
    "turn_whisper": Codes(report=4, gate=4, rechunk=0, export=0),  # too few clips for its gate
    "live_whisper": Codes(report=0, gate=0, rechunk=0, export=0),
    "random_weights": Codes(report=0, gate=0, rechunk=0, export=0),
    "null_flood": Codes(report=0, gate=0, rechunk=0, export=0),
    "scripted_compare": Codes(report=0, gate=0, rechunk=None, export=0),
    "scripted_virtual": Codes(report=0, gate=0, rechunk=0, export=0),
    "scripted_turn": Codes(report=0, gate=0, rechunk=0, export=0),
    "scripted_injected": Codes(report=3, gate=3, rechunk=0, export=0),
    "realtime_served": Codes(report=0, gate=0, rechunk=0, export=0),
    "realtime_served_live": Codes(report=0, gate=0, rechunk=0, export=0),
    "failed_clip": Codes(report=4, gate=4, rechunk=4, export=4),
    "killed": Codes(report=4, gate=4, rechunk=4, export=4),
    "capacity": Codes(report=0, gate=0, rechunk=None, export=0),
}
REFUSED = 4  # by `gate`: rules are about another version of the metrics than the run's

FOLDERS = sorted(path.parent for path in RUNS.rglob("events.jsonl"))
FINISHED = [path for path in FOLDERS if path.name != "killed"]
each_kind = pytest.mark.parametrize("name", EXIT)


# --- helpers -------------------------------------------------------------------------------------


def within(folder: Path) -> str:
    return str(folder.relative_to(RUNS))


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def recorded_clips(folder: Path) -> list[dict[str, Any]]:
    text = (folder / "clips.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def plain(record: object) -> Any:
    """A record as JSON would give it back."""
    return msgspec.json.decode(msgspec.json.encode(record))


def measured_again(run: Run) -> list[dict[str, Any]]:
    """Every trace under today's metrics; a field that is left out of JSON is there as None."""
    random_weights = run.environment.model.random_weights
    replayed = run.config["replay"]
    again = []
    for trace in run.traces:
        clip = clip_metrics(trace, random_weights=random_weights, pace=replayed["pace"])
        again.append(plain(as_recorded(clip, RECORDED, replayed["streams"])))
    return again


def figures(clip: dict[str, Any]) -> dict[str, Any]:
    """What is compared of a clip that was recorded before, by its name of today."""
    return {RENAMED.get(name, name): clip[name] for name in (*UNCHANGED, *RENAMED)}


def assert_close(now: Any, then: Any, where: str = "") -> None:
    """Equal, numbers to 9 digits: other processors and libraries round the last ones otherwise.

    Mappings may have gained keys since, and the wording of a reason may have been improved.
    """
    if isinstance(then, dict):
        for key, value in then.items():
            assert key in now, f"{where}.{key}"
            assert_close(now[key], value, f"{where}.{key}")
    elif isinstance(then, list):
        assert len(now) == len(then), where
        for index, value in enumerate(then):
            assert_close(now[index], value, f"{where}[{index}]")
    elif isinstance(then, float):
        assert math.isclose(now, then, rel_tol=1e-9, abs_tol=1e-12), f"{where}: {now} for {then}"
    elif ".why_null" in where and isinstance(then, str):
        assert now, where
    else:
        assert now == then, where


def findings(texts: list[str]) -> list[tuple[str, list[str]]]:
    """The check and the numbers of each finding: its wording may be improved."""
    return [(text.partition(":")[0], re.findall(r"\d[\d.]*", text)) for text in texts]


def compared(metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        RENAMED.get(name, name): value
        for name, value in metrics.items()
        if name not in NOT_SUMMARISED
    }


@pytest.fixture(autouse=True)
def _quick_verbs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undrawn_plots: None) -> None:
    """Verbs run in a folder of their own; what takes seconds and tells nothing here is left out."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("harness.cli.compose.compose_alone", lambda argv: composed(*argv))
    monkeypatch.delenv("GITHUB_ACTIONS", raising=False)


@functools.cache
def composed(*argv: str) -> Any:
    return compose_alone(list(argv))


def copied(*names: str) -> None:
    """Copies of runs, by the same names in the current folder."""
    for name in names:
        shutil.copytree(RUNS / name, name)


# --- the runs are what they are kept for ---------------------------------------------------------


def test_there_is_a_run_of_every_kind() -> None:
    kinds = {
        name: load_run(RUNS / name) for name in EXIT if (RUNS / name / "events.jsonl").exists()
    }
    versions = {run.environment.metrics_version for run in kinds.values()}
    assert versions == {RECORDED}
    clips = {name: recorded_clips(run.folder) for name, run in kinds.items()}
    assert {clip["session"] for clip in clips["live_whisper"]} == {"live"}
    assert clips["live_whisper"][0]["lag_slope_ms_per_min"] > 0
    assert len(clips["turn_whisper"]) == 4
    assert kinds["turn_whisper"].environment.model.weights == "packaged"
    assert kinds["random_weights"].environment.model.random_weights is True
    assert kinds["null_flood"].config["replay"]["pace"] == "flood"
    assert kinds["scripted_virtual"].environment.simulated is True
    assert kinds["scripted_injected"].environment.injected is True
    assert len(clips["realtime_served"][0]["delivery_ms"]) > 0
    for name in ("realtime_served", "realtime_served_live"):
        assert all(trace.ticks for trace in kinds[name].traces)
    assert [clip["failed"] is not None for clip in clips["failed_clip"]].count(True) == 1


def test_a_run_that_was_killed_keeps_what_had_ended() -> None:
    run = load_run(RUNS / "killed")
    assert not (RUNS / "killed/events.jsonl").read_bytes().endswith(b"\n")
    assert run.summary is None
    assert len(run.clips) == len(run.traces) == 2
    (incomplete,) = summarise_run(run).validity
    assert findings([incomplete]) == [("incomplete", ["2", "6"])]


# --- figures -------------------------------------------------------------------------------------


def test_every_recorded_figure_is_spoken_for() -> None:
    recorded = {name for folder in FOLDERS for clip in recorded_clips(folder) for name in clip}
    lists = [*UNCHANGED, *RENAMED, *CHANGED]
    assert recorded - {"why_null"} == set(lists)
    assert len(lists) == len(set(lists))


@pytest.mark.parametrize("folder", FOLDERS, ids=within)
def test_clips_measured_again_have_the_same_figures(folder: Path) -> None:
    run, then = load_run(folder), recorded_clips(folder)
    again = measured_again(run)
    assert len(then) == len(again) == len(run.clips) > 0
    for old, new in zip(then, again, strict=True):
        assert {name: new.get(name) for name in figures(old)} == figures(old)


@pytest.mark.parametrize("folder", FINISHED, ids=within)
def test_a_summary_made_again_is_the_same(folder: Path) -> None:
    then, now = read(folder / "summary.json"), plain(summarise_run(load_run(folder)))
    assert_close(compared(now.pop("metrics")), compared(then.pop("metrics")))
    for texts in ("validity", "warnings"):
        assert findings(now.pop(texts)) == findings(then.pop(texts))
    del now["verdict"], then["verdict"]  # of `gate`
    assert_close(now, then)


def test_simulated_tokens_in_the_same_chunks_have_the_same_figures() -> None:
    copied("scripted_turn")
    assert main(["rechunk", "scripted_turn", "chunking=6word", "--out", "again"]) == 0
    then, now = recorded_clips(Path("scripted_turn")), recorded_clips(Path("again/6word"))
    assert len(then) == len(now)
    for old, new in zip(then, now, strict=True):
        assert {name: new.get(name) for name in figures(old)} == figures(old)


# --- verbs ---------------------------------------------------------------------------------------


@each_kind
def test_report(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    copied(name)
    assert main(["report", name, "--json"]) == EXIT[name].report
    answer = json.loads(capsys.readouterr().out)
    for arm, summary in answer["arms"].items():
        if (stored := folder_of(name, arm) / "summary.json").exists():
            assert_close(compared(summary["metrics"]), compared(read(stored)["metrics"]))
    if (stored := RUNS / name / "comparison.json").exists():
        assert_close(by_figure(answer["comparison"]), by_figure(read(stored)))
    assert Path(name, "report.html").stat().st_size > 10_000
    assert Path(name, "report.md").is_file()


def folder_of(name: str, arm: str) -> Path:
    (folder,) = (path for path in FOLDERS if path.name == arm and name in path.parts)
    return folder


def by_figure(comparison: dict[str, Any]) -> dict[str, Any]:
    """A comparison of two arms, its differences by metric and statistic."""
    (found,) = comparison["comparisons"]
    differences = {
        f"{RENAMED.get(d['metric'], d['metric'])} {d['statistic']}": (
            d | {"metric": RENAMED.get(d["metric"], d["metric"])}
        )
        for d in found["differences"]
        if d["metric"] not in NOT_SUMMARISED
    }
    return {**found, "differences": differences, "arms": comparison["arms"]}


@each_kind
def test_gate(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    copied(name)
    stored = {path: path.read_bytes() for path in Path(name).rglob("summary.json")}
    code = main(["gate", name])
    if METRICS_VERSION != RECORDED:
        assert code == REFUSED
        assert "another version of the metrics" in capsys.readouterr().err
        assert {path: path.read_bytes() for path in stored} == stored
        return
    assert code == EXIT[name].gate
    for path, before in stored.items():
        now, then = read(path)["verdict"], json.loads(before)["verdict"]
        assert now["status"] == then["status"]
        for field in ("rule", "status", "observed", "limit"):
            assert_close([r[field] for r in now["rules"]], [r[field] for r in then["rules"]])


@pytest.mark.parametrize(
    "name", [name for name, codes in EXIT.items() if codes.rechunk is not None]
)
def test_rechunk(name: str) -> None:
    copied(name)
    assert main(["rechunk", name, "chunking=sentence", "--out", "again"]) == EXIT[name].rechunk
    then, now = load_run(Path(name)), load_run(Path("again/sentence"))
    assert now.environment.metrics_version == METRICS_VERSION
    assert now.environment.recorded_under_metrics == RECORDED
    assert [trace.tokens for trace in now.traces] == [trace.tokens for trace in then.traces]
    if "first_token_ms" in UNCHANGED:
        assert [clip.first_token_ms for clip in now.clips] == [
            clip["first_token_ms"] for clip in recorded_clips(then.folder)
        ]


@each_kind
def test_export(name: str) -> None:
    copied(name)
    code = main(["export", name, "--format", "github-action-benchmark", "--out", "export.json"])
    assert code == EXIT[name].export
    exported = {line["name"]: line["value"] for line in read(Path("export.json"))}
    assert exported
    for path in Path(name).rglob("summary.json"):
        p50 = read(path)["metrics"]["first_token_ms"]["p50"]
        assert exported.get(f"{path.parent.name}: first_token_ms p50") == p50


# --- what is kept beside runs --------------------------------------------------------------------


@pytest.mark.parametrize(("name", "code"), [("scripted_turn", 0), ("scripted_injected", 3)])
def test_gate_against_a_baseline_of_before(
    name: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    copied(name, "reports")
    asked = main(["gate", name, "--baseline", "before"])
    if METRICS_VERSION != RECORDED:
        assert asked == REFUSED
        return
    assert asked == code
    assert "the noise between runs is 5.5 %" in " ".join(capsys.readouterr().out.split())


def test_a_baseline_of_before_is_read() -> None:
    baseline = load_baseline("before", RUNS / "reports/baselines")
    run = recorded_clips(RUNS / "scripted_turn")
    assert baseline.environment.metrics_version == RECORDED
    assert [(clip.clip, clip.repeat) for clip in baseline.clips] == [
        (clip["clip"], clip["repeat"]) for clip in run
    ]
    kept = [clip.ttft_ms for clip in baseline.clips]
    assert kept == [round(clip["ttft_ms"], 3) for clip in run]


def test_a_calibration_of_before_holds_for_its_runs() -> None:
    environment = load_run(RUNS / "scripted_turn").environment
    found = load_calibration(environment, 1, RUNS / "reports/calibration")
    assert found is not None
    assert (found.runs, found.clips, found.repeats) == (3, 6, 1)
    assert found.bands["ttft_ms p50"] == pytest.approx(0.054744, abs=1e-6)
    assert found.detectable is not None
    assert all(proof.holds for proof in found.proofs)


def test_a_capacity_of_before_is_found_again() -> None:
    then = read(RUNS / "capacity/capacity.json")
    asked = then["asked"]
    search = Search(
        goal=asked["goodput"], confidence=asked["confidence"], looks=asked["looks"],
        most_streams=asked["most_streams"], points=asked["points"],
    )  # fmt: skip
    run = load_run(RUNS / "capacity" / then["points"][0]["runs"][0])
    objectives = parse_objectives(asked["objectives"], asked["goodput"])
    search.add(look_at(1, counted(run.clips, 1), (), objectives))
    answer = search.answer()
    assert (answer.largest_good, answer.smallest_bad) == (1, None)
    assert answer.largest_good == then["largest_good"]
    (point,) = map(plain, search.points)
    assert_close({**then["points"][0], **point}, then["points"][0])
