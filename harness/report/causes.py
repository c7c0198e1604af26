"""Plots of where the time went: budget, word delay and its causes, drift over the run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from harness.events import SessionKind
from harness.metrics import Ratio
from harness.metrics.instants import Missing
from harness.metrics.live import WordDelay, word_delays
from harness.report.arms import Arm
from harness.report.style import (
    ARM_COLOURS,
    ARM_DASHES,
    ARM_MARKERS,
    BAD,
    GRID,
    INK,
    MUTED,
    NoPlot,
    Plot,
    finish,
    legend,
    legend_height_in,
    new_figure,
)
from harness.report.text import DASH, interval, ms, n_of, plural, shorten
from harness.stats.estimates import percentile

Floats = NDArray[np.float64]

_MOST_POINTS = 4000  # more are thinned evenly: they would only cover each other
_BLOCKS = 10  # of a run, for its drift


def latency_budget(arms: Sequence[Arm]) -> Plot | NoPlot:
    """Mean of every part over the sessions that have a budget; means add up to the mean TTFT."""
    name, title = "budget", "Where the time to first text goes"
    budgets = [
        [clip.budget_ms for clip in arm.clips.values() if clip.budget_ms is not None]
        for arm in arms
    ]
    if not any(budgets):
        reasons = {clip.why_null.get("budget_ms") for arm in arms for clip in arm.clips.values()}
        return NoPlot(name, title, "; ".join(sorted(r for r in reasons if r)) or "no budget")
    parts = list(dict.fromkeys(part for arm in budgets for budget in arm for part in budget))
    parts.sort(key=lambda part: part in ("hold", "delivery", "unattributed"))  # last, in this order
    columns = min(len(arms), 4)
    rows = math.ceil(len(arms) / columns)
    figure = new_figure(title, rows * (0.62 + 0.2 * (len(parts) + 1)))
    panels: NDArray[Any] = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    totals = []
    for panel, arm, rows_ms in zip(panels.flat, arms, budgets, strict=False):
        means = [
            sum(budget.get(p, 0.0) for budget in rows_ms) / max(1, len(rows_ms)) for p in parts
        ]
        totals.append(sum(means))
        _waterfall(panel, arm, means)
    right = max(totals) * (1.28 if columns < 3 else 1.5)  # room for the figures beside the bars
    for panel in panels.flat:
        panel.set_xlim(0, right)
        panel.set_yticks(range(len(parts) + 1), [*parts, "TTFT"])
        panel.set_ylim(len(parts) + 0.6, -0.6)
        panel.grid(visible=False, axis="y")
    for panel in list(panels.flat)[len(arms) :]:
        panel.set_axis_off()
    axis = "ms after the request, mean over sessions"
    if len(arms) == 1:
        panels[0, 0].set_xlabel(axis)
    else:
        figure.supxlabel(axis, fontsize=9)
    return finish(name, title, _budget_caption(arms, totals), figure)


def _waterfall(axes: Axes, arm: Arm, means: list[float]) -> None:
    colour = ARM_COLOURS[arm.index % 8]
    ends = np.cumsum(means)
    starts = ends - means
    axes.barh(range(len(means)), means, left=starts, color=colour, alpha=0.55, height=0.68)
    axes.barh(len(means), ends[-1], color=colour, height=0.68)
    for row in range(len(means) - 1):
        axes.plot([ends[row]] * 2, [row - 0.34, row + 1.34], color=MUTED, linewidth=0.6)
    for row, (end, value) in enumerate(zip([*ends, ends[-1]], [*means, ends[-1]], strict=True)):
        axes.text(max(end, 0), row, f" {ms(value)}", va="center", fontsize=8, color=INK,
                  in_layout=False)  # fmt: skip
    axes.set_title(shorten(arm.label, 22), color=colour)


def _budget_caption(arms: Sequence[Arm], totals: Sequence[float]) -> str:
    words = []
    for arm, total in zip(arms, totals, strict=True):
        with_budget = [clip for clip in arm.clips.values() if clip.budget_ms is not None]
        closed = sum(
            abs((clip.budget_ms or {}).get("unattributed", 0.0)) <= max(0.01 * clip.ttft_ms, 0.5)
            for clip in with_budget
            if clip.ttft_ms is not None
        )
        words.append(
            f"{arm.label}: mean TTFT {ms(total)}, closed on {n_of(closed, len(with_budget))}"
            f" sessions, n = {n_of(len(with_budget), len(arm.clips))}"
        )
    return (
        "; ".join(words) + ". Closed: the parts add up to the TTFT within max(1 %, 0.5 ms). Same"
        " axis in every panel. hold: until the word was whole and its chunk full;"
        " unattributed: time that no span of the engine covers."
    )


def drift(arms: Sequence[Arm]) -> Plot | NoPlot:
    name, title = "drift", "Latency over the course of the run"
    if not any(arm.values("ttft_ms") for arm in arms):
        return NoPlot(name, title, "no session of any arm has a TTFT")
    columns = 1 if len(arms) <= 3 else 2
    figure = new_figure(title, 2.3 + legend_height_in(len(arms), columns))
    axes: Axes = figure.subplots()
    words = []
    for arm in arms:
        colour = ARM_COLOURS[arm.index % 8]
        clips = sorted(arm.clips.values(), key=lambda clip: clip.order)
        known = [(clip.order, clip.ttft_ms) for clip in clips if clip.ttft_ms is not None]
        if not known:
            continue
        order, ttft = np.array(known, float).T
        shown = _thin(len(order))
        axes.scatter(order[shown], ttft[shown], s=13, color=colour, alpha=0.35, linewidth=0,
                     marker=ARM_MARKERS[arm.index % 8], rasterized=len(shown) > 1000)  # fmt: skip
        blocks = [b for b in np.array_split(np.arange(len(order)), _BLOCKS) if len(b)]
        middle = [percentile(ttft[block], 0.5) for block in blocks]
        axes.plot([order[block].mean() for block in blocks], middle, color=colour,
                  linestyle=ARM_DASHES[arm.index % 8], label=arm.label)  # fmt: skip
        failed = [clip.order for clip in clips if clip.failed is not None]
        if failed:
            axes.plot(failed, [0.0] * len(failed), "x", color=BAD, markersize=5, clip_on=False)
        change = percentile(ttft[blocks[-1]], 0.5) - percentile(ttft[blocks[0]], 0.5)
        words.append(f"{arm.label}: last tenth {ms(change, signed=True)} against the first, "
                     f"n = {n_of(len(order), len(clips))}")  # fmt: skip
    axes.margins(y=0.08)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.set(xlabel="order in which the sessions were replayed, all arms", ylabel="TTFT, ms")
    legend(axes, columns=columns)
    caption = (
        f"{'; '.join(words)}.{_memory_words(arms)} Points: sessions; lines: medians of tenths of"
        " the run; a red cross on the axis: a failed session. Interleaved arms drift together."
    )
    return finish(name, title, caption, figure)


def _memory_words(arms: Sequence[Arm]) -> str:
    """What the measuring process held; arms that shared it say so once."""
    said = [(arm.label, words) for arm in arms if (words := _memory_of(arm))]
    if not said:
        return ""
    same = len(said) == len(arms) and len({words for _, words in said}) == 1
    held = said[0][1] if same else "; ".join(f"{label}: {words}" for label, words in said)
    return f" Memory of the process: {held}."


def _memory_of(arm: Arm) -> str:
    most = arm.summary.metrics.get("memory_mib")
    slope = arm.summary.metrics.get("memory_slope_mib_per_min")
    if not isinstance(most, Ratio) or not isinstance(slope, Ratio) or most.value is None:
        return ""
    if slope.value is None:
        return f"{most.value:,.0f} MiB at most; no slope: {slope.why_null}"
    bounds = interval(slope.ci95, lambda end: DASH if end is None else f"{end:+,.1f}")
    return f"{most.value:,.0f} MiB at most, {slope.value:+,.1f} MiB a minute {bounds}"


def _thin(count: int) -> NDArray[np.int_]:
    return np.unique(np.linspace(0, count - 1, min(count, _MOST_POINTS)).round().astype(int))


def word_delay(arms: Sequence[Arm]) -> Plot | NoPlot:
    """Live sessions: how far the text is behind the speech, and for which reason."""
    name, title = "word_delay", "How far the text is behind the speech"
    found = [(arm, _word_delays(arm)) for arm in arms]
    found = [(arm, words) for arm, words in found if words]
    if not found:
        return NoPlot(name, title, "only in live sessions of clips with word timings")
    columns = min(len(found), 4)
    rows = math.ceil(len(found) / columns)
    figure = new_figure(title, 0.8 + 2.0 * rows)
    panels: NDArray[Any] = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for panel, (arm, words) in zip(panels.flat, found, strict=False):
        _delay_panel(panel, arm, words)
    for panel in list(panels.flat)[len(found) :]:
        panel.set_axis_off()
    for panel in panels[-1]:
        panel.set_xlabel("spoken at, s of audio")
    handles = panels.flat[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower left", ncols=5, handlelength=1.2)
    figure.supylabel("word delay, ms", fontsize=9)
    caption = (
        f"{' '.join(_delay_words(arm, words) for arm, words in found)} Points: reference words"
        " whose counterpart in the text is known. Areas: means of tenths of the words, by cause,"
        " which add up to the line, their mean delay."
    )
    return finish(name, title, caption, figure)


# Why a word was late, in the order in which it happens -> how the plot says it.
_CAUSES = {
    "wait_ms": "engine waits for audio",
    "compute_ms": "engine computes",
    "hold_ms": "held by chunking",
    "delivery_ms": "delivery",
}


def _word_delays(arm: Arm) -> list[WordDelay]:
    found: list[WordDelay] = []
    for trace in arm.traces.values():
        if trace.session.kind is SessionKind.LIVE and not trace.failed:
            delays = word_delays(trace)
            found += [] if isinstance(delays, Missing) else delays
    return sorted(found, key=lambda word: word.end_s)


def _delay_panel(axes: Axes, arm: Arm, words: Sequence[WordDelay]) -> None:
    colour = ARM_COLOURS[arm.index % 8]
    at_s = np.array([word.end_s for word in words])
    delay = np.array([word.delay_ms for word in words])
    blocks = np.array_split(np.arange(len(words)), min(_BLOCKS, len(words)))
    middle_s = [float(at_s[block].mean()) for block in blocks]
    below = np.zeros(len(blocks))
    styles = ((GRID, 1.0), (MUTED, 0.45), (colour, 0.35), (colour, 0.7))
    for (cause, label), (shade, alpha) in zip(_CAUSES.items(), styles, strict=True):
        values = np.array([getattr(word, cause) for word in words])
        above = below + [float(values[block].mean()) for block in blocks]
        axes.fill_between(
            middle_s, below, above, color=shade, alpha=alpha, linewidth=0, label=label
        )
        below = above
    axes.plot(middle_s, below, color=colour, label="delay")
    shown = _thin(len(words))
    axes.scatter(at_s[shown], delay[shown], s=7, color=colour, alpha=0.3, linewidth=0,
                 rasterized=len(shown) > 1000)  # fmt: skip
    axes.axhline(0, color=INK, linewidth=0.8)
    axes.set_title(shorten(arm.label, 22), color=colour)


def _delay_words(arm: Arm, words: Sequence[WordDelay]) -> str:
    means = [
        f"{ms(sum(getattr(word, cause) for word in words) / len(words))} {label}"
        for cause, label in _CAUSES.items()
    ]
    slopes = arm.values("lag_slope_ms_per_min")
    grows = "."
    if slopes:
        grows += f" Slope, median of sessions: {percentile(slopes, 0.5):+,.0f} ms a minute."
    mean = sum(word.delay_ms for word in words) / len(words)
    return (
        f"{arm.label}: mean delay {ms(mean)} of {plural(len(words), 'word')}:"
        f" {', '.join(means)}{grows}"
    )
