"""Stored records: what is written is what was read, and what is wrong is one sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from harness.cli.results import COMPARISON, arms_of
from harness.engines import EngineInfo
from harness.errors import HarnessError
from harness.machine.environment import MeasuredModel
from harness.runs.folder import load_run
from harness.verdicts.baselines import load_baseline
from harness.verdicts.calibration import load_calibration

RUNS = Path(__file__).parents[1] / "fixtures" / "runs_v3"
KINDS = sorted(path.parent for path in RUNS.rglob("environment.json"))


@pytest.mark.parametrize("folder", KINDS, ids=lambda folder: str(folder.relative_to(RUNS)))
def test_an_environment_of_before_is_kept_whole(folder: Path) -> None:
    """Every stored key is a field of the record, under the same name; later ones are added."""
    stored = json.loads((folder / "environment.json").read_text(encoding="utf-8"))
    again = json.loads(msgspec.json.encode(load_run(folder).environment))
    assert {key: again[key] for key in stored} == stored
    assert set(again) - set(stored) <= {"outside"}


def test_all_that_an_engine_says_of_itself_is_stored() -> None:
    assert MeasuredModel.__struct_fields__ == EngineInfo.__struct_fields__


def edited(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    stored = json.loads(path.read_text(encoding="utf-8"))
    edit(stored)
    path.write_text(json.dumps(stored), encoding="utf-8")


def read_baseline(folder: Path) -> object:
    return load_baseline("before", folder / "reports/baselines")


def read_calibration(folder: Path) -> object:
    environment = load_run(folder / "scripted_turn").environment
    return load_calibration(environment, 1, folder / "reports/calibration")


def read_comparison(folder: Path) -> object:
    return arms_of(folder / "scripted_compare")


READERS = {
    "reports/baselines/before.json": read_baseline,
    "reports/calibration/*.json": read_calibration,
    f"scripted_compare/{COMPARISON}": read_comparison,
}


@pytest.mark.parametrize(
    ("file", "field"),
    [
        ("reports/baselines/before.json", "environment"),
        ("reports/baselines/before.json", "environment.model"),
        ("reports/baselines/before.json", "environment.seed"),
        ("reports/baselines/before.json", "clips"),
        ("reports/calibration/*.json", "bands"),
        ("reports/calibration/*.json", "runs"),
        (f"scripted_compare/{COMPARISON}", "arms"),
    ],
)
@pytest.mark.parametrize("fault", ["missing", "type", "schema"])
def test_a_stored_record_that_is_none_is_one_sentence_with_file_and_field(
    tmp_path: Path, file: str, field: str, fault: str
) -> None:
    shutil.copytree(RUNS, tmp_path / "runs")
    (path,) = (tmp_path / "runs").glob(file)
    *parents, last = field.split(".")

    def edit(stored: dict[str, Any]) -> None:
        if fault == "schema":
            stored["schema"] = 99
            return
        for key in parents:
            stored = stored[key]
        if fault == "missing":
            del stored[last]
        else:
            stored[last] = "a word"

    edited(path, edit)
    with pytest.raises(HarnessError) as caught:
        READERS[file](tmp_path / "runs")
    what = caught.value.what
    assert path.name in what
    assert "\n" not in what
    assert ("schema" if fault == "schema" else last) in what
