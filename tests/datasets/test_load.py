"""Datasets from a user's side: manifests, folders, Hugging Face folders, and what goes wrong."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from harness.__main__ import main
from harness.cli.compose import compose_alone
from harness.datasets import HubDataset, ManifestDataset
from harness.datasets.folder import manifest_from_folder
from harness.datasets.load import Dataset, load_dataset
from harness.datasets.manifest import Line, find_manifest, read_manifest, write_manifest
from harness.errors import ConfigError, DatasetError
from harness.events import Word

SHA = "0" * 64


def tone(rate_hz: int = 16_000, seconds: float = 1.0, channels: int = 1) -> np.ndarray:
    wave = 0.25 * np.sin(2 * np.pi * 440 * np.arange(round(rate_hz * seconds)) / rate_hz)
    return np.repeat(wave[:, None], channels, axis=1)


def save(path: Path, pcm: np.ndarray, rate_hz: int = 16_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, pcm, rate_hz)
    return path


def manifest(folder: Path, *lines: dict[str, Any] | str) -> Path:
    path = folder / "m.jsonl"
    rows = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


def load(path: Path, **options: Any) -> Dataset:
    return load_dataset(ManifestDataset(name="mine", manifest=str(path), **options))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save(tmp_path / "a.wav", tone())
    return tmp_path


def line(**fields: Any) -> dict[str, Any]:
    return {"id": "a", "audio_filepath": "a.wav", "text": "hello there", **fields}


# --- the shipped clips ---------------------------------------------------------------------------


def test_two_cities_loads_and_every_clip_shows_what_six_words_cost() -> None:
    dataset = load_dataset(ManifestDataset())
    assert dataset.name == "two_cities"
    assert 10 <= len(dataset.clips) <= 14
    for clip in dataset.clips:
        assert len(clip.text.split()) > 6
        assert 0 < clip.speech_onset_s <= 0.31
        assert 0.1 <= clip.duration_s - clip.speech_end_s <= 0.36
    assert dataset.sources
    assert dataset.licences


def test_two_cities_pins_sounds_and_file() -> None:
    lines = read_manifest(find_manifest("two_cities.jsonl")).values()
    assert all(line.sha256 and line.file_sha256 for line in lines)


# --- reading a manifest --------------------------------------------------------------------------


def test_a_clip_is_a_cut_of_its_file_at_16_khz(tmp_path: Path) -> None:
    pcm = np.concatenate([np.zeros((8000, 2)), tone(8000, 1.0, 2), np.zeros((8000, 2))])
    save(tmp_path / "sub" / "a.flac", pcm, 8000)
    path = manifest(tmp_path, line(audio_filepath="sub/a.flac", offset=0.5, duration=2.0))
    (clip,) = load(path).clips
    assert clip.samples.dtype == np.float32
    assert len(clip.samples) == 32_000
    assert clip.duration_s == 2.0
    assert (clip.speech_onset_s, clip.speech_end_s) == (0.5, 1.5)
    assert clip.language == "en"
    assert clip.words == ()


def test_what_the_manifest_says_wins(folder: Path) -> None:
    words = [
        {"text": "hello", "start_s": 0.1, "end_s": 0.4},
        {"text": "there", "start_s": 0.5, "end_s": 0.9},
    ]
    fields = {"speech_onset_s": 0.1, "speech_end_s": 0.9, "language": "de", "words": words}
    (clip,) = load(manifest(folder, line(**fields, extra={"speaker": 7}))).clips
    assert (clip.speech_onset_s, clip.speech_end_s, clip.language) == (0.1, 0.9, "de")
    assert clip.words == (Word("hello", 0.1, 0.4), Word("there", 0.5, 0.9))


def test_sources_and_licences_are_told_once(folder: Path) -> None:
    rows = [line(id=i, source="here", licence="CC0") for i in "ab"] + [line(id="c")]
    dataset = load(manifest(folder, *rows))
    assert (dataset.sources, dataset.licences) == (("here",), ("CC0",))


def test_the_identity_is_of_ids_sounds_and_texts_only(folder: Path) -> None:
    save(folder / "b.wav", 0.5 * tone())
    same = [
        load(manifest(folder, line())),
        load(manifest(folder, line(source="here", speech_onset_s=0.25))),
    ]
    others = [
        load(manifest(folder, line(id="b"))),
        load(manifest(folder, line(text="hello their"))),
        load(manifest(folder, line(audio_filepath="b.wav"))),
        load(manifest(folder, line(duration=0.5))),
        load(manifest(folder, line(), line(id="b"))),
        load(manifest(folder, line(id="b"), line())),
    ]
    assert len({dataset.sha256 for dataset in same}) == 1
    assert len({dataset.sha256 for dataset in same + others}) == 1 + len(others)


def test_timings_have_an_identity_of_their_own(folder: Path) -> None:
    same = [load(manifest(folder, line())), load(manifest(folder, line(source="here")))]
    word = {"text": "hello", "start_s": 0.0, "end_s": 0.4}
    others = [
        load(manifest(folder, line(speech_onset_s=0.25))),
        load(manifest(folder, line(speech_end_s=0.75))),
        load(manifest(folder, line(text="hello", words=[word]))),
        load(manifest(folder, line(text="hello", words=[word | {"end_s": 0.5}]))),
    ]
    assert len({dataset.timings_sha256 for dataset in same}) == 1
    assert len({dataset.timings_sha256 for dataset in same + others}) == 1 + len(others)


def test_clips_and_limit_choose(folder: Path) -> None:
    path = manifest(folder, *(line(id=i) for i in "abcd"))
    assert [clip.id for clip in load(path, limit=2).clips] == ["a", "b"]
    assert [clip.id for clip in load(path, clips=["d", "b", "c"]).clips] == ["b", "c", "d"]
    assert [clip.id for clip in load(path, clips=["d", "b", "c"], limit=1).clips] == ["b"]
    assert len(load(path, limit=99).clips) == 4
    with pytest.raises(DatasetError, match="no such clip: 'x'\n  allowed: a, b, c, d"):
        load(path, clips=["a", "x"])


def test_only_chosen_clips_need_their_audio(folder: Path) -> None:
    path = manifest(folder, line(), line(id="b", audio_filepath="not-yet.wav"))
    assert len(load(path, limit=1).clips) == 1


def test_rounded_durations_may_end_a_little_after_the_file(folder: Path) -> None:
    (clip,) = load(manifest(folder, line(offset=0.2505, duration=0.75))).clips
    assert clip.duration_s == pytest.approx(0.7495)


def noise(seconds: float = 1.0) -> np.ndarray:
    """A room in which nobody speaks: about -64 dBFS."""
    return np.random.default_rng(0).uniform(-1e-3, 1e-3, round(16_000 * seconds))


def test_noise_is_a_clip_in_which_nothing_is_said(tmp_path: Path) -> None:
    save(tmp_path / "a.wav", noise())
    (clip,) = load(manifest(tmp_path, line(text=""))).clips
    assert (clip.text, clip.speech_onset_s, clip.speech_end_s) == ("", 0.0, 0.0)


@pytest.mark.parametrize("text", ["", "hello there"])
def test_a_clip_of_silence_is_an_error_whatever_its_text(tmp_path: Path, text: str) -> None:
    save(tmp_path / "a.wav", np.concatenate([tone()[:, 0], np.zeros(16_000)]))
    path = manifest(tmp_path, line(text=text), line(id="b", text=text, offset=1.0))
    with pytest.raises(DatasetError, match=r"m.jsonl:2: only silence in b: peak: 0.0\n") as caught:
        load(path)
    assert "record it again or leave it out" in str(caught.value)
    assert "m.jsonl:1" not in str(caught.value)
    assert caught.value.exit_code == 2


def test_blank_lines_and_a_byte_order_mark_are_nothing(folder: Path) -> None:
    path = folder / "m.jsonl"
    path.write_text("\ufeff" + json.dumps(line()) + "\n\n", encoding="utf-8")
    assert len(load(path).clips) == 1


# --- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"id": "a/b"}, r"m.jsonl:1: id: 'a/b'\n  allowed: letters"),
        ({"text": " "}, r"text: ' '\n  allowed: what is said, or \"\""),
        ({"text": 1}, r"Expected `str`, got `int` - at `\$.text`"),
        ({"offset": -1}, r"offset: -1.0\n  allowed: 0 or more"),
        ({"duration": 0}, r"duration: 0.0\n  allowed: above 0"),
        ({"offset": 1.0}, r"offset, duration: \(1.0, None\)\n  allowed: within the file, .* 1 s"),
        ({"duration": 1.02}, r"offset, duration: \(0.0, 1.02\)"),
        ({"duration": 0.00001}, "zero-length audio"),
        ({"speech_onset_s": -0.1}, r"\(-0.1, None\)\n  allowed: 0 <= onset <= end"),
        ({"speech_onset_s": 0.5, "speech_end_s": 0.4}, "0 <= onset <= end"),
        ({"speech_end_s": 1.02}, "1.02\n  allowed: at most 1 s"),
        ({"offset": 1e308}, r"offset, duration: \(1e\+308, None\)\n  allowed: within the file"),
        ({"duration": 1e308}, r"offset, duration: \(0.0, 1e\+308\)\n  allowed: within the file"),
        ({"words": [{"text": "hello", "start_s": 0, "end_s": 1}]}, "words: 'hello'"),
        (
            {
                "text": "a b",
                "words": [
                    {"text": "a", "start_s": 0, "end_s": 1},
                    {"text": "b", "start_s": 0.5, "end_s": 1},
                ],
            },
            "words: .*\n  allowed: times from 0, in order",
        ),
        ({"sha256": "abc"}, "sha256: 'abc'\n  allowed: 64"),
        ({"sha256": SHA}, "sha256: checksum mismatch"),
        ({"file_sha256": SHA}, "file_sha256: checksum mismatch"),
        ({"txt": "hello"}, r"unknown field `txt`\n  allowed: fields id, audio_filepath"),
        ({"audio_filepath": "b.wav"}, "cannot read .*b.wav"),
        ({"audio_filepath": "."}, "audio_filepath: '.'"),
        ({"audio_filepath": ""}, "audio_filepath: ''\n  allowed: a file"),
        ({"id": "", "audio_filepath": ""}, "audio_filepath: ''\n  allowed: a file"),
        ({"id": "", "audio_filepath": "/"}, "cannot read /"),
        ({"audio_filepath": "a\0b"}, r"audio_filepath: 'a\\x00b'\n  allowed: .* without .* NUL"),
        ({"audio_filepath": "../a.wav"}, "audio_filepath: '../a.wav'\n  allowed: .* without `..`"),
        ({"audio_filepath": "package:no_such_pkg/a.wav"}, "no_such_pkg is not installed"),
        ({"audio_filepath": "package:moonshine_voice/../x.wav"}, "without `..`"),
        ({"audio_filepath": "package:moonshine_voice/nothing.wav"}, "cannot read .*nothing.wav"),
    ],
)  # fmt: skip
def test_a_bad_line_says_where_what_and_what_is_allowed(
    folder: Path, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        load(manifest(folder, line(**fields)))
    assert "m.jsonl:1: " in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("fields", "times", "found"),
    [
        ({"speech_end_s": 0.1}, r"\(0.3, 0.1\)", "speech_onset_s"),
        ({"speech_onset_s": 0.9}, r"\(0.9, 0.8\)", "speech_end_s"),
    ],
)
def test_a_time_that_does_not_fit_the_one_that_was_found_is_refused(
    tmp_path: Path, fields: dict[str, float], times: str, found: str
) -> None:
    save(tmp_path / "a.wav", np.concatenate([np.zeros(4800), tone()[:8000, 0], np.zeros(3200)]))
    message = rf"m.jsonl:1: speech_onset_s, speech_end_s: {times}\n  allowed: 0 <= onset <= end"
    with pytest.raises(DatasetError, match=message) as caught:
        load(manifest(tmp_path, line(**fields)))
    assert f"{found} was found by energy" in str(caught.value)


def test_a_line_without_text_is_not_silence(folder: Path) -> None:
    path = manifest(folder, {"id": "a", "audio_filepath": "a.wav"})
    with pytest.raises(DatasetError, match="missing required field `text`"):
        load(path)


def test_all_problems_are_told_at_once(folder: Path) -> None:
    path = manifest(
        folder, line(), "{oops", line(id="b", offset=-1, duration=-1), line(id="a"), line(id="c")
    )
    with pytest.raises(DatasetError) as caught:
        load(path)
    text = str(caught.value)
    assert "5 problems" in text
    for part in (
        "m.jsonl:1: id: 'a'\n  allowed: each id once",
        "m.jsonl:2: not JSON",
        "m.jsonl:3: offset: -1.0",
        "m.jsonl:3: duration: -1.0",
        "m.jsonl:4: id: 'a'",
    ):
        assert part in text


def test_lines_that_do_not_parse_hide_no_problem_of_the_others(folder: Path) -> None:
    path = manifest(
        folder,
        line(audio_filepath="none.wav", offset=-1),
        line(id="b", audio_filepath="none.wav"),
        line(id="c", txt="misspelt"),
        line(id="d", text=" "),
        "{oops",
        line(id="e", duration=9.0),
        line(id="f"),
    )
    with pytest.raises(DatasetError) as caught:
        load(path, clips=["a", "b", "c", "d", "e", "f"])
    heads = [row for row in str(caught.value).splitlines()[1:] if not row.startswith("  ")]
    starts = ["1: offset", "1: cannot read", "2: cannot read", "3: Object contains unknown field"]
    starts += ["4: text", "5: not JSON", "6: offset, duration"]
    assert len(heads) == len(starts)
    for head, start in zip(heads, starts, strict=True):
        assert head.startswith(f"m.jsonl:{start}")


def test_problems_of_the_audio_are_told_at_once_too(folder: Path) -> None:
    path = manifest(folder, *(line(id=f"x{i}", audio_filepath=f"{i}.wav") for i in range(30)))
    with pytest.raises(DatasetError, match="30 problems") as caught:
        load(path)
    assert "... and 20 more" in str(caught.value)
    assert len(str(caught.value).splitlines()) < 40


def test_a_truncated_file_is_not_a_shorter_clip(folder: Path) -> None:
    whole = (folder / "a.wav").read_bytes()
    (folder / "a.wav").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"m.jsonl:1: truncated audio: .*/a.wav"):
        load(manifest(folder, line()))


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_an_empty_manifest_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.jsonl").write_bytes(content)
    with pytest.raises(DatasetError, match="no clips"):
        load(tmp_path / "m.jsonl")


def test_a_manifest_that_is_not_text_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match="not UTF-8"):
        load(tmp_path / "m.jsonl")


@pytest.mark.parametrize(
    ("name", "reason"),
    [("~nosuchuser/m.jsonl", "Could not determine home"), ("x" * 300, "File name too long")],
)
def test_a_name_that_is_no_path_is_told(name: str, reason: str) -> None:
    with pytest.raises(DatasetError, match=f"no such manifest .*{reason}") as caught:
        load(Path(name))
    assert caught.value.exit_code == 2


def test_a_manifest_without_an_end_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.jsonl")
    for path in (tmp_path / "m.jsonl", Path("/dev/zero")):
        with pytest.raises(DatasetError, match="a manifest must be a regular file"):
            load(path)


def test_a_recording_without_an_end_is_refused(folder: Path) -> None:
    os.mkfifo(folder / "b.wav")
    rows = [line(audio_filepath="b.wav"), line(id="b", audio_filepath="/dev/zero")]
    with pytest.raises(DatasetError, match="2 problems") as caught:
        load(manifest(folder, *rows))
    assert str(caught.value).count("(a pipe, socket or device: it may have no end)") == 2


def test_a_text_in_whose_recording_nobody_speaks_is_refused(folder: Path) -> None:
    save(folder / "b.wav", noise())
    rows = [line(), line(id="b", audio_filepath="b.wav")]
    with pytest.raises(DatasetError, match=r"m.jsonl:2: no speech found in b, whose") as caught:
        load(manifest(folder, *rows))
    assert "'hello there'" in str(caught.value)
    assert "speech_onset_s and speech_end_s" in str(caught.value)
    said = {"speech_onset_s": 0.25, "speech_end_s": 0.75}
    assert len(load(manifest(folder, rows[0], rows[1] | said)).clips) == 2
    assert len(load(manifest(folder, rows[0], rows[1] | {"text": "..."})).clips) == 2
    rows[1] |= {"speech_onset_s": 0.0, "speech_end_s": 0.0}  # as manifests said until version 0.1
    with pytest.raises(DatasetError, match="no speech found in b"):
        load(manifest(folder, *rows))


def test_channels_that_cancel_each_other_are_refused(folder: Path) -> None:
    save(folder / "a.wav", np.hstack([tone(), -tone()]))
    with pytest.raises(DatasetError, match=r"m.jsonl:1: the channels of a cancel each other"):
        load(manifest(folder, line()))


@pytest.mark.parametrize("name", ["nope", "/nope", "no/such/folder/m.jsonl"])
def test_a_missing_manifest_lists_the_shipped_ones(name: str) -> None:
    with pytest.raises(DatasetError, match=f"no such manifest: '{name}'\n  allowed: .*two_cities"):
        load(Path(name))


def test_an_installed_package_reads_its_own_manifests(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside it lies a folder of the same name: Hugging Face's library."""
    for name in ("datasets", "harness/_datasets"):
        (folder / name).mkdir(parents=True)
    save(folder / "harness" / "_datasets" / "a.wav", tone())
    manifest(folder / "harness" / "_datasets", line())
    monkeypatch.setattr("harness.__file__", str(folder / "harness" / "__init__.py"))
    assert len(load(Path("m.jsonl")).clips) == 1


