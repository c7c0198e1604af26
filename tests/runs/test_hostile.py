"""Run folders that somebody edited: every one ends in a stated outcome, never in a traceback."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from harness.__main__ import main
from harness.errors import HarnessError
from harness.runs.folder import SUMMARY, Run, load_run
from harness.runs.summarise import measured_again
from tests.hostile_runs import HOSTILE

RECORDED = Path(__file__).parents[1] / "fixtures" / "runs_v3" / "scripted_turn"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run measured by this version of the metrics: recorded tokens, rechunked."""
    folder = tmp_path_factory.mktemp("sound")
    shutil.copytree(RECORDED, folder / "recorded")
    made = ["rechunk", str(folder / "recorded"), "chunking=6word", "--out", str(folder)]
    assert main(made) == 0
    return folder / "6word"


@pytest.fixture
def run(sound: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sound, tmp_path / "run")


def read(folder: Path) -> Run | HarnessError:
    try:
        return measured_again(load_run(folder))
    except HarnessError as error:
        return error


@pytest.mark.parametrize("name", HOSTILE)
def test_an_edited_run_is_refused_or_measured_again(name: str, run: Path, sound: Path) -> None:
    """Either one sentence says what is wrong, or the figures are those of the events."""
    HOSTILE[name].apply(run)
    found, true = read(run), read(sound)
    assert main(["gate", str(run)]) in (0, 2, 4)
    if isinstance(found, HarnessError):
        assert found.exit_code in (2, 4)
        assert "\n" not in found.what
        return
    assert isinstance(true, Run)
    assert found.summary is not None
    assert true.summary is not None
    assert found.summary.metrics == true.summary.metrics
    assert found.summary.validity == true.summary.validity


def test_validity_in_a_summary_is_not_believed(run: Path, sound: Path) -> None:
    """INVALID made valid by hand, or the reverse: what counts is what the events say."""
    text = (run / SUMMARY).read_text()
    edited = text.replace('"validity": []', '"validity": ["late_replay: an invention"]')
    assert edited != text
    (run / SUMMARY).write_text(edited)
    found, true = read(run), read(sound)
    assert isinstance(found, Run)
    assert isinstance(true, Run)
    assert found.summary == true.summary
