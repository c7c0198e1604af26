"""A listener that remembers, and audio to speak into an engine with."""

from __future__ import annotations

import threading

import numpy as np

from harness.clock import RealWorld
from harness.engines import Samples, Stamp

WORLD = RealWorld()


class Heard:
    """What a listener was told, and an event for each thing to wait for."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.token_ns: list[int] = []
        self.spans: list[tuple[str, int, int]] = []
        self.shared_by: list[int] = []  # of each span
        self.error: str | None = None
        self.calls: list[str] = []
        self.is_ready = threading.Event()  # or failed before it was
        self.is_over = threading.Event()

    def ready(self) -> None:
        self.calls.append("ready")
        self.is_ready.set()

    def token(self, text: str, at_ns: int | None = None, after_ns: int | None = None) -> None:
        self.calls.append("token")
        self.tokens.append(text)
        self.token_ns.append(WORLD.now_ns() if at_ns is None else at_ns)

    def hypothesis(
        self, segment: int, text: str, final: bool, at_ns: Stamp = None, after_ns: Stamp = None
    ) -> None:
        self.calls.append(f"hypothesis {segment} {text!r} {final}")

    def speech_started(self) -> None:
        self.calls.append("speech_started")

    def turn_ended(self) -> None:
        self.calls.append("turn_ended")

    def span(self, name: str, start_ns: int, end_ns: int, shared_by: int = 1) -> None:
        self.spans.append((name, start_ns, end_ns))
        self.shared_by.append(shared_by)

    def ended(self) -> None:
        self.calls.append("ended")
        self.is_over.set()

    def failed(self, error: str) -> None:
        self.calls.append("failed")
        self.error = error
        self.is_ready.set()
        self.is_over.set()

    @property
    def text(self) -> str:
        return "".join(self.tokens)


def loud(seconds: float, seed: int = 0) -> Samples:
    """Noise that counts as speech; exact in PCM16."""
    noise = np.random.default_rng(seed).integers(-8000, 8000, round(seconds * 16_000))
    return (noise / 32768).astype(np.float32)