# --- a folder of recordings ----------------------------------------------------------------------


def test_a_folder_of_recordings_becomes_a_dataset(tmp_path: Path) -> None:
    save(tmp_path / "my first.wav", tone(8000, 1.0, 2), 8000)
    (tmp_path / "my first.txt").write_text(" hello\nthere ", encoding="utf-8")
    save(tmp_path / "more" / "b.FLAC", noise(0.1))
    (tmp_path / "more" / "b.txt").write_text("", encoding="utf-8")
    with pytest.raises(DatasetError, match="no manifest in folder") as caught:
        load(tmp_path)
    *_, verb, folder = shlex.split(str(caught.value.hint).partition("then: ")[2])
    assert main([verb, folder]) == 0
    unsaid, spoken = load(tmp_path).clips
    assert (unsaid.id, unsaid.text) == ("more_b", "")
    assert (spoken.id, spoken.text, spoken.speech_end_s) == ("my_first", "hello there", 1.0)
    with pytest.raises(DatasetError, match="already"):
        manifest_from_folder(tmp_path)


@pytest.mark.parametrize(
    "name", ["plain-1.0", "my clips \u00e9", "it's", 'a "b"', 'a\\"b', "a,b=c", "a{b}", "a${b}c"]
)
def test_the_next_command_works_as_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    save(tmp_path / name / "a.wav", tone())
    (tmp_path / name / "a.txt").write_text("hello", encoding="utf-8")
    assert main(["manifest", f"{name}/"]) == 0
    command = capsys.readouterr().out.partition("next: ")[2]
    *start, group, override = shlex.split(command)
    assert start == ["python", "-m", "harness", "run"]
    composed = compose_alone([group, override]).dataset
    assert composed.manifest == f"{name}/manifest.jsonl"
    assert len(load(Path(composed.manifest)).clips) == 1


