"""Clips for tests of verdicts: one latency per clip and repeat, texts of ten words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from harness.metrics import ClipMetrics, Edits

WORDS = 10
ARM = {"chunking": "1word", "model": "null", "dataset": "made_up", "session": "turn"}


def make_clips(ttft_ms: Sequence[Sequence[float | None]], errors: int = 0, **more: Any) -> list[ClipMetrics]:
    """One row a clip, one figure a repeat; None: the session failed."""
    return [
        ClipMetrics(
            **{
                "clip": f"clip-{index:02}", "repeat": repeat, "order": 0, "lane": 0,
                "session": "turn", "duration_s": 4.0, "chunks": 9,
                "reference": "ten words", "hypothesis": "" if value is None else "ten words",
                "failed": "no answer" if value is None else None,
                "ttft_ms": value, "final_ms": None if value is None else value + 500,
                "word_edits": Edits(
                    reference=WORDS, hits=WORDS - errors, substitutions=errors, deletions=0,
                    insertions=0,
                ),
            } | more
        )
        for index, row in enumerate(ttft_ms)
        for repeat, value in enumerate(row)
    ]  # fmt: skip


def spread(clips: int, repeats: int = 3, base_ms: float = 300.0) -> list[list[float]]:
    """Latencies that differ from clip to clip (10 ms apart) and from repeat to repeat (1 ms)."""
    return [[base_ms + 10 * clip + (clip + repeat) % 3 for repeat in range(repeats)] for clip in range(clips)]
