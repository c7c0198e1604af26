"""Silero VAD, whose weights lie in its package: speech by a small network, not by level."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.audio import RATE_HZ
from harness.endpointers import Endpointer, EndpointerOptions
from harness.endpointers.pauses import Pauses
from harness.engines import Samples
from harness.errors import UsageError
from harness.install_hint import install_hint
from harness.validation import require_number

_WINDOW = 512  # samples at 16 kHz: the only size the network takes
_WINDOW_MS = 1000 * _WINDOW / RATE_HZ


@dataclass
class SileroEndpointer(EndpointerOptions):
    """A turn is over after so much that the network takes for no speech."""

    threshold: float = 0.5  # of the probability of speech
    silence_ms: float = 500.0  # in one piece

    def __post_init__(self) -> None:
        require_number("endpointer.threshold", self.threshold, 0.01, 0.99)
        require_number("endpointer.silence_ms", self.silence_ms, 10, 60_000)

    def make(self) -> Endpointer:
        """
        Raises:
            UsageError: the package is not installed.
        """
        try:
            from silero_vad import load_silero_vad
        except ImportError as error:
            raise UsageError(
                "endpointer=silero needs the package silero-vad", value="not installed",
                hint=install_hint("endpointer"),
            ) from error  # fmt: skip
        return _Silero(self, load_silero_vad(onnx=False))


class _Silero:
    def __init__(self, options: SileroEndpointer, model: Any) -> None:
        self._pauses = Pauses(options.silence_ms)
        self._threshold = options.threshold
        self._model = model
        self._rest = np.zeros(0, np.float32)

    def push(self, samples: Samples) -> bool:
        import torch

        heard = np.concatenate([self._rest, samples])
        count = len(heard) // _WINDOW
        self._rest = heard[count * _WINDOW :]
        ended = False
        with torch.inference_mode():
            for window in heard[: count * _WINDOW].reshape(count, _WINDOW):
                speech = float(self._model(torch.from_numpy(window), RATE_HZ)) >= self._threshold
                ended |= self._pauses.push(_WINDOW_MS, speech=speech)
        return ended
