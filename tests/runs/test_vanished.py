"""A folder that is gone, was ended between two files, or was never whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

import harness
from harness.cli.results import arms_of
from harness.errors import StorageError
from harness.experiments.progress import SessionsDone
from harness.runs.folder import RunWriter, load_run, write_json
from tests.report.synthetic import make_run, save_run


def _move(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))


def _replace(folder: Path) -> None:
    content = (folder / "events.jsonl").read_bytes()
    (folder / "events.jsonl").rename(folder / "old")
    (folder / "events.jsonl").write_bytes(content)


VANISH: list[Callable[[Path], None]] = [
    shutil.rmtree, _move, _replace, lambda folder: (folder / "events.jsonl").unlink(),
    lambda folder: (folder / "clips.jsonl").unlink(),
]  # fmt: skip


@pytest.mark.parametrize("vanish", VANISH)
def test_a_run_whose_files_vanish_stops(tmp_path: Path, vanish: Callable[[Path], None]) -> None:
    run = make_run(tmp_path, name="run", clips=3, repeats=1)
    writer = RunWriter(tmp_path / "run", "seed: 1\n", {})
    writer.append(run.traces[0], run.clips[0])
    vanish(tmp_path / "run")
    with pytest.raises(StorageError, match="is gone: it was removed, moved or replaced") as error:
        writer.append(run.traces[1], run.clips[1])
    assert error.value.exit_code == 4
    writer.close()


def test_nor_is_a_summary_written_to_nowhere(tmp_path: Path) -> None:
    run = make_run(tmp_path, name="run", clips=3, repeats=1)
    assert run.summary is not None
    writer = RunWriter(tmp_path / "run", "seed: 1\n", {})
    _move(tmp_path / "run")
    with pytest.raises(StorageError, match="is gone"):
        writer.finish(run.summary)
    writer.close()


@pytest.mark.parametrize("name", ["config.yaml", "environment.json", "clips.jsonl"])
def test_ended_before_it_began(tmp_path: Path, name: str) -> None:
    folder = save_run(make_run(tmp_path, name="run", clips=3, repeats=1), tmp_path)
    (folder / name).unlink()
    with pytest.raises(StorageError, match=f"it has events.jsonl, and no {name}") as error:
        load_run(folder)
    assert "measure again" in str(error.value)


def test_arms_of_a_comparison_that_was_cut_off_keep_their_order(tmp_path: Path) -> None:
    names = ["slow", "fast", "another"]
    for name in names:
        run = make_run(tmp_path, name=name, clips=3, repeats=1)
        save_run(run, tmp_path)
        told = msgspec.structs.replace(run.environment, arms_of_this_comparison=names)
        write_json(tmp_path / name / "environment.json", told)
    assert [path.name for path in arms_of(tmp_path)] == names


def test_the_run_itself_stops_at_the_next_session(tmp_path: Path) -> None:
    class Removes(harness.Progress):
        seen = 0

        def session_done(self, so_far: SessionsDone) -> None:
            self.seen = so_far.done
            if so_far.done == 1:
                shutil.rmtree(tmp_path / "run")

    removes = Removes()
    replayed = harness.ReplayConfig(pace="virtual", compute_scale=0, repeats=2, frame_ms=500)
    config = harness.Config(
        model=harness.NoModel(), engine=harness.ScriptedOptions(), replay=replayed
    )
    with pytest.raises(StorageError, match=r"is gone|cannot write") as error:
        harness.run(config, folder=tmp_path / "run", progress=removes)
    assert error.value.exit_code == 4
    assert removes.seen == 1
