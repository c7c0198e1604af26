"""The verb ``rechunk``: recorded tokens under another strategy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from traces import gpu_that_said

from harness.__main__ import main
from harness.runs.folder import write_json
from tests.cli.verbs import (
    FLOODED,
    lines,
    noisy,
    read,
    run,
)

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("command_line")]


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


def test_recorded_audio_that_came_too_fast_has_no_latency_under_another_chunking() -> None:
    assert noisy("run", "out", *FLOODED) == 0
    assert main(["rechunk", "out", "chunking=6word", "--out", "again"]) == 0
    figure = json.loads(Path("again/6word/summary.json").read_text(encoding="utf-8"))["metrics"][
        "ttft_ms"
    ]
    assert (figure["n"], figure["why_null"]["p50"]) == (0, "replay.pace=flood: no latency")
