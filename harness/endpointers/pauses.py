"""From frames that are speech or not to a decision: so much silence after some speech."""

from __future__ import annotations

LEAST_SPEECH_MS = 100.0  # that comes before a turn can end: a click is none


class Pauses:
    """Counts speech and the silence after it; says once that a silence is long enough."""

    def __init__(self, silence_ms: float) -> None:
        self._silence_ms = silence_ms
        self._speech_ms = 0.0
        self._quiet_ms = 0.0

    def push(self, frame_ms: float, *, speech: bool) -> bool:
        """One more frame; returns whether the turn has ended with it."""
        if speech:
            self._speech_ms += frame_ms
            self._quiet_ms = 0.0
            return False
        before = self._quiet_ms
        self._quiet_ms += frame_ms
        if self._speech_ms < LEAST_SPEECH_MS or not before < self._silence_ms <= self._quiet_ms:
            return False
        self._speech_ms = 0.0
        return True
