"""What each clip said, arm beside arm: latencies and the aligned text."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from harness.metrics import ClipMetrics
from harness.metrics.accuracy import AlignedWord, aligned_words
from harness.report.arms import Arm
from harness.report.table import error_label
from harness.report.text import ms, percent
from harness.stats.estimates import percentile


class ArmOfClip(msgspec.Struct, frozen=True):
    index: int
    label: str
    ttft: str  # median of the repeats, or why there is none
    error: str  # such as 5.0 %, of `error_label`
    error_label: str  # WER | CER
    failed: tuple[str, ...]  # reasons, one a failed repeat


class Reading(msgspec.Struct, frozen=True):
    """A text, and the sessions that came to it."""

    sessions: str  # such as "1word and 6word, every repeat"
    text: str  # exact
    words: tuple[AlignedWord, ...]  # empty: no error


class ClipView(msgspec.Struct, frozen=True):
    clip: str
    duration_s: float
    reference: str
    arms: tuple[ArmOfClip, ...]
    readings: tuple[Reading, ...]
    failed: bool
    errors: bool
    differs: bool  # arms or repeats came to different texts


def clip_views(arms: Sequence[Arm]) -> list[ClipView]:
    """One a clip, in order of name."""
    sessions: dict[str, list[tuple[Arm, ClipMetrics]]] = {}
    for arm in arms:
        for metrics in arm.clips.values():
            sessions.setdefault(metrics.clip, []).append((arm, metrics))
    return [_view(arms, clip, sessions[clip]) for clip in sorted(sessions)]


def _view(arms: Sequence[Arm], clip: str, found: list[tuple[Arm, ClipMetrics]]) -> ClipView:
    readings = _readings(arms, found)
    first = found[0][1]
    return ClipView(
        clip=clip,
        duration_s=first.duration_s,
        reference=first.reference,
        arms=tuple(_arm_of_clip(arm, [m for a, m in found if a is arm]) for arm in arms),
        readings=readings,
        failed=any(metrics.failed is not None for _, metrics in found),
        errors=any(reading.words for reading in readings),
        differs=len(readings) > 1,
    )


def _arm_of_clip(arm: Arm, repeats: list[ClipMetrics]) -> ArmOfClip:
    ttft = [metrics.ttft_ms for metrics in repeats if metrics.ttft_ms is not None]
    label = error_label([arm])
    told = [m.char_edits if label == "CER" else m.word_edits for m in repeats]
    edits = [one for one in told if one is not None]
    words = sum(e.reference for e in edits)
    return ArmOfClip(
        index=arm.index,
        label=arm.label,
        ttft=ms(percentile(ttft, 0.5) if ttft else None),
        error=percent(sum(e.errors for e in edits) / words if words else None),
        error_label=label,
        failed=tuple(metrics.failed for metrics in repeats if metrics.failed is not None),
    )


def _readings(arms: Sequence[Arm], found: list[tuple[Arm, ClipMetrics]]) -> tuple[Reading, ...]:
    by_text: dict[str, list[tuple[Arm, ClipMetrics]]] = {}
    for arm, metrics in found:
        if metrics.failed is None:
            by_text.setdefault(metrics.hypothesis, []).append((arm, metrics))
    return tuple(
        Reading(
            sessions=_sessions(arms, found, heard),
            text=text,
            words=_alignment(heard[0], text),
        )
        for text, heard in by_text.items()
    )


def _alignment(session: tuple[Arm, ClipMetrics], text: str) -> tuple[AlignedWord, ...]:
    arm, metrics = session
    if metrics.word_edits is None or metrics.word_edits.errors == 0:
        return ()
    trace = arm.traces.get((metrics.clip, metrics.repeat))
    language = trace.session.language if trace is not None else "en"
    return aligned_words(metrics.reference, text, language)


def _sessions(
    arms: Sequence[Arm],
    found: list[tuple[Arm, ClipMetrics]],
    heard: list[tuple[Arm, ClipMetrics]],
) -> str:
    """Which arms, and which of their repeats, came to this text."""
    ended = [(arm, metrics) for arm, metrics in found if metrics.failed is None]
    if len(heard) == len(ended):
        return "every session" if len(ended) > 1 else heard[0][0].label
    parts = []
    for arm in arms:
        repeats = [metrics.repeat for a, metrics in heard if a is arm]
        if len(repeats) == sum(a is arm for a, _ in ended):
            parts += [arm.label] if repeats else []
        elif repeats:
            parts.append(f"{arm.label} (repeat {', '.join(map(str, repeats))})")
    return ", ".join(parts)
