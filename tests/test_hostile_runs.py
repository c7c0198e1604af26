"""A run folder that was edited by hand is refused with a message, and stays as it was."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hostile_runs import HOSTILE

from harness.__main__ import main

RECORDED = Path(__file__).parent / "fixtures" / "runs_v3" / "scripted_turn"
BOTH = ("report", "gate")
# What is refused today, and by which verb; not every edit of HOSTILE is.
REFUSED: dict[str, tuple[str, ...]] = dict.fromkeys(
    (
        "config: empty",
        "config: list",
        "config: no YAML",
        "config: python object",
        "environment: empty",
        "environment: list",
        "environment: cut",
        "events: empty",
        "events: line cut",
        "events: line a list",
        "events: deep nesting",
        "events: unknown event",
        "events: stamp a text",
        "events: stamp 1e300",
        "events: kind unknown",
        "events: t0 missing",
        "events: frame of no number",
        "clips: empty",
        "clips: line cut",
        "clips: line a list",
        "clips: no reference",
        "clips: figure a text",
        "clips: series a number",
        "summary: empty",
        "summary: list",
        "summary: cut",
        "summary: schema a text",
        "summary: no schema",
        "summary: unknown field",
        "summary: clips 1e300",
        "summary: metrics a list",
        "summary: figure a text",
        "summary: interval of one",
        "summary: verdict a text",
        "summary: validity a text",
        "summary: simulated a word",
        "host: memory a text",
        "telemetry: list",
        "telemetry: empty",
    ),
    BOTH,
) | {
    "config: gate rules one text": ("gate",),
    "environment: metrics_version a word": ("gate",),
    "environment: metrics_version a number": ("gate",),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run measured by this version: recorded tokens, rechunked."""
    folder = tmp_path_factory.mktemp("sound")
    shutil.copytree(RECORDED, folder / "recorded")
    made = ["rechunk", str(folder / "recorded"), "chunking=6word", "--out", str(folder)]
    assert main(made) == 0
    return folder / "6word"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("verb", BOTH)
def test_the_run_is_sound_before_it_is_edited(
    verb: str, sound: Path, tmp_path: Path, undrawn_plots: None
) -> None:
    run = Path(shutil.copytree(sound, tmp_path / "run"))
    assert main([verb, str(run)]) == 0


@pytest.mark.parametrize(
    ("name", "verb"), [(name, verb) for name, verbs in REFUSED.items() for verb in verbs]
)
def test_an_edited_run_is_refused(
    name: str, verb: str, sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(sound, tmp_path / "run"))
    HOSTILE[name].apply(run)
    edited = contents(run)
    assert main([verb, str(run)]) in (2, 4)
    said = capsys.readouterr()
    assert [line for line in said.err.splitlines() if line.startswith("error: ")]
    assert said.out == ""
    assert contents(run) == edited  # nothing was written


@pytest.mark.parametrize("name", HOSTILE)
def test_every_edit_changes_one_file(name: str, sound: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(sound, tmp_path / "run"))
    HOSTILE[name].apply(run)
    before, after = contents(sound), contents(run)
    assert [file for file in after if after[file] != before.get(file)] == [HOSTILE[name].file]