def test_a_folder_that_cannot_become_one_says_all_reasons(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no recordings"):
        manifest_from_folder(tmp_path)
    save(tmp_path / "a.wav", tone())
    save(tmp_path / "b.wav", np.zeros(0))
    save(tmp_path / "c.wav", np.zeros(1600))
    (tmp_path / "c.txt").write_text("")
    with pytest.raises(DatasetError, match=rf"no text for {tmp_path}/a.wav") as caught:
        manifest_from_folder(tmp_path)
    assert f"zero-length audio: '{tmp_path}/b.wav'" in str(caught.value)
    assert f"only silence in {tmp_path}/c.wav: peak: 0.0" in str(caught.value)
    (tmp_path / "b.wav").unlink()
    (tmp_path / "c.wav").unlink()
    save(tmp_path / "a.flac", tone())
    (tmp_path / "a.txt").write_text("hello", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"differ too little: 'a.flac'"):
        manifest_from_folder(tmp_path)
    assert not (tmp_path / "manifest.jsonl").exists()


def test_files_that_cannot_be_used_hide_no_problem_of_the_others(tmp_path: Path) -> None:
    save(tmp_path / "a.wav", np.full(1, 0.5), 384_000)
    save(tmp_path / "b.wav", np.full(1, 0.5), 2_000_000_000)
    (tmp_path / "c.wav").symlink_to(tmp_path / "moved.wav")
    save(tmp_path / "d.wav", tone())
    with pytest.raises(DatasetError, match="4 problems") as caught:
        manifest_from_folder(tmp_path)
    text = str(caught.value)
    assert "/a.wav'\n  allowed: a sample or more at 16 kHz" in text
    assert f"zero-length audio: '{tmp_path}/b.wav'" in text
    assert f"cannot read {tmp_path}/c.wav (No such file or directory)" in text
    assert "audio_filepath" not in text
    assert f"no text for {tmp_path}/d.wav" in text


def test_a_recording_whose_name_makes_no_id_is_a_clip_all_the_same(tmp_path: Path) -> None:
    save(tmp_path / "--.wav", tone())
    (tmp_path / "--.txt").write_text("hello")
    assert [clip.id for clip in load(manifest_from_folder(tmp_path).path).clips] == ["_"]


def test_writing_a_manifest_keeps_everything_and_never_half(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    lines = [Line(id="a", audio_filepath="a.wav", text="é", offset=0.5, extra={"speaker": [1]})]
    write_manifest(path, lines)
    assert list(read_manifest(path).values()) == lines
    assert [file.name for file in tmp_path.iterdir()] == ["m.jsonl"]
    with pytest.raises(DatasetError, match="cannot write"):
        write_manifest(tmp_path / "none" / "m.jsonl", lines)


# --- long sessions -------------------------------------------------------------------------------


def test_clips_are_joined_into_a_long_session(folder: Path) -> None:
    save(folder / "b.wav", np.concatenate([np.zeros(8000), tone()[:, 0]]))
    timed = [{"text": "hi", "start_s": 0.25, "end_s": 0.75}]
    rows = [
        line(text="hi", words=timed),
        line(id="b", audio_filepath="b.wav", text="hi", words=timed),
    ]
    dataset = load(manifest(folder, *rows), loop_to_s=5.0, loop_gap_s=0.5)
    (clip,) = dataset.clips
    assert clip.duration_s == 1 + 0.5 + 1.5 + 0.5 + 1 + 0.5 + 1.5
    assert clip.text == "hi hi hi hi"
    assert [word.start_s for word in clip.words] == [0.25, 1.75, 3.75, 5.25]
    assert (clip.speech_onset_s, clip.speech_end_s) == (0.0, 6.5)
    a, b = (clip.samples for clip in load(manifest(folder, *rows)).clips)
    gap = np.zeros(8000, np.float32)
    np.testing.assert_array_equal(clip.samples, np.concatenate([a, gap, b, gap, a, gap, b]))


def test_a_long_session_is_no_longer_than_it_must_be(folder: Path) -> None:
    path = manifest(folder, line())
    assert load(path, loop_to_s=1.0).clips[0].duration_s == 1.0
    assert load(path, loop_to_s=1.01).clips[0].duration_s == 3.0
    assert load(path, loop_to_s=1.0, loop_gap_s=0.0).sha256 != load(path, loop_to_s=1.0).sha256


def test_silence_after_a_clip_moves_the_end_of_the_audio_and_nothing_else(folder: Path) -> None:
    words = [{"text": "hi", "start_s": 0.25, "end_s": 0.75}]
    path = manifest(folder, line(text="hi", words=words))
    plain, dataset = load(path), load(path, tail_s=0.8)
    (before,), (clip,) = plain.clips, dataset.clips
    assert clip.duration_s == pytest.approx(before.duration_s + 0.8)
    assert (clip.speech_end_s, clip.words) == (before.speech_end_s, before.words)
    assert not clip.samples[len(before.samples) :].any()
    assert dataset.sha256 != plain.sha256


def test_a_line_without_an_id_is_called_as_its_file(folder: Path) -> None:
    rows = [{"audio_filepath": "a.wav", "text": "hi"}]
    assert [clip.id for clip in load(manifest(folder, *rows)).clips] == ["a"]
    with pytest.raises(DatasetError, match=r"id: 'a'\n  allowed: each id once"):
        load(manifest(folder, *rows, *rows))


def test_a_long_session_has_word_times_only_if_every_clip_has(folder: Path) -> None:
    timed = line(text="hi", words=[{"text": "hi", "start_s": 0.0, "end_s": 1.0}])
    untimed, silent = line(id="b", text="hi"), line(id="c", text="")
    assert load(manifest(folder, timed, untimed), loop_to_s=3).clips[0].words == ()
    assert len(load(manifest(folder, timed, silent), loop_to_s=5).clips[0].words) == 2


@pytest.mark.parametrize("field", [{"loop_to_s": 0}, {"loop_to_s": 1e9}, {"loop_gap_s": -1}])
def test_a_long_session_has_limits(field: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"config field dataset.loop"):
        ManifestDataset(**field)


# --- Hugging Face datasets -----------------------------------------------------------------------


def hub_folder(folder: Path, audio: list[bytes | None], texts: list[str | None]) -> HubDataset:
    """A dataset as the hub stores one: parquet, audio as whole files in a column."""
    features = {"audio": {"_type": "Audio"}, "said": {"dtype": "string", "_type": "Value"}}
    features["seconds"] = {"dtype": "int64", "_type": "Value"}
    stored = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    rows = [None if content is None else {"bytes": content, "path": "x.wav"} for content in audio]
    table = pa.table(
        {"audio": pa.array(rows, type=stored), "said": texts, "seconds": range(len(texts))}
    )
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    folder.mkdir()
    pq.write_table(table.replace_schema_metadata(metadata), folder / "test-00000-of-00001.parquet")
    return HubDataset(name="mine", path=str(folder), text_column="said", language="fr")


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.mark.e2e
@pytest.mark.usefixtures("hub_cache")
def test_a_hugging_face_folder_is_a_dataset(tmp_path: Path) -> None:
    files = [save(tmp_path / f"{i}.wav", tone(8000, 1.0, 2), 8000).read_bytes() for i in (1, 2, 3)]
    config = hub_folder(tmp_path / "hub", files, ["un", "deux", ""])
    dataset = load_dataset(config)
    assert [clip.text for clip in dataset.clips] == ["un", "deux", ""]
    assert [clip.id for clip in dataset.clips] == ["row-000000", "row-000001", "row-000002"]
    assert {len(clip.samples) for clip in dataset.clips} == {16_000}
    assert {clip.language for clip in dataset.clips} == {"fr"}
    assert dataset.sources == (str(tmp_path / "hub"),)
    config.limit = 2
    assert len(load_dataset(config).clips) == 2


@pytest.mark.usefixtures("hub_cache")
@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("split", "train", "Unknown split"),
        ("config_name", "fr", "'fr' not found"),
        ("path", "no-one/has-this", "Couldn't reach 'no-one/has-this'"),
        ("text_column", "text", "no column: 'text'\n  allowed: audio, said, seconds"),
        ("audio_column", "sound", "no column: 'sound'"),
        ("audio_column", "seconds", "'seconds' of .* holds no audio"),
    ],
)
def test_a_hugging_face_dataset_that_is_not_there(
    tmp_path: Path, field: str, value: str, message: str
) -> None:
    content = save(tmp_path / "a.wav", tone()).read_bytes()
    config = hub_folder(tmp_path / "hub", [content], ["un"])
    setattr(config, field, value)
    with pytest.raises(DatasetError, match=message) as caught:
        load_dataset(config)
    assert caught.value.hint


