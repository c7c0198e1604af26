"""A folder of recordings and texts: what becomes a clip, what does not, and why."""

from __future__ import annotations

import json
import os
import shutil
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
import soundfile

from harness.__main__ import main
from harness.datasets import ManifestDataset
from harness.datasets.folder import LeftOut, manifest_from_folder
from harness.datasets.load import load_dataset
from harness.datasets.manifest import read_manifest
from harness.errors import DatasetError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "audio"


def save(folder: Path, name: str, text: str | None = "hello") -> Path:
    """A recording of 0.5 s with its text."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.25 * np.sin(2 * np.pi * 440 * np.arange(8000) / 16_000)
    kind = {".opus": "OGG", ".aif": "AIFF"}.get(path.suffix)
    soundfile.write(path, wave, 16_000, format=kind, subtype="OPUS" if kind == "OGG" else None)
    if text is not None:
        path.with_suffix(".txt").write_text(text, encoding="utf-8")
    return path


def ids(folder: Path) -> list[str]:
    path = folder / "manifest.jsonl"
    return [clip.id for clip in load_dataset(ManifestDataset(name="m", manifest=str(path))).clips]


@pytest.mark.parametrize(
    "suffix", [".wav", ".flac", ".mp3", ".ogg", ".opus", ".aiff", ".aif", ".au", ".caf", ".w64"]
)
def test_what_libsndfile_reads_is_taken(tmp_path: Path, suffix: str) -> None:
    save(tmp_path, f"a{suffix}")
    made = manifest_from_folder(tmp_path)
    assert (made.added, made.left_out, made.problems) == (1, (), ())
    (line,) = read_manifest(made.path).values()
    assert line.duration == pytest.approx(0.5, abs=0.001)
    assert ids(tmp_path) == ["a"]


def test_the_command_reports_what_it_wrote_and_what_it_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path, "a.wav")
    save(tmp_path, "b.wav", text=None)
    (tmp_path / "._a.wav").write_bytes(b"\0\5\26\7\0\2\0\0Mac OS X")
    (tmp_path / "c.txt").write_text("no recording")
    shutil.copy(FIXTURES / "aac.m4a", tmp_path / "d.m4a")
    (tmp_path / "d.txt").write_text("hello")
    shutil.copy(FIXTURES / "aac.m4a", tmp_path / "e.m4a")
    (tmp_path / "notes.md").write_text("of no interest")
    assert main(["manifest", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert f"{tmp_path}/manifest.jsonl: 1 clips, 5 files left out\n" in out
    for told in (
        "left out: ._a.wav (hidden)",
        "left out: c.txt (a text without a recording beside it)",
        "left out: e.m4a (libsndfile does not read it, and it has no text)",
    ):
        assert told in out
    assert "2 problems" in err
    assert f"no text for {tmp_path}/b.wav" in err
    assert f"cannot decode {tmp_path}/d.m4a (MP4 or M4A, which libsndfile does not read)" in err
    assert f"ffmpeg -i {tmp_path}/d.m4a {tmp_path}/d.wav" in err
    assert ids(tmp_path) == ["a"]


def test_a_folder_in_order_ends_with_0(tmp_path: Path) -> None:
    save(tmp_path, "a.wav")
    save(tmp_path, "__MACOSX/a.wav")
    save(tmp_path, ".trash/a.wav")
    shutil.copy(FIXTURES / "aac.m4a", tmp_path / "a.m4a")  # of which a.wav was made
    (tmp_path / "b.wav").mkdir()
    assert main(["manifest", str(tmp_path)]) == 0
    assert ids(tmp_path) == ["a"]


def test_every_problem_is_named_however_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path, "a.wav")
    for index in range(30):
        save(tmp_path, f"b{index}.wav", text=None)
    assert main(["manifest", str(tmp_path)]) == 2
    err = capsys.readouterr().err
    assert all(f"no text for {tmp_path}/b{index}.wav" in err for index in range(30))


def test_a_folder_without_recordings_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("hello")
    (tmp_path / "a.data").write_text("hello")
    with pytest.raises(DatasetError, match="no recordings in folder") as caught:
        manifest_from_folder(tmp_path)
    assert "a.txt (a text without a recording: a.data has no suffix of one)" in str(caught.value)


def test_a_recording_or_text_without_an_end_is_a_problem(tmp_path: Path) -> None:
    save(tmp_path, "a.wav")
    os.mkfifo(tmp_path / "b.wav")
    (tmp_path / "b.txt").write_text("hello")
    save(tmp_path, "c.wav", text=None)
    os.mkfifo(tmp_path / "c.txt")
    made = manifest_from_folder(tmp_path)
    assert made.added == 1
    assert [str(problem).count("it may have no end") for problem in made.problems] == [1, 1]


def test_a_text_in_whose_recording_nobody_speaks_is_a_problem(tmp_path: Path) -> None:
    save(tmp_path, "a.wav")
    for name, text in (("b", "hello there"), ("c", ""), ("d", "...")):
        noise = np.random.default_rng(0).uniform(-1e-3, 1e-3, 16_000)
        soundfile.write(tmp_path / f"{name}.wav", noise, 16_000)
        (tmp_path / f"{name}.txt").write_text(text)
    made = manifest_from_folder(tmp_path)
    assert ids(tmp_path) == ["a", "c", "d"]
    (problem,) = made.problems
    assert f"no speech found in {tmp_path}/b.wav, whose text is: 'hello there'" in str(problem)


# --- names ---------------------------------------------------------------------------------------


def test_names_that_differ_by_vowel_signs_are_different(tmp_path: Path) -> None:
    names = ["\u0915\u093f", "\u0915\u0940", "\u0915\u093e", "\u0915"]
    for name in names:
        save(tmp_path, f"{name}.wav", text="\u0928\u092e\u0938\u094d\u0924\u0947")
    assert manifest_from_folder(tmp_path).problems == ()
    assert sorted(ids(tmp_path)) == sorted(names)


def test_a_text_is_found_however_its_name_is_composed(tmp_path: Path) -> None:
    """macOS takes letters and accents apart."""
    save(tmp_path, unicodedata.normalize("NFD", "\u00e9t\u00e9.wav"), text=None)
    (tmp_path / "\u00e9t\u00e9.TXT").write_text("hello")
    assert manifest_from_folder(tmp_path).problems == ()
    assert ids(tmp_path) == ["\u00e9t\u00e9"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_a_name_that_is_not_utf_8_is_a_problem(tmp_path: Path) -> None:
    save(tmp_path, "a.wav")
    shutil.copy(tmp_path / "a.wav", tmp_path / os.fsdecode(b"b\xff.wav"))
    (problem,) = manifest_from_folder(tmp_path).problems
    assert "the name b?.wav is not UTF-8" in str(problem)


def test_recordings_of_the_same_name_are_a_problem(tmp_path: Path) -> None:
    for name in ("a.wav", "b.wav", "b.flac"):
        save(tmp_path, name)
    made = manifest_from_folder(tmp_path)
    assert [problem.value for problem in made.problems] == ["b.flac", "b.wav"]
    assert ids(tmp_path) == ["a"]


# --- more ----------------------------------------------------------------------------------------


def test_recordings_are_added_to_a_manifest_that_exists(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path, "b.wav")
    path = manifest_from_folder(tmp_path).path
    written = path.read_text().rstrip("\n")[:-1] + ', "extra": {"speaker": 7}}'
    path.write_text(written)
    save(tmp_path, "a.wav")
    (tmp_path / "b.wav").write_bytes(b"not read again")
    with pytest.raises(DatasetError, match="there is a manifest already") as caught:
        manifest_from_folder(tmp_path)
    assert f"python -m harness manifest --add {tmp_path}" in str(caught.value)
    assert main(["manifest", "--add", "--language", "pt-BR", str(tmp_path)]) == 0
    assert f"{path}: 1 clips added to 1, 0 files left out" in capsys.readouterr().out
    first, second = path.read_text().splitlines()
    assert first == written
    assert (json.loads(second)["id"], json.loads(second)["language"]) == ("a", "pt-BR")
    before = path.read_bytes()
    assert main(["manifest", "--add", str(tmp_path)]) == 0
    assert path.read_bytes() == before


def test_what_is_added_may_not_have_an_id_of_before(tmp_path: Path) -> None:
    path = save(tmp_path, "a.wav")
    row = {"id": "b", "audio_filepath": str(path), "text": "hello"}
    (tmp_path / "manifest.jsonl").write_text(json.dumps(row))
    save(tmp_path, "b.wav")
    made = manifest_from_folder(tmp_path, add=True)
    assert (made.added, made.kept) == (0, 1)
    assert "names differ too little: 'b.wav'" in str(made.problems[0])


def test_adding_without_a_manifest_makes_one(tmp_path: Path) -> None:
    save(tmp_path, "a.wav")
    assert manifest_from_folder(tmp_path, add=True).added == 1


def test_the_language_of_the_clips_is_written(tmp_path: Path) -> None:
    save(tmp_path, "a.wav")
    for tag in ("", "d e", "12", "en\n", "\u00e9", "english", "xx", "und", "qaa", "x-mine"):
        with pytest.raises(DatasetError, match="language: ") as caught:
            manifest_from_folder(tmp_path, language=tag)
        assert "--language TAG" in str(caught.value)
    path = manifest_from_folder(tmp_path, language="hi").path
    assert [line.language for line in read_manifest(path).values()] == ["hi"]


def test_texts_of_another_language_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """English rules would find no error between sch\u00f6n and schon."""
    save(tmp_path, "a.wav", text="Das ist sehr sch\u00f6n")
    assert main(["manifest", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "warning: 1 of 4 words have letters that English lacks, such as 'sch\u00f6n'" in out
    assert "--language TAG" in out
    (tmp_path / "manifest.jsonl").unlink()
    assert main(["manifest", str(tmp_path), "--language", "de"]) == 0
    assert "warning" not in capsys.readouterr().out


def test_invisible_characters_of_names_are_left_out(tmp_path: Path) -> None:
    save(tmp_path, "a\u200b.wav", text=None)
    (tmp_path / "a.txt").write_text("hello")
    assert manifest_from_folder(tmp_path).problems == ()
    assert ids(tmp_path) == ["a"]


def test_two_texts_for_a_recording_are_told(tmp_path: Path) -> None:
    save(tmp_path, "a.wav")
    (tmp_path / "a.TXT").write_text("something else")
    made = manifest_from_folder(tmp_path)
    assert made.left_out == (LeftOut("a.txt", "a.TXT has its name too"),)
