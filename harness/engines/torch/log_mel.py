"""Log-mel features on the device that the model runs on.

The same numbers as transformers' feature extractors (a 400-sample Hann window every 160 samples,
128 Slaney mel bands), with the Fourier transform as a product with a 400 x 402 matrix: for the few
frames of a live step that is one kernel, and it can be captured in a CUDA graph.
"""

from __future__ import annotations

import math

import torch
from transformers.audio_utils import mel_filter_bank

from harness.audio import RATE_HZ

HOP_SAMPLES = 160  # 10 ms
WINDOW_SAMPLES = 400  # 25 ms
MEL_BANDS = 128
_DYNAMIC_RANGE = 8.0  # in powers of ten below the loudest


class LogMel:
    def __init__(self, device: torch.device, loudest: float | None) -> None:
        """
        Args:
            loudest: log10 of the power that the range is counted down from; None: that of the
                loudest point of each call (Whisper's and the 3B's rule).
        """
        bins = WINDOW_SAMPLES // 2 + 1
        samples = torch.arange(WINDOW_SAMPLES, dtype=torch.float64)
        frequencies = torch.arange(bins, dtype=torch.float64)
        # (k n mod N) keeps the angle small, and so exact
        angles = (frequencies[None] * samples[:, None]) % WINDOW_SAMPLES
        angles *= 2 * math.pi / WINDOW_SAMPLES
        window = torch.hann_window(WINDOW_SAMPLES, dtype=torch.float64)[:, None]
        fourier = torch.cat((angles.cos() * window, angles.sin() * window), dim=1)
        filters = mel_filter_bank(
            num_frequency_bins=bins,
            num_mel_filters=MEL_BANDS,
            min_frequency=0.0,
            max_frequency=RATE_HZ / 2,
            sampling_rate=RATE_HZ,
            norm="slaney",
            mel_scale="slaney",
        )
        self._fourier = fourier.float().to(device)  # [400, 402]: cosines, then sines
        self._filters = torch.from_numpy(filters).float().to(device)  # [201, 128]
        self._loudest = loudest

    def __call__(self, audio: torch.Tensor) -> torch.Tensor:
        """float32 ``[n, 400 + 160 (F - 1)]`` -> float32 ``[n, 128, F]``; no padding is added."""
        frames = audio.unfold(-1, WINDOW_SAMPLES, HOP_SAMPLES)
        cosines, sines = (frames @ self._fourier).chunk(2, dim=-1)
        power = cosines.square() + sines.square()
        log_mel = (power @ self._filters).clamp(min=1e-10).log10().transpose(-1, -2)
        if self._loudest is None:
            floor = log_mel.amax(dim=(-1, -2), keepdim=True) - _DYNAMIC_RANGE
            log_mel = torch.maximum(log_mel, floor)
        else:
            log_mel = log_mel.clamp(min=self._loudest - _DYNAMIC_RANGE)
        return (log_mel + 4.0) / 4.0
