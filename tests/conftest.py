"""Shared by all tests: scripted worlds in which every instant is an exact integer."""

from __future__ import annotations

import os

import numpy as np
import pytest

from harness.clock import VirtualWorld
from harness.dataset import Clip
from harness.events import Word

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture
def world() -> VirtualWorld:
    """A clock on which compute costs nothing."""
    return VirtualWorld()


def make_clip(
    text: str = "it was the best of times",
    duration_s: float = 1.0,
    *,
    clip_id: str = "clip",
    words: tuple[Word, ...] = (),
) -> Clip:
    """A clip of quiet noise: nothing listens to it but scripted engines."""
    samples = np.random.default_rng(0).normal(0, 0.01, round(duration_s * 16_000))
    return Clip(
        id=clip_id,
        samples=samples.astype(np.float32),
        duration_s=duration_s,
        text=text,
        speech_onset_s=0.1,
        speech_end_s=duration_s - 0.1,
        language="en",
        words=words,
        pcm_sha256="",
    )