@pytest.mark.usefixtures("hub_cache")
def test_bad_rows_of_a_hugging_face_dataset(tmp_path: Path) -> None:
    content = save(tmp_path / "a.wav", tone()).read_bytes()
    with pytest.raises(DatasetError, match=r"row 1 of .*: audio or text missing"):
        load_dataset(hub_folder(tmp_path / "hub", [content, content], ["un", None]))
    with pytest.raises(DatasetError, match="cannot decode row-000000"):
        load_dataset(hub_folder(tmp_path / "hub2", [b"noise", content], ["un", "deux"]))


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DatasetError, match="needs the extra `hub`") as caught:
        load_dataset(HubDataset(name="x", path="y"))
    assert "uv sync --extra hub" in str(caught.value)


def test_checksums_are_of_what_is_cut(folder: Path) -> None:
    pcm, _ = soundfile.read(folder / "a.wav", dtype="float32")
    right = hashlib.sha256(pcm[4000:12_000].astype("<f4").tobytes()).hexdigest()
    (clip,) = load(manifest(folder, line(offset=0.25, duration=0.5, sha256=right))).clips
    assert clip.pcm_sha256 == right


# --- languages -----------------------------------------------------------------------------------


@pytest.mark.parametrize("tag", ["en-US", "EN", "eng", "en_US"])
def test_any_tag_of_a_language_is_that_language(folder: Path, tag: str) -> None:
    path = manifest(folder, line(language=tag))
    assert load(path).clips[0].language == "en"
    assert read_manifest(path)[1].language == tag  # as it was written


