"""One clip from its audio to the client's chunks, arm above arm, on one time axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from harness.events import SessionKind, Trace, Word
from harness.metrics.counted import first_word
from harness.metrics.instants import request_ns, text_chunks
from harness.report.arms import MOST_DRAWN, Arm, typical_session
from harness.report.style import (
    ARM_COLOURS,
    BAD,
    GRID,
    INK,
    MUTED,
    PAPER,
    NoPlot,
    Plot,
    finish,
    new_figure,
)
from harness.report.text import ms, shorten

Audio = Mapping[str, NDArray[np.float32]]  # clip id -> samples [n], 16 kHz

_HZ = 16_000
_LABEL_ROWS = 3  # chunk texts that would overlap are put on further rows, then left out
_STAGE_GREYS = {
    "features": "#c3ccd8", "upload": "#c3ccd8", "encoder": "#94a3b8", "prefill": "#64748b",
    "decode": "#b7c1ce", "injected": "#e8a49f",
}  # fmt: skip


def clip_timeline(arms: Sequence[Arm], audio: Audio | None = None) -> Plot | NoPlot:
    name, title = "timeline", "One clip, from audio to text"
    chosen = typical_session(arms)
    if chosen is None:
        return NoPlot(name, title, "no session that every arm finished with text")
    clip, repeat = chosen
    shown = arms[:MOST_DRAWN]
    traces = [arm.traces[chosen] for arm in shown]
    session = traces[0].session
    live = session.kind is SessionKind.LIVE
    title = f"One clip, from audio to text: {shorten(clip, 40)}"

    figure = new_figure(title, 1.25 + 1.12 * len(shown))
    panels: NDArray[Any] = figure.subplots(
        len(shown) + 1, 1, height_ratios=[0.95, *[1.1] * len(shown)], squeeze=False
    )[:, 0]
    samples = audio.get(clip) if audio else None
    _draw_audio(panels[0], session.duration_s, session.words, samples, session.reference)
    # A live session is drawn on the audio's own seconds, a turn in ms from the end of its audio.
    scale, offset = (1e9, 0.0) if live else (1e6, session.duration_s * 1e3)
    ends = []
    for panel, arm, trace in zip(panels[1:], shown, traces, strict=True):
        ends.append(_draw_arm(panel, arm, trace, scale, offset))
    right = max(ends) * 1.03
    for panel in panels[1:]:
        if live:
            panel.set_xlim(0, max(right, session.duration_s))
        else:
            panel.set_xlim(-0.015 * right, right)
        panel.tick_params(labelbottom=panel is panels[-1])
    if live:
        panels[0].set_xlim(*panels[1].get_xlim())
    unit = "audio time, s" if live else "after the end of the audio, ms"
    panels[-1].set_xlabel(f"{unit}   (same axis for every arm)")
    for panel, arm, trace in zip(panels[1:], shown, traces, strict=True):
        _label_chunks(panel, arm, trace, scale, offset)
    gaps = all(arm.clips[chosen].gap_ms for arm in shown)
    words = "; ".join(
        f"{arm.label}: TTFT {ms(arm.clips[chosen].ttft_ms)},"
        f" longest gap {ms(max(arm.clips[chosen].gap_ms, default=None))}"
        for arm in shown
    )
    caption = (
        f"Clip {shorten(clip, 60)}, repeat {repeat}: the median TTFT of {arms[0].label}, of the"
        f" clips with {'gaps' if gaps else 'text'} in every arm. {words}. Grey blocks: what the"
        " engine did; ticks: its tokens; coloured bars: chunks as the client saw them, with their"
        " text."
    )
    if len(arms) > len(shown):
        caption += f" The first {len(shown)} of {len(arms)} arms are drawn."
    return finish(name, title, caption, figure)


def _draw_audio(
    axes: Axes,
    duration_s: float,
    words: Sequence[Word],
    samples: NDArray[np.float32] | None,
    reference: str,
) -> None:
    axes.set(xlim=(0, duration_s), ylim=(-1, 1.9), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.grid(visible=False)
    axes.set_ylabel("audio", rotation=0, ha="right", va="center")
    axes.axvline(duration_s, color=INK, linewidth=1.2)
    if samples is not None and len(samples):
        low, high = _envelope(samples)
        at_s = np.linspace(0, len(samples) / _HZ, len(low))
        axes.fill_between(at_s, low, high, color=MUTED, linewidth=0, alpha=0.7)
    else:
        axes.plot([0, duration_s], [0, 0], color=GRID, linewidth=5, solid_capstyle="butt")
    per_s = 8.3 / duration_s  # about 83 characters at this size across the width
    free_s = 0.0
    for word in words:
        axes.plot([word.start_s, word.end_s], [1.12, 1.12], color=INK, linewidth=1.6)
        text = shorten(word.text, 16)
        if word.start_s >= free_s:
            axes.text(word.start_s, 1.25, text, fontsize=7.5, clip_on=True, in_layout=False)
            free_s = word.start_s + (len(text) + 0.7) / (per_s * 13)
    if not words:
        axes.text(0, 1.25, f"“{shorten(reference, 95)}”", fontsize=8, color=MUTED)
    axes.set_xlabel("seconds of audio", fontsize=8, labelpad=1)
    axes.tick_params(labelsize=7.5)


def _envelope(samples: NDArray[np.float32], columns: int = 500) -> tuple[Any, Any]:
    width = max(1, len(samples) // columns)
    blocks = samples[: len(samples) // width * width].reshape(-1, width)
    peak = max(float(np.abs(samples).max()), 1e-9)
    return blocks.min(axis=1) / peak, blocks.max(axis=1) / peak


def _draw_arm(axes: Axes, arm: Arm, trace: Trace, scale: float, offset: float) -> float:
    """Draws spans, tokens, chunks, TTFT; returns the right end on the axis."""
    t0_ns, colour = trace.session.t0_ns, ARM_COLOURS[arm.index % 8]

    def at(instant_ns: int) -> float:
        return (instant_ns - t0_ns) / scale - offset

    axes.set(ylim=(-0.35, 3.75), yticks=[])
    axes.spines["left"].set_visible(False)
    axes.grid(visible=True, axis="x")
    metrics = arm.clips[trace.session.clip, trace.session.repeat]
    beside: dict[str, Any] = {"transform": axes.transAxes, "ha": "right", "va": "center"}
    axes.text(-0.015, 0.8, shorten(arm.label, 20), color=colour, fontweight="bold", **beside)
    axes.text(-0.015, 0.5, f"TTFT {ms(metrics.ttft_ms)}", fontsize=8, **beside)
    gap = max(metrics.gap_ms, default=None)
    axes.text(-0.015, 0.26, f"longest gap {ms(gap)}", fontsize=8, color=MUTED, **beside)
    for span in trace.spans:
        left, width = at(span.start_ns), (span.end_ns - span.start_ns) / scale
        axes.broken_barh([(left, width)], (0.0, 0.42), color=_STAGE_GREYS.get(span.name, GRID),
                         edgecolor=PAPER, linewidth=0.3)  # fmt: skip
    tokens = [at(token.at_ns) for token in trace.tokens if token.text]
    axes.vlines(tokens, 0.5, 0.72, color=MUTED, linewidth=0.8)
    chunks = text_chunks(trace)
    axes.vlines([at(chunk.at_ns) for chunk in chunks], 0.86, 1.36, color=colour, linewidth=2)
    if (word := first_word(trace)) is not None:
        request, first = at(request_ns(trace)), at(word.chunk_ns)
        arrow = {"arrowstyle": "-|>", "color": colour, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", (first, 1.12), (request, 1.12), arrowprops=arrow)
    if chunks:
        _mark_longest_gap(axes, [at(chunk.at_ns) for chunk in chunks])
    if trace.failed:
        axes.text(at(trace.outcome.at_ns), 0.2, " failed", color=BAD, fontsize=8)
    return max([at(trace.outcome.at_ns), *(at(chunk.at_ns) for chunk in chunks)])


def _mark_longest_gap(axes: Axes, at: list[float]) -> None:
    if len(at) > 1:
        i = int(np.argmax(np.diff(at)))
        axes.plot(at[i : i + 2], [-0.2, -0.2], color=INK, linewidth=1.2, marker="|", markersize=5)


def _label_chunks(axes: Axes, arm: Arm, trace: Trace, scale: float, offset: float) -> None:
    """Chunk texts above their bars, on the first row with room; where none has any, left out."""
    low, high = axes.get_xlim()
    per_unit = 105 / (high - low)  # characters of this size across the axis
    free = [low] * _LABEL_ROWS
    for chunk in trace.chunks:
        text = shorten(chunk.text.strip(), 36)
        if not text:
            continue
        x = (chunk.at_ns - trace.session.t0_ns) / scale - offset
        width = (len(text) + 1) / per_unit
        left = x if x + width <= high else high - width
        row = next((r for r, end in enumerate(free) if end <= left), None)
        if row is None:
            continue
        free[row] = left + width
        y = 1.75 + 0.62 * row
        axes.plot([x, x], [1.36, y], color=ARM_COLOURS[arm.index % 8], linewidth=0.5, alpha=0.6)
        axes.text(left, y, text, fontsize=7.5, in_layout=False)
