"""Shared by all tests: scripted worlds in which every instant is an exact integer."""

from __future__ import annotations

import os
import sys
from typing import Any

import numpy as np
import pytest

from harness.clock import VirtualWorld
from harness.datasets.load import Clip
from harness.events import Word

os.environ.setdefault("HF_HUB_OFFLINE", "1")


def pytest_configure(config: pytest.Config) -> None:
    """Keep bytecode in pytest's cache where the environment wants none beside the sources.

    Container images often set ``PYTHONDONTWRITEBYTECODE``: every worker, and every command that a
    test starts, would then compile torch and transformers anew, some 10 s of a core each.
    """
    cache: pytest.Cache | None = getattr(config, "cache", None)
    if cache is not None and os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        folder = os.environ.setdefault("PYTHONPYCACHEPREFIX", str(cache.mkdir("bytecode")))
        sys.dont_write_bytecode, sys.pycache_prefix = False, folder


@pytest.fixture
def world() -> VirtualWorld:
    """A clock on which compute costs nothing."""
    return VirtualWorld()


@pytest.fixture
def undrawn_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots are built, but not drawn: a report in a tenth of the time, with empty plots."""
    from matplotlib.figure import Figure

    def savefig(_figure: Figure, file: Any, *, format: str = "", **_: Any) -> None:  # noqa: A002
        if format:  # else: a path, by its ending
            file.write(b"" if format == "png" else '<svg viewBox="0 0 500 300"></svg>')

    monkeypatch.setattr(Figure, "savefig", savefig)
    monkeypatch.setattr(Figure, "draw_without_rendering", lambda _figure: None)


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
