"""Jobs and sweeps: exit codes from any launcher, folders, the table, the objective."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest

from harness.__main__ import main
from harness.cli.jobs import naming

pytestmark = [pytest.mark.e2e, pytest.mark.usefixtures("command_line")]

QUICK = ["engine=scripted", "replay.pace=virtual", "replay.compute_scale=0", "replay.repeats=1",
         "replay.frame_ms=500", "dataset.limit=2", "report.plots=false"]  # fmt: skip

FAILS_THEN_PASSES = ["chunking=sentence,1word", "gate.rules=[chunks >= 4]"]


def run(*overrides: str) -> int:
    return main(["run", *QUICK, *overrides])


def sweep(*overrides: str) -> int:
    return run("-m", "hydra.sweep.dir=sweep", *overrides)


def table() -> list[Any]:
    jobs: list[Any] = json.loads(Path("sweep/sweep.json").read_text(encoding="utf-8"))["jobs"]
    return jobs


# --- a job removes only what it made ---


@pytest.mark.parametrize("kept", ["notes.txt", "run.log", "deep/notes.txt", None])
def test_a_folder_that_was_there_stays(kept: str | None) -> None:
    folder = Path("mine")
    folder.mkdir()
    if kept is not None:
        (folder / kept).parent.mkdir(exist_ok=True)
        (folder / kept).write_text("mine", encoding="utf-8")
    assert run("dataset.manifest=nowhere.jsonl", "hydra.run.dir=mine") == 2
    assert folder.is_dir()
    assert kept is None or (folder / kept).read_text(encoding="utf-8") == "mine"


def test_a_folder_that_was_made_for_nothing_goes() -> None:
    assert run("dataset.manifest=nowhere.jsonl", "hydra.run.dir=new") == 2
    assert not Path("new").exists()


@pytest.mark.parametrize("name", ["config.yaml", "report.md", "junit.xml"])
def test_nobodys_file_is_written_over(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine").mkdir()
    Path("mine", name).write_text("mine", encoding="utf-8")
    assert run("hydra.run.dir=mine") == 2
    assert f"holds {name}, which a run would write over" in capsys.readouterr().err
    assert [path.name for path in Path("mine").iterdir()] == [name]


# --- sweeps ---


def test_a_sweep_ends_as_its_worst_job_did(capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep(*FAILS_THEN_PASSES, "engine.first_ms=90", "objective=ttft_ms.p50") == 3
    assert [(job["verdict"], job["exit_code"]) for job in table()] == [("FAIL", 3), ("PASS", 0)]
    assert table()[1]["objective"] == 110
    shown = capsys.readouterr().out
    assert "chunking=sentence" in shown
    assert "sweep/sweep.md" in shown
    rows = list(csv.DictReader(Path("sweep/sweep.csv").read_text(encoding="utf-8").splitlines()))
    assert rows[1]["ttft_p50_ms"] == "110.0"
    assert "chunking=1word | PASS | 110 |" in Path("sweep/sweep.md").read_text(encoding="utf-8")
    assert not Path("sweep/jobs").exists()


def test_a_job_that_fails_stops_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert sweep("dataset.limit=0,1", "--quiet") == 2
    seen = capsys.readouterr()
    assert "error: job 0 (dataset.limit=0): config field dataset.limit: 0" in seen.err
    assert seen.out == ""
    assert [job["exit_code"] for job in table()] == [2, 0]
    assert [path.name for path in Path("sweep").iterdir() if path.is_dir()] == ["1-dataset.limit=1"]


def test_jobs_in_other_processes_count(capfd: pytest.CaptureFixture[str]) -> None:
    launcher = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    assert sweep(*FAILS_THEN_PASSES, "objective=ttft_ms.p50", *launcher) == 3
    assert [(job["exit_code"], job["error"]) for job in table()] == [(3, None), (0, None)]
    assert table()[1]["objective"] == 70


def test_a_job_that_was_killed_is_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its record says so from its beginning on."""
    seen: list[Any] = []

    def look(plans: Any) -> int:
        seen.append(json.loads(Path("sweep/jobs/0.json").read_text(encoding="utf-8")))
        return 0

    monkeypatch.setattr("harness.cli.run.measure", look)
    assert sweep("seed=1,2") == 0
    assert (seen[0]["code"], seen[0]["error"]) == (4, "it did not end: was it killed?")


def test_folders_of_a_sweep_are_short_and_safe() -> None:
    long = "n" * 300
    assert sweep(f"dataset.name=a/b,a_b,../up,{long}", "--quiet") == 0
    names = sorted(path.name for path in Path("sweep").iterdir() if path.is_dir())
    assert names[:3] == ["0-dataset.name=a_b", "1-dataset.name=a_b", "2-dataset.name=.._up"]
    assert names[3].startswith("3-dataset.name=nnnn")
    assert len(names[3]) < 70


def test_what_is_not_swept_names_no_folder() -> None:
    said = naming(["-m", "chunking=1word,6word", "seed=3", "hydra.sweep.dir=x"])
    assert said == "hydra.job.config.override_dirname.exclude_keys=['seed']"


def test_what_an_optimiser_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hydra's sweepers read what the task returns."""
    from hydra._internal.core_plugins.basic_launcher import BasicLauncher

    given: list[Any] = []
    launch = BasicLauncher.launch

    def watched(self: Any, *arguments: Any, **options: Any) -> Any:
        done = launch(self, *arguments, **options)
        given.extend(one.return_value for one in done)
        return done

    monkeypatch.setattr(BasicLauncher, "launch", watched)
    assert sweep("engine.first_ms=10,40", "objective=ttft_ms.p50", "--quiet") == 0
    assert sweep("seed=1,2", "objective=ttft_ms.p99", "--quiet", "hydra.sweep.dir=other") == 0
    assert given[:2] == [30, 60]
    assert all(map(math.isnan, given[2:]))  # with two sessions there is no p99


@pytest.mark.parametrize(
    ("objective", "says"),
    [("ttft", "no such metric"), ("ttft_ms", "ttft_ms.p50"), ("wer.p50", "wer.value")],
)
def test_an_objective_is_a_figure_that_there_is(
    objective: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(f"objective={objective}") == 2
    assert says in capsys.readouterr().err
