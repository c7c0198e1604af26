"""What one number of concurrent streams does to latencies: a point of ``capacity``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from harness.metrics import ClipMetrics
from harness.stats.estimates import percentile
from harness.verdicts.capacity import Point


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """One number of streams, as it stands in ``capacity.json``."""

    point: Point
    ttft_p50_ms: float | None  # over the sessions that count and have one
    ttft_p95_ms: float | None
    gap_p95_ms: float | None
    runs: tuple[str, ...]  # folder of each look, in the capacity run's folder

    def record(self) -> dict[str, Any]:
        """One flat record, for ``capacity.json``."""
        figures: dict[str, Any] = msgspec.to_builtins(self)
        return {**figures.pop("point"), **figures}


def make_load(point: Point, clips: Sequence[ClipMetrics], runs: Sequence[str]) -> Load:
    """Latencies of a point.

    Args:
        clips: the sessions that count, of all valid looks.
    """
    ttft = [clip.ttft_ms for clip in clips if clip.ttft_ms is not None]
    gaps = [gap for clip in clips for gap in clip.gap_ms]
    return Load(
        point=point,
        ttft_p50_ms=percentile(ttft, 0.5) if ttft else None,
        ttft_p95_ms=percentile(ttft, 0.95) if ttft else None,
        gap_p95_ms=percentile(gaps, 0.95) if gaps else None,
        runs=tuple(runs),
    )
