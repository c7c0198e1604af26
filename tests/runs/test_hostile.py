"""Run folders that somebody edited: every verb ends in a stated outcome, never in a traceback."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.hostile_runs import HOSTILE

from harness.errors import HarnessError
from harness.runs.folder import SUMMARY, Run, load_run
from harness.runs.summarise import measured_again
from harness.verdicts.judge import gate_of, judge_runs

SOUND = Path(__file__).parents[1] / "fixtures" / "runs_v3" / "scripted_virtual"

# Sound all the same: what was edited is not read, or is made again from the events.
HARMLESS = {
    "environment: seed a word",
    "host: memory a text",
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return shutil.copytree(SOUND, tmp_path / "run")


@pytest.mark.parametrize("name", HOSTILE)
def test_an_edited_run_is_refused_or_measured_again(name: str, run: Path) -> None:
    """Either one sentence says what is wrong, or the figures are those of the events."""
    sound = measured_again(load_run(run))
    HOSTILE[name].apply(run)
    try:
        edited = measured_again(load_run(run))
    except HarnessError as error:
        assert error.exit_code in (2, 4)
        assert "\n" not in error.what
        return
    assert same_figures(edited, sound), f"{name}: believed"


def same_figures(edited: Run, sound: Run) -> bool:
    if edited.summary is None or sound.summary is None:
        return edited.summary is sound.summary
    same = edited.summary.metrics == sound.summary.metrics
    return same and edited.summary.validity == sound.summary.validity


def test_validity_in_a_summary_is_not_believed(run: Path) -> None:
    """INVALID to valid by hand: judged by what the events say."""
    text = (run / SUMMARY).read_text()
    (run / SUMMARY).write_text(text.replace('"validity": []', '"validity": ["late_replay: no"]'))
    again = measured_again(load_run(run))
    assert again.summary is not None
    assert again.summary.validity == load_run(SOUND).summary.validity  # type: ignore[union-attr]
    (verdict,) = judge_runs([again], [again.summary], gate_of(again))
    assert verdict.status != "invalid"
