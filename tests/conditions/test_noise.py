"""Noise: as far below the speech as was stated, of the stated kind, the same every time."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from harness.audio import RATE_HZ, SpeechBounds
from harness.conditions.noise import AddedNoise
from harness.datasets import ManifestDataset
from harness.datasets.load import load_dataset
from harness.errors import ConfigError

NOBODY = SpeechBounds(0.0, 0.0)


def power_db(samples: NDArray[np.float32]) -> float:
    return float(10 * np.log10(np.mean(np.square(samples, dtype=np.float64))))


@pytest.mark.parametrize("kind", ["pink", "white"])
@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0])
def test_the_ratio_is_the_stated_one_between_the_speech_bounds(kind: str, snr_db: float) -> None:
    (clip,) = load_dataset(ManifestDataset(limit=1)).clips
    speech = SpeechBounds(clip.speech_onset_s, clip.speech_end_s)
    quiet = clip.samples * np.float32(0.1)  # so that nothing has to be made quieter
    added = AddedNoise(snr_db=snr_db, kind=kind).heard(quiet, speech, clip.id) - quiet
    spoken = slice(round(speech.onset_s * RATE_HZ), round(speech.end_s * RATE_HZ))
    assert power_db(quiet[spoken]) - power_db(added[spoken]) == pytest.approx(snr_db, abs=0.1)
    assert power_db(added[: spoken.start]) == pytest.approx(power_db(added[spoken]), abs=3)


def test_what_would_clip_is_made_quieter_as_a_whole() -> None:
    sound = np.full(RATE_HZ, 0.9, np.float32)
    noise = AddedNoise(snr_db=0)
    heard = noise.heard(sound, SpeechBounds(0, 1), "clip")
    small = noise.heard(sound * np.float32(0.01), SpeechBounds(0, 1), "clip")
    assert np.abs(heard).max() == pytest.approx(0.999)
    assert np.allclose(heard / np.abs(heard).max(), small / np.abs(small).max(), atol=1e-5)


def test_each_kind_has_its_spectrum() -> None:
    """Octaves of pink noise have the same power; of white noise each has twice that below it."""
    for kind, step_db in (("pink", 0.0), ("white", 3.0)):
        silence = np.zeros(20 * RATE_HZ, np.float32)
        noise = AddedNoise(kind=kind).heard(silence, NOBODY, "clip")
        power = np.abs(np.fft.rfft(noise)) ** 2
        hz = np.fft.rfftfreq(len(noise), 1 / RATE_HZ)
        octaves = [power[(hz >= low) & (hz < 2 * low)].sum() for low in (125, 250, 500, 1000, 2000)]
        steps = np.diff(10 * np.log10(octaves))
        assert np.allclose(steps, step_db, atol=1.0), kind


def test_where_nobody_speaks_it_is_as_loud_as_below_usual_speech() -> None:
    silence = np.zeros(RATE_HZ, np.float32)
    noise = AddedNoise(snr_db=10).heard(silence, NOBODY, "clip")
    assert power_db(noise) == pytest.approx(-36, abs=0.01)


def test_it_is_drawn_by_seed_and_clip() -> None:
    silence = np.zeros(1000, np.float32)
    first = AddedNoise().heard(silence, NOBODY, "a")
    assert np.array_equal(first, AddedNoise().heard(silence, NOBODY, "a"))
    assert not np.array_equal(first, AddedNoise().heard(silence, NOBODY, "b"))
    assert not np.array_equal(first, AddedNoise(seed=1).heard(silence, NOBODY, "a"))
    assert AddedNoise().heard(silence[:0], NOBODY, "a").shape == (0,)


@pytest.mark.parametrize(
    "wrong", [{"snr_db": float("nan")}, {"snr_db": 200.0}, {"kind": "brown"}, {"seed": -1}], ids=str
)
def test_a_wrong_option_is_named(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError) as refused:
        AddedNoise(**wrong)  # type: ignore[arg-type]
    ((name, value),) = wrong.items()
    assert f"conditions.{name}" in refused.value.what
    assert repr(refused.value.value) == repr(value)
    assert refused.value.allowed