@pytest.mark.parametrize("tag", ["english", "und", "xx", "", "x-mine", "qaa"])
def test_what_is_no_language_is_a_problem_of_its_line(folder: Path, tag: str) -> None:
    with pytest.raises(DatasetError) as caught:
        load(manifest(folder, line(), line(id="b", language=tag)))
    message = str(caught.value)
    assert f"m.jsonl:2: language: {tag!r}" in message
    assert "allowed: the tag of a language" in message
    assert "next:" in message


@pytest.mark.parametrize(
    ("text", "timed", "refused"),
    [
        ("今天\uff0c好。", ["今", "天", "好"], False),
        ("今天\uff0c好。", ["今天", "好"], True),
        ("今天\uff0c好。", ["今", "天", "\uff0c", "好", "。"], False),
        ("น้ำมาก", ["น้ำ", "ม", "า", "ก"], False),
        ("我用 iPhone", ["我", "用", "iPhone"], False),
        ("नमस्ते की।", ["नमस्ते", "की"], False),
        ("नमस्ते की।", ["नमस्ते", "का"], True),
        ("\u00e9t\u00e9", ["e\u0301te\u0301"], False),
        ("hel\u00adlo", ["hello"], False),
    ],
)
def test_timed_words_are_the_units_of_the_text(
    folder: Path, text: str, timed: list[str], refused: bool
) -> None:
    words = [
        {"text": word, "start_s": 0.1 * i, "end_s": 0.1 * i + 0.1} for i, word in enumerate(timed)
    ]
    path = manifest(folder, line(text=text, words=words))
    if refused:
        with pytest.raises(DatasetError, match="by character in scripts"):
            load(path)
    else:
        assert [word.text for word in load(path).clips[0].words] == timed


def test_a_clip_is_found_however_its_name_is_composed(folder: Path) -> None:
    path = manifest(folder, line(id="e\u0301te\u0301"), line(id="b"))
    assert len(load(path, clips=["\u00e9t\u00e9"]).clips) == 1


def test_a_text_that_is_not_seen_is_refused(folder: Path) -> None:
    with pytest.raises(DatasetError, match="text: "):
        load(manifest(folder, line(text="\u200b \ufeff")))
