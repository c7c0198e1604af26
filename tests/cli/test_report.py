"""The verb ``report``: made again from folders."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.__main__ import main
from harness.metrics import METRICS_VERSION
from tests.cli.verbs import (
    lines,
    one_clip,
    read,
    run,
    run_of_older_metrics,
)

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("command_line")]


def test_a_report_is_made_again_from_the_folder_alone() -> None:
    assert run("out", "dataset.limit=2") == 0
    assert main(["report", "out"]) == 0
    assert Path("out/report.md").is_file()
    assert list(Path("out/plots").glob("*.svg"))
    assert list(Path("out/plots").glob("*.png"))


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


def test_a_session_that_the_page_saved_becomes_a_report() -> None:
    assert run("out", "dataset.limit=1") == 0
    events = lines("out/events.jsonl")
    saved = {"schema": 1, "model": "scripted", "client": "a browser", "arms": {"1word": events}}
    Path("saved.json").write_text(json.dumps(saved), encoding="utf-8")
    assert main(["report", "saved.json"]) == 0
    assert Path("saved/report.html").is_file()
    assert read("saved/1word/summary.json")["metrics"]["ttft_ms"]["mean"] == 70


@pytest.mark.slow
def test_runs_of_other_clips_are_compared_on_those_that_are_the_same(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for folder, more in (
        ("a", "dataset.limit=3"),
        ("b", "dataset.limit=4"),
        ("c", "dataset.tail_s=1"),
    ):
        assert one_clip(folder, more, "dataset.limit=3" if folder == "c" else more) == 0
    capsys.readouterr()
    shared = {}
    for other in "bc":
        assert main(["report", "a", other, "--json", "--out", f"with-{other}"]) == 0
        found = json.loads(capsys.readouterr().out)["comparison"]["comparisons"][0]
        shared[other] = found["sessions"], {d["clips"] for d in found["differences"] if d["clips"]}
    assert shared == {"b": (3, {3}), "c": (0, set())}
