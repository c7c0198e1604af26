"""Shared by all tests: scripted worlds in which every instant is an exact integer.

Here is also what makes a test's outcome independent of where it runs: the processor's threads, the
disk, and what the environment says of colours, columns, proxies and signals.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

if "PYTEST_XDIST_WORKER" in os.environ:  # before numpy and torch: workers share the processor
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from harness.clock import VirtualWorld
from harness.datasets.load import Clip
from harness.events import Word

os.environ.setdefault("HF_HUB_OFFLINE", "1")

# The same examples every time, however long a busy machine takes for one.
settings.register_profile(
    "everywhere",
    database=None,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("everywhere")

# What terminals, CI systems and shells set, and what would change the text of an answer.
TELL_HOW_TO_PRINT = (
    "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "FORCE_COLOR", "GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY",
    "LINES", "NO_COLOR", "PYTHONIOENCODING", "TTY_COMPATIBLE", "TTY_INTERACTIVE",
)  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    _keep_bytecode(config)
    for name in TELL_HOW_TO_PRINT:
        os.environ.pop(name, None)
    # A proxy is for the world outside; the tests' servers are on this machine.
    here = ["127.0.0.1", "localhost"]
    for name in ("no_proxy", "NO_PROXY"):
        os.environ[name] = ",".join([*here, *filter(None, [os.environ.get(name)])])
    # A shell starts what runs in its background with Ctrl-C ignored, and so would our children be.
    with suppress(ValueError):  # not the main thread
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def _keep_bytecode(config: pytest.Config) -> None:
    """Keep bytecode in pytest's cache where the environment wants none beside the sources.

    Container images often set ``PYTHONDONTWRITEBYTECODE``: every worker, and every command that a
    test starts, would then compile torch and transformers anew, some 10 s of a core each. Not where
    they were compiled when they were installed.
    """
    torch = find_spec("torch")
    compiled = torch is not None and torch.cached is not None and Path(torch.cached).is_file()
    cache: pytest.Cache | None = getattr(config, "cache", None)
    if cache is None or compiled or not os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        return
    with suppress(OSError):  # a checkout that cannot be written to
        folder = os.environ.setdefault("PYTHONPYCACHEPREFIX", str(cache.mkdir("bytecode")))
        sys.dont_write_bytecode, sys.pycache_prefix = False, folder


@pytest.fixture(scope="session", autouse=True)
def _nothing_has_to_survive_a_power_cut() -> Iterator[None]:
    """Waiting for the disk takes a large part of a test, and depends on the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture
def without_pngs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports in half the time, for tests that look at no picture: their PNG files are empty."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    monkeypatch.setattr(FigureCanvasAgg, "print_png", lambda self, file, **_: None)


@pytest.fixture
def command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_pngs: None) -> None:
    """An empty folder to run commands in, and what they do twice done once.

    Hydra composes every config a first time only to look for `hydra.mode`, which no file sets.
    """
    from hydra._internal.hydra import Hydra

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Hydra, "get_mode", lambda *_, **__: None)


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
