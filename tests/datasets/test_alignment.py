"""Word timings: what is spoken when, checked against the sound itself."""

from __future__ import annotations

import itertools
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from harness.__main__ import main
from harness.audio import RATE_HZ, Samples
from harness.datasets import ManifestDataset, alignment
from harness.datasets.alignment import (
    PocketsphinxAligner,
    align_clip,
    align_manifest,
    plot_words,
    pronounced,
)
from harness.datasets.alignment_ctc import CtcAligner, ctc_path
from harness.datasets.load import Clip, load_dataset
from harness.errors import DatasetError, WeightsError


@pytest.fixture(scope="module")
def clips() -> dict[str, Clip]:
    return {clip.id: clip for clip in load_dataset(ManifestDataset()).clips}


@pytest.fixture(scope="module")
def aligner() -> PocketsphinxAligner:
    return PocketsphinxAligner()


def pauses(samples: Samples, at_least_s: float = 0.25) -> list[tuple[float, float]]:
    """Stretches more than 25 dB below the loudest 10 ms frame, between speech."""
    frames = samples[: len(samples) // 160 * 160].reshape(-1, 160)
    level_db = 10 * np.log10(np.mean(frames.astype(float) ** 2, axis=1) + 1e-12)
    quiet = np.diff(level_db < level_db.max() - 25, prepend=False, append=False)
    edges = np.flatnonzero(quiet) / 100
    return [
        (start, stop)
        for start, stop in zip(edges[::2], edges[1::2], strict=True)
        if stop - start >= at_least_s and start > 0 and stop < len(frames) / 100
    ]


# --- the committed timings -----------------------------------------------------------------------


def test_the_shipped_timings_agree_with_the_pauses_in_the_sound(clips: dict[str, Clip]) -> None:
    """The independent check: energy knows nothing of the aligner's model."""
    errors_s = []
    for clip in clips.values():
        for start_s, end_s in pauses(clip.samples):
            inside = (start_s + end_s) / 2
            assert not any(word.start_s < inside < word.end_s for word in clip.words)
            errors_s.append(min(abs(word.end_s - start_s) for word in clip.words))
            errors_s.append(min(abs(word.start_s - end_s) for word in clip.words))
    assert len(errors_s) >= 12
    assert np.median(errors_s) <= 0.04
    assert max(errors_s) <= 0.15


def test_the_shipped_timings_cover_the_speech(clips: dict[str, Clip]) -> None:
    for clip in clips.values():
        assert clip.speech_onset_s == clip.words[0].start_s
        assert clip.speech_end_s == clip.words[-1].end_s
        assert all(0.04 <= word.end_s - word.start_s <= 1.1 for word in clip.words)


def test_aligning_again_gives_the_shipped_timings(
    clips: dict[str, Clip], aligner: PocketsphinxAligner
) -> None:
    clip = clips["09-period"]
    for again, shipped in zip(
        align_clip(clip.samples, clip.text, aligner), clip.words, strict=True
    ):
        assert again.text == shipped.text
        assert again.start_s == pytest.approx(shipped.start_s, abs=0.03)
        assert again.end_s == pytest.approx(shipped.end_s, abs=0.03)


# --- pocketsphinx --------------------------------------------------------------------------------


def test_timings_move_with_the_sound(clips: dict[str, Clip], aligner: PocketsphinxAligner) -> None:
    clip = clips["07-heaven"]
    later = np.concatenate([np.zeros(RATE_HZ // 2, np.float32), clip.samples])
    for first, second in zip(
        align_clip(clip.samples, clip.text, aligner),
        align_clip(later, clip.text, aligner),
        strict=True,
    ):
        assert second.start_s - first.start_s == pytest.approx(0.5, abs=0.04)


def test_punctuation_and_hyphens_do_not_matter(
    clips: dict[str, Clip], aligner: PocketsphinxAligner
) -> None:
    clip = clips["07-heaven"]
    plain = align_clip(clip.samples, "we were all going direct to heaven", aligner)
    text = "\u201cWe were\u2026 all-going direct \u2014 to HEAVEN!"
    odd = align_clip(clip.samples, text, aligner)
    assert [word.text for word in odd] == text.replace(" \u2014", "").split()
    assert (odd[2].start_s, odd[2].end_s) == (plain[2].start_s, plain[3].end_s)
    assert [word.start_s for word in odd[3:]] == [word.start_s for word in plain[4:]]


@pytest.mark.parametrize(
    ("word", "pieces"),
    [
        ("Don't,", ["don't"]),
        ("dogs\u2019", ["dogs"]),
        ("isn\u2019t", ["isn't"]),
        ("'tis", ["tis"]),
        ("way\u2014in", ["way", "in"]),
        ("\u00c9t\u00e9", ["\u00e9t\u00e9"]),
        ("E\u0301te\u0301", ["\u00e9t\u00e9"]),
        ("\u0915\u0940\u0964", ["\u0915\u0940"]),
        ("\u0643\u064e\u062a\u064e\u0628", ["\u0643\u064e\u062a\u064e\u0628"]),
        ("hel\u00adlo", ["hello"]),
        ("\u4e00", ["\u4e00"]),  # a numeral that is spelt as it is said
    ],
)
def test_what_is_pronounced_of_a_word(word: str, pieces: list[str]) -> None:
    assert pronounced(word) == pieces


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("we were 7", "a numeral in text: '7'"),
        ("we xyzzy were qwerty xyzzy", "pronouncing dictionary: 'xyzzy qwerty'"),
        ("superlative comparison authorities insisted incredulity foolishness " * 3, "not hold"),
    ],
)
def test_texts_that_cannot_be_aligned(
    clips: dict[str, Clip], aligner: PocketsphinxAligner, text: str, message: str
) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        align_clip(clips["07-heaven"].samples, text, aligner)
    assert caught.value.hint
    assert align_clip(clips["07-heaven"].samples, "we", aligner)  # it goes on working


def test_where_nothing_is_said_nothing_is_aligned(aligner: PocketsphinxAligner) -> None:
    assert align_clip(np.zeros(RATE_HZ, np.float32), "", aligner) == ()


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    with pytest.raises(DatasetError, match="uv sync --extra align"):
        PocketsphinxAligner()


# --- manifests -----------------------------------------------------------------------------------


@pytest.fixture
def manifest(tmp_path: Path, clips: dict[str, Clip]) -> Path:
    soundfile.write(tmp_path / "a.wav", clips["07-heaven"].samples, RATE_HZ)
    soundfile.write(tmp_path / "b.wav", np.full(RATE_HZ, 5e-4), RATE_HZ)  # too faint for speech
    rows = [
        {"id": "a", "audio_filepath": "a.wav", "text": clips["07-heaven"].text, "source": "here",
         "extra": {"speaker": 7}},
        {"id": "b", "audio_filepath": "b.wav", "text": ""},
    ]  # fmt: skip
    path = tmp_path / "m.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_a_manifest_gains_words_and_keeps_the_rest(
    manifest: Path, aligner: PocketsphinxAligner
) -> None:
    returned = align_manifest(str(manifest), aligner)
    spoken, silent = load_dataset(ManifestDataset(name="m", manifest=str(manifest))).clips
    assert [clip.words for clip in returned.clips] == [spoken.words, silent.words]
    returned.problems.raise_all()
    assert [word.text for word in spoken.words] == spoken.text.split()
    assert (spoken.speech_onset_s, spoken.speech_end_s) == (
        spoken.words[0].start_s,
        spoken.words[-1].end_s,
    )
    assert (silent.words, silent.speech_end_s) == ((), 0.0)
    row = json.loads(manifest.read_text(encoding="utf-8").splitlines()[0])
    assert row["source"] == "here"
    assert row["extra"]["speaker"] == 7
    assert row["extra"]["aligned_by"].startswith("pocketsphinx 5")


def rows_of(manifest: Path) -> list[dict[str, Any]]:
    return [json.loads(row) for row in manifest.read_text().splitlines()]


def test_what_cannot_be_aligned_is_named_and_stays_as_it_was(
    manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A numeral, a recording that is not there, a stale word, a field out of range."""
    stale = [{"text": "old", "start_s": 0, "end_s": 1}]
    bad = [
        {"id": "c", "audio_filepath": "a.wav", "text": "chapter 1"},
        {"id": "d", "audio_filepath": "none.wav", "text": "hello"},
        {"id": "e", "audio_filepath": "a.wav", "text": "hello", "words": stale},
        {"id": "f", "audio_filepath": "a.wav", "text": "hello", "duration": -1.0},
    ]
    last = rows_of(manifest)[0] | {"id": "z"}
    rows = [*map(json.dumps, bad), json.dumps(last)]
    manifest.write_text("\n".join([manifest.read_text(), *rows]))
    assert main(["align", str(manifest)]) == 2
    found = rows_of(manifest)
    assert [bool(row.get("words")) for row in found] == [1, 0, 0, 0, 1, 0, 1]
    assert [row["id"] for row in found] == ["a", "b", "c", "d", "e", "f", "z"]
    assert [found[index] for index in (2, 3, 4, 5)] == [
        row | ({"words": stale} if "words" in row else {}) for row in map(with_defaults, bad)
    ]
    told = capsys.readouterr()
    assert "word timings of 3 clips" in told.out
    for line, what in ((3, "a numeral in text"), (4, "cannot read"), (5, "words"), (6, "duration")):
        assert f"m.jsonl:{line}: {what}" in told.err


def with_defaults(row: dict[str, Any]) -> dict[str, Any]:
    return {"language": "en", "offset": 0.0} | row


def test_a_manifest_of_which_nothing_can_be_aligned_is_left_as_it_was(
    manifest: Path, aligner: PocketsphinxAligner
) -> None:
    row = {"id": "c", "audio_filepath": "a.wav", "text": "chapter 1"}
    manifest.write_text(json.dumps(row))
    with pytest.raises(DatasetError, match=r"m.jsonl:1: a numeral in text: '1'"):
        align_manifest(str(manifest), aligner)
    assert manifest.read_text() == json.dumps(row)


def test_a_manifest_that_does_not_parse_is_left_as_it_was(
    manifest: Path, aligner: PocketsphinxAligner
) -> None:
    manifest.write_text(manifest.read_text() + "\n{oops\n")
    before = manifest.read_bytes()
    with pytest.raises(DatasetError, match=r"m.jsonl:3: not JSON"):
        align_manifest(str(manifest), aligner)
    assert manifest.read_bytes() == before


def test_a_text_without_speech_in_the_manifest_can_be_aligned(
    manifest: Path, clips: dict[str, Clip], aligner: PocketsphinxAligner
) -> None:
    """What then has word timings is a clip again."""
    clip = clips["07-heaven"]
    row = {"id": "a", "audio_filepath": "a.wav", "text": clip.text}
    manifest.write_text(json.dumps(row | {"speech_onset_s": 0.0, "speech_end_s": 0.0}))
    config = ManifestDataset(name="m", manifest=str(manifest))
    with pytest.raises(DatasetError, match="no speech found in a"):
        load_dataset(config)
    align_manifest(str(manifest), aligner)
    assert len(load_dataset(config).clips[0].words) == len(clip.words)


def test_the_plot_has_every_clip(
    tmp_path: Path, clips: dict[str, Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alignment, "_CLIPS_PER_PAGE", 1)
    pages = plot_words(list(clips.values())[:2], tmp_path / "plots")
    assert [page.name for page in pages] == ["words-01.png", "words-02.png"]
    assert all(page.read_bytes().startswith(b"\x89PNG") for page in pages)


# --- CTC -----------------------------------------------------------------------------------------


def spells(path: tuple[int, ...], targets: list[int]) -> bool:
    """Whether a path of indexes into ``targets`` (-1: blank) is a CTC path of all of them."""
    merged = [key for key, _ in itertools.groupby(path)]
    letters = [index for index in merged if index >= 0]
    if letters != list(range(len(targets))):
        return False
    touching = itertools.pairwise(merged)
    return all(a < 0 or b < 0 or targets[a] != targets[b] for a, b in touching)


@given(
    arrays(np.float32, (5, 3), elements=st.floats(-9, 0, width=16)),
    st.lists(st.integers(1, 2), min_size=1, max_size=4),
)
def test_the_ctc_path_is_the_best_of_all(log_probs: np.ndarray, targets: list[int]) -> None:
    def score(path: tuple[int, ...]) -> float:
        ids = [0 if index < 0 else targets[index] for index in path]
        return math.fsum(float(log_probs[frame, i]) for frame, i in enumerate(ids))

    every = itertools.product(range(-1, len(targets)), repeat=5)
    scores = [score(path) for path in every if spells(path, targets)]
    found = ctc_path(log_probs, np.array(targets), blank=0)
    if found is None:
        assert not scores
    else:
        assert spells(tuple(found), targets)
        assert score(tuple(found)) == pytest.approx(max(scores), abs=1e-4)


@pytest.fixture(scope="module")
def ctc_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wav2vec 2.0 of a few thousand random weights, as a hub repository is laid out."""
    import torch
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2CTCTokenizer,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForCTC,
    )

    folder = tmp_path_factory.mktemp("ctc")
    vocabulary = ["<pad>", "<s>", "</s>", "<unk>", "|", "'", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    (folder / "vocab.json").write_text(
        json.dumps({token: i for i, token in enumerate(vocabulary)}), encoding="utf-8"
    )
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    torch.manual_seed(0)
    config = Wav2Vec2Config(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, conv_dim=(8, 8), conv_stride=(20, 16), conv_kernel=(20, 16),
        num_feat_extract_layers=2, num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    return folder


def test_a_ctc_model_of_a_folder_aligns(ctc_folder: Path, clips: dict[str, Clip]) -> None:
    """Random weights say nothing of where words are, but they lie in order within the clip."""
    clip = clips["09-period"]
    aligner = CtcAligner(str(ctc_folder))
    words = align_clip(clip.samples, clip.text, aligner)
    assert [word.text for word in words] == clip.text.split()
    times_s = [0.0, *(time for word in words for time in (word.start_s, word.end_s))]
    assert times_s == sorted(times_s)
    assert times_s[-1] <= clip.duration_s
    assert all(word.end_s - word.start_s >= 0.02 for word in words)
    assert aligner.name == str(ctc_folder)


def test_texts_that_a_ctc_model_cannot_align(ctc_folder: Path) -> None:
    aligner = CtcAligner(str(ctc_folder))
    with pytest.raises(DatasetError, match="letters that the CTC model lacks: '\u00e9'"):
        align_clip(np.zeros(RATE_HZ, np.float32), "\u00e9t\u00e9", aligner)
    with pytest.raises(DatasetError, match="more letters than the audio has frames"):
        align_clip(np.zeros(RATE_HZ // 10, np.float32), "incredulity", aligner)
    assert align_clip(np.zeros(RATE_HZ, np.float32), "", aligner) == ()


def test_a_ctc_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot load a CTC model"):
        CtcAligner(str(tmp_path))
