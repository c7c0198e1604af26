"""The endpointer that most products begin with: so many milliseconds below a level."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.audio import RATE_HZ
from harness.endpointers import Endpointer, EndpointerOptions
from harness.endpointers.pauses import Pauses
from harness.engines import Samples
from harness.validation import require_number

_FRAME = RATE_HZ // 100  # 10 ms
_FRAME_MS = 10.0
_QUIETEST = 1e-6  # mean square, -60 dBFS: what is below it is silence at any level of recording


@dataclass
class SilenceEndpointer(EndpointerOptions):
    """A turn is over after so much silence: frames of 10 ms far below the loudest so far."""

    silence_ms: float = 800.0  # below the level, in one piece
    below_peak_db: float = 25.0  # a frame so far below the loudest frame heard is silence

    def __post_init__(self) -> None:
        require_number("endpointer.silence_ms", self.silence_ms, 10, 60_000)
        require_number("endpointer.below_peak_db", self.below_peak_db, 1, 80)

    def make(self) -> Endpointer:
        return _Silence(self)


class _Silence:
    def __init__(self, options: SilenceEndpointer) -> None:
        self._pauses = Pauses(options.silence_ms)
        self._range = 10 ** (-options.below_peak_db / 10)
        self._loudest = _QUIETEST
        self._rest = np.zeros(0, np.float32)

    def push(self, samples: Samples) -> bool:
        heard = np.concatenate([self._rest, samples]) if len(self._rest) else samples
        count = len(heard) // _FRAME
        self._rest = heard[count * _FRAME :]
        frames = heard[: count * _FRAME].reshape(count, _FRAME)
        ended = False
        for power in np.einsum("ij,ij->i", frames, frames) / _FRAME:
            self._loudest = max(self._loudest, float(power))
            speech = power > max(_QUIETEST, self._loudest * self._range)
            ended |= self._pauses.push(_FRAME_MS, speech=bool(speech))
        return ended
