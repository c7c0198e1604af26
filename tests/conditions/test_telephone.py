"""The telephone: its band, its coder, and where words are."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import make_clip
from numpy.typing import NDArray

from harness.audio import RATE_HZ, SpeechBounds
from harness.conditions.telephone import Telephone

NOBODY = SpeechBounds(0.0, 0.0)


def heard(samples: NDArray[np.floating]) -> NDArray[np.float32]:
    return Telephone().heard(samples.astype(np.float32), NOBODY, "clip")


def tone(hz: float, peak: float = 0.3) -> NDArray[np.float64]:
    return peak * np.sin(2 * np.pi * hz * np.arange(RATE_HZ) / RATE_HZ)


def gain_db(hz: float) -> float:
    middle = slice(RATE_HZ // 4, -RATE_HZ // 4)
    before, after = tone(hz)[middle], heard(tone(hz))[middle]
    return float(10 * np.log10(max(np.mean(after**2), 1e-12) / np.mean(before**2)))


def test_nothing_is_left_above_3600_hz() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 4 * RATE_HZ)
    power = np.abs(np.fft.rfft(heard(noise) * np.hanning(len(noise)))) ** 2
    hz = np.fft.rfftfreq(len(noise), 1 / RATE_HZ)
    assert power[hz > 3600].sum() < 1e-5 * power.sum()  # -50 dB
    assert power[hz < 100].sum() < 1e-5 * power.sum()


@pytest.mark.parametrize("hz", [310, 1000, 3390])
def test_the_band_is_passed(hz: float) -> None:
    assert gain_db(hz) == pytest.approx(0, abs=0.3)


@pytest.mark.parametrize("hz", [50, 3700, 7000])
def test_the_rest_is_stopped(hz: float) -> None:
    assert gain_db(hz) < -40


@pytest.mark.parametrize("count", [1, 2, 3, 159, 16_001])
def test_the_length_stays(count: int) -> None:
    assert heard(np.full(count, 0.1)).shape == (count,)


def test_words_stay_where_they_were() -> None:
    clip = make_clip(duration_s=2.0).samples.copy()
    clip[:RATE_HZ] = 0  # sound from 1 s on
    after = heard(clip)
    assert np.abs(after[: RATE_HZ - 200]).max() < 1e-3 < np.abs(after[RATE_HZ:]).max()
    burst = np.zeros(RATE_HZ)
    burst[8000:8160] = tone(1000)[:160]
    lags = np.correlate(heard(burst), burst, "full")
    assert abs(int(np.argmax(lags)) - (RATE_HZ - 1)) <= 1


def test_the_coder_has_8_bits() -> None:
    """mu-law keeps 38 dB between speech and its own noise, over a wide range of levels."""
    for peak in (0.8, 0.1):
        before = tone(1000, peak)[2000:-2000]
        error = heard(tone(1000, peak))[2000:-2000] - before
        assert 33 < 10 * np.log10(np.mean(before**2) / np.mean(error**2)) < 45


def test_what_is_beyond_full_scale_is_clipped_and_nothing_is_written_to() -> None:
    loud = tone(1000, 3.0).astype(np.float32)
    loud.setflags(write=False)
    assert np.abs(heard(loud)).max() < 1.5
