"""The verb ``export``: figures for other tools."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.__main__ import main
from tests.cli.verbs import (
    export_bencher,
    noisy,
    one_clip,
)

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("command_line")]


@pytest.mark.parametrize("form", ["pytest-benchmark", "github-action-benchmark", "bencher"])
def test_figures_are_exported(form: str) -> None:
    assert noisy("run", "out", "replay.repeats=1") == 0
    assert main(["export", "out", "--format", form, "--out", "figures.json"]) == 0
    assert json.loads(Path("figures.json").read_text(encoding="utf-8"))


def test_figures_of_a_killed_run_are_exported_with_exit_code_4(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert one_clip("out") == 0
    assert export_bencher("out") == 0
    Path("figures.json").unlink()
    Path("out/summary.json").unlink()
    assert export_bencher("out") == 4
    assert "1 of 1 sessions were kept" in capsys.readouterr().err
    assert Path("figures.json").is_file()


def test_figures_of_an_invalid_run_are_exported_with_exit_code_4(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert one_clip("out", "replay.timeout_s=0.01", "engine.first_ms=5000") == 4
    capsys.readouterr()
    assert export_bencher("out") == 4
    assert "warning: out is invalid: failed_clips" in capsys.readouterr().err


def test_of_a_run_without_sessions_nothing_is_exported(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert one_clip("out") == 0
    Path("out/summary.json").unlink()
    for name in ("events.jsonl", "clips.jsonl"):
        Path("out", name).write_bytes(b"")
    assert export_bencher("out") == 4
    assert "nothing to export" in capsys.readouterr().err
    assert not Path("figures.json").exists()
