"""Noise of a stated kind, so far below the clip's own speech."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from harness.audio import RATE_HZ, Samples, SpeechBounds
from harness.conditions.condition import Condition
from harness.validation import require_number, require_one_of

_NOMINAL_DBFS = -26.0  # of active speech (ITU-T P.56, P.830): where a clip has none
_FULL = 0.999  # what would be beyond full scale is made quieter, so that nothing clips
# 3 poles and 3 zeros whose power falls by 3 dB an octave (J. O. Smith, Spectral Audio Signal
# Processing, "Example: Synthesis of 1/F Noise"); it settles within 1430 samples.
_PINK_ZEROS = (0.049922035, -0.095993537, 0.050612699, -0.004408786)
_PINK_POLES = (1.0, -2.494956002, 2.017265875, -0.522189400)
_PINK_SETTLES = 1_430


@dataclass
class AddedNoise(Condition):
    """The signal-to-noise ratio is that of mean powers between the clip's speech bounds, exactly.

    Noise is there throughout the clip, the same in every repeat. What would clip is made quieter as
    a whole. A clip in which nobody speaks gets the noise of one with speech of -26 dBFS.
    """

    registered_as = "noise"

    snr_db: float = 10.0  # power of the speech over that of the noise
    kind: str = "pink"  # pink (the same power in every octave) | white (in every Hz)
    seed: int = 0  # of the noise; each clip's is its own

    def __post_init__(self) -> None:
        require_number("conditions.snr_db", self.snr_db, -40, 100)
        require_one_of("conditions.kind", self.kind, ("pink", "white"))
        require_number("conditions.seed", self.seed, 0)

    def heard(self, samples: Samples, speech: SpeechBounds, clip: str) -> Samples:
        noise = self._noise(len(samples), clip)
        spoken = slice(round(speech.onset_s * RATE_HZ), round(speech.end_s * RATE_HZ))
        power = _power(samples[spoken]) or 10 ** (_NOMINAL_DBFS / 10)
        measured = _power(noise[spoken]) or _power(noise)
        gain = np.sqrt(power / measured / 10 ** (self.snr_db / 10)) if measured else 0.0
        heard = samples + noise * np.float32(gain)
        peak = float(np.abs(heard).max(initial=0.0))
        return heard * np.float32(_FULL / peak) if peak > _FULL else heard

    def _noise(self, count: int, clip: str) -> Samples:
        drawn = np.random.default_rng([self.seed, *hashlib.sha256(clip.encode()).digest()])
        if self.kind == "white":
            return drawn.standard_normal(count, np.float32)
        from scipy.signal import lfilter

        white = drawn.standard_normal(_PINK_SETTLES + count, np.float32)
        pink: Samples = lfilter(_PINK_ZEROS, _PINK_POLES, white)[_PINK_SETTLES:]
        return pink.astype(np.float32)


def _power(samples: Samples) -> float:
    """Mean square; of no samples: 0."""
    return float(np.mean(np.square(samples, dtype=np.float64))) if len(samples) else 0.0
