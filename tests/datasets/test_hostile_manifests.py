"""300 manifests that nobody should write: a dataset or one sentence each, never a traceback."""

# ruff: noqa: S311, PT017 nothing here is a secret; outcomes differ from try to try
from __future__ import annotations

import random
import wave
from pathlib import Path

import pytest

from harness.datasets import ManifestDataset
from harness.datasets.load import load_dataset
from harness.errors import HarnessError
from tests.mutations import bytes_changed, encoded, mutated

LINE = {
    "id": "one", "audio_filepath": "sound.wav", "duration": 1.0, "offset": 0.0, "text": "it was",
    "speech_onset_s": 0.1, "speech_end_s": 0.9, "language": "en",
    "words": [
        {"text": "it", "start_s": 0.1, "end_s": 0.3},
        {"text": "was", "start_s": 0.4, "end_s": 0.9},
    ],
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    drawn = random.Random(0)
    with wave.open(str(tmp_path / "sound.wav"), "wb") as sound:
        sound.setparams((1, 2, 16_000, 0, "NONE", ""))
        loud = (drawn.randrange(-9000, 9000) for _ in range(16_000))
        sound.writeframes(b"".join(s.to_bytes(2, "little", signed=True) for s in loud))
    return tmp_path


def written(folder: Path, content: bytes) -> ManifestDataset:
    (folder / "manifest.jsonl").write_bytes(content)
    return ManifestDataset(manifest=str(folder / "manifest.jsonl"))


def test_the_manifest_is_read_as_it_should_be_written(folder: Path) -> None:
    (clip,) = load_dataset(written(folder, encoded(LINE) + b"\n")).clips
    assert len(clip.words) == 2


@pytest.mark.parametrize("seed", range(6))
def test_every_manifest_is_a_dataset_or_a_refusal(folder: Path, seed: int) -> None:
    drawn, refused = random.Random(seed), 0
    for _ in range(50):
        content = encoded(mutated(LINE, drawn)) + b"\n" + encoded(LINE | {"id": "two"}) + b"\n"
        if drawn.randrange(3) == 0:
            content = bytes_changed(content, drawn)
        try:
            load_dataset(written(folder, content))
        except HarnessError as error:
            refused += 1
            assert str(error)
    assert refused > 10
