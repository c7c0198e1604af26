"""A fixed-line telephone: 300 to 3400 Hz, 8 kHz, 8 bits of mu-law (ITU-T G.711)."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.audio import RATE_HZ, Samples, SpeechBounds
from harness.conditions.condition import Condition

LINE_HZ = 8_000
PASS_HZ = (300, 3400)  # what a telephone channel passes (ITU-T G.712)
_SLOPE_HZ = 200  # from what is passed to what is stopped
_STOPPED_DB = 60.0  # below what is passed: more than the 38 dB between speech and mu-law's noise


@dataclass
class Telephone(Condition):
    """Resampled to 8 kHz, limited to the band, coded and decoded, limited again, back at 16 kHz.

    The filters have linear phase and their delay is taken out: words stay where they were.
    """

    registered_as = "telephone"

    def heard(self, samples: Samples, speech: SpeechBounds, clip: str) -> Samples:
        import soxr

        band = _band_pass()
        at_line = _limited(soxr.resample(samples, RATE_HZ, LINE_HZ), band)
        decoded = _limited(_coded_and_decoded(at_line), band)
        back = soxr.resample(decoded, LINE_HZ, RATE_HZ)
        heard = np.zeros(len(samples), np.float32)  # resampling may be a sample off
        heard[: len(back)] = back[: len(samples)]
        return heard


def _band_pass() -> Any:
    """[taps] of a filter with linear phase; 0 dB from 300 to 3400 Hz, -60 dB 200 Hz outside."""
    from scipy.signal import firwin, kaiserord

    taps, beta = kaiserord(_STOPPED_DB, _SLOPE_HZ / (LINE_HZ / 2))
    edges = (PASS_HZ[0] - _SLOPE_HZ / 2, PASS_HZ[1] + _SLOPE_HZ / 2)
    return firwin(taps | 1, edges, window=("kaiser", beta), pass_zero=False, fs=LINE_HZ)


def _limited(samples: Samples, taps: Any) -> Samples:
    from scipy.signal import oaconvolve

    limited: Samples = oaconvolve(samples, taps, mode="full")[len(taps) // 2 :][: len(samples)]
    return limited.astype(np.float32)


def _coded_and_decoded(samples: Samples) -> Samples:
    """By libsndfile's mu-law; what is beyond full scale is clipped, as a coder does."""
    import soundfile

    coded = io.BytesIO()
    line: dict[str, Any] = {"format": "RAW", "subtype": "ULAW"}
    soundfile.write(coded, np.clip(samples, -1, 1), LINE_HZ, **line)
    coded.seek(0)
    decoded: Samples
    decoded, _ = soundfile.read(coded, dtype="float32", samplerate=LINE_HZ, channels=1, **line)
    return decoded
