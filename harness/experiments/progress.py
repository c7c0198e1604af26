"""Progress callbacks of experiments; the default does nothing."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence

import msgspec


class ArmProgress(msgspec.Struct, frozen=True):
    """How far one arm is."""

    name: str
    done: int = 0  # sessions that were kept, failed ones included
    planned: int = 0
    failed: int = 0
    ttft_p50_ms: float | None = None  # so far; None: no session with a TTFT yet


class SessionsDone(msgspec.Struct, frozen=True):
    """How far the replay is: all arms of it."""

    arms: tuple[ArmProgress, ...]
    elapsed_s: float  # since the first measured session began, by the harness's clock
    seconds_left: float  # estimated from the audio that is left, and how long that before took

    @property
    def done(self) -> int:
        return sum(arm.done for arm in self.arms)

    @property
    def planned(self) -> int:
        return sum(arm.planned for arm in self.arms)


class Progress:
    """How far an experiment is; this one does nothing.

    ``stage`` is called between replays; ``session_done`` on the thread that stores sessions, while
    others may be replayed: what it does takes time from them.
    """

    def stage(self, text: str) -> None:
        """A new step has begun."""

    def session_done(self, so_far: SessionsDone) -> None:
        """A session has been kept."""

    def note(self, text: str) -> None:
        """Something that a person should know, and that stops nothing."""


class Tally:
    """Counts the sessions of one replay."""

    def __init__(self, arms: Sequence[str]) -> None:
        self._arms = [ArmProgress(name) for name in arms]
        self._ttfts_ms: list[list[float]] = [[] for _ in arms]  # sorted
        self._planned_s = self._done_s = 0.0  # of audio
        self._began_ns: int | None = None

    def plan(self, arm: int, audio_s: float, now_ns: int) -> None:
        """One more session is to be replayed."""
        if self._began_ns is None:
            self._began_ns = now_ns
        counted = self._arms[arm]
        self._arms[arm] = msgspec.structs.replace(counted, planned=counted.planned + 1)
        self._planned_s += audio_s

    def done(
        self, arm: int, audio_s: float, now_ns: int, *, ttft_ms: float | None, failed: bool
    ) -> SessionsDone:
        """One session has ended; returns how far all are."""
        if ttft_ms is not None:
            insort(self._ttfts_ms[arm], ttft_ms)
        counted = self._arms[arm]
        self._arms[arm] = msgspec.structs.replace(
            counted,
            done=counted.done + 1,
            failed=counted.failed + failed,
            ttft_p50_ms=_median(self._ttfts_ms[arm]),
        )
        self._done_s += audio_s
        elapsed_s = (now_ns - (self._began_ns or 0)) / 1e9
        left_s = max(self._planned_s - self._done_s, 0.0)
        return SessionsDone(
            arms=tuple(self._arms),
            elapsed_s=elapsed_s,
            seconds_left=left_s / self._done_s * elapsed_s if self._done_s else 0.0,
        )


def _median(ascending: Sequence[float]) -> float | None:
    if not ascending:
        return None
    lower, upper = (len(ascending) - 1) // 2, len(ascending) // 2
    return (ascending[lower] + ascending[upper]) / 2
