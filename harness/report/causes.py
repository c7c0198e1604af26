"""Plots of where the time went: budget, word delay and its causes, drift over the run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from harness.events import SessionKind, Trace
from harness.metrics.instants import audio_ns, shown_words
from harness.metrics.statistics import percentile
from harness.metrics.words import match_words
from harness.report.arms import Arm
from harness.report.style import (
    ARM_COLOURS,
    ARM_DASHES,
    ARM_MARKERS,
    BAD,
    INK,
    MUTED,
    NoPlot,
    Plot,
    finish,
    legend,
    legend_height_in,
    new_figure,
)
from harness.report.text import ms, n_of, shorten

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
    figure.supxlabel("ms after the request, mean over sessions", fontsize=9)
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
        axes.text(max(end, 0), row, f" {ms(value)}", va="center", fontsize=8, color=INK)
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
            f"{arm.label}: the parts add up to a mean TTFT of {ms(total)}, and close within"
            f" max(1 %, 0.5 ms) on {n_of(closed, len(with_budget))} sessions"
            f" ({n_of(len(with_budget), len(arm.clips))} have a budget)"
        )
    return (
        "; ".join(words) + ". Same axis in every panel. hold: what the chunking strategy cost;"
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
        f"{'; '.join(words)}. Points: sessions; lines: medians of tenths of the run; a red cross on"
        " the axis: a failed session. Arms that are interleaved share whatever drift there is."
    )
    return finish(name, title, caption, figure)


def _thin(count: int) -> NDArray[np.int_]:
    return np.unique(np.linspace(0, count - 1, min(count, _MOST_POINTS)).round().astype(int))


def word_delay(arms: Sequence[Arm]) -> Plot | NoPlot:
    """Live sessions: how far the text is behind the speech, and for which reason."""
    name, title = "word_delay", "How far the text is behind the speech"
    found = [(arm, _word_delays(arm)) for arm in arms]
    found = [(arm, delays) for arm, delays in found if len(delays)]
    if not found:
        return NoPlot(name, title, "only in live sessions of clips with word timings")
    figure = new_figure(title, 2.5)
    panels: NDArray[Any] = figure.subplots(1, len(found), sharex=True, sharey=True, squeeze=False)[
        0
    ]
    words = []
    for panel, (arm, delays) in zip(panels, found, strict=True):
        colour = ARM_COLOURS[arm.index % 8]
        at_s, total, engine = delays.T
        shown = _thin(len(at_s))
        panel.scatter(at_s[shown], total[shown], s=9, color=colour, alpha=0.3, linewidth=0,
                      rasterized=len(shown) > 1000)  # fmt: skip
        blocks = np.array_split(np.argsort(at_s, kind="stable"), min(_BLOCKS, len(at_s)))
        middle_s = [at_s[block].mean() for block in blocks]
        by_engine = np.array([percentile(engine[block], 0.5) for block in blocks])
        in_all = np.array([percentile(total[block], 0.5) for block in blocks])
        panel.fill_between(middle_s, 0, by_engine, color=MUTED, alpha=0.25, linewidth=0)
        panel.plot(middle_s, by_engine, color=MUTED, linewidth=1.2)
        panel.plot(middle_s, in_all, color=colour)
        panel.axhline(0, color=INK, linewidth=0.8)
        panel.set_title(shorten(arm.label, 22), color=colour)
        slopes = arm.values("lag_slope_ms_per_min")
        words.append(
            f"{arm.label}: median {ms(percentile(total, 0.5))} from the end of a word to the"
            f" client, of which {ms(percentile(total - engine, 0.5))} held back by chunking;"
            + (f" slope {percentile(slopes, 0.5):+,.0f} ms a minute;" if slopes else "")
            + f" n = {len(total):,} words"
        )
    panels[0].set_ylabel("word delay, ms")
    figure.supxlabel("when the word was spoken: seconds of audio", fontsize=9)
    caption = (
        f"{'. '.join(words)}. Points: words whose match in the reference is known; lines: medians"
        " of tenths. Grey, below its line: the engine's part (model delay, compute); between the"
        " lines: held by chunking."
    )
    return finish(name, title, caption, figure)


def _word_delays(arm: Arm) -> Floats:
    """[matched words, 3]: spoken at [s], delay to the client [ms], to the engine's token [ms]."""
    rows: list[tuple[float, float, float]] = []
    for trace in arm.traces.values():
        if trace.session.kind is SessionKind.LIVE and trace.session.words and not trace.failed:
            rows += _session_delays(trace)
    return np.array(rows, float).reshape(-1, 3)


def _session_delays(trace: Trace) -> list[tuple[float, float, float]]:
    said, heard = trace.session.words, shown_words(trace)
    pairs = match_words([word.text for word in said], [word.text for word in heard])
    return [
        (
            said[i].end_s,
            (heard[j].shown_ns - audio_ns(trace, said[i].end_s)) / 1e6,
            (min(heard[j].whole_ns, heard[j].shown_ns) - audio_ns(trace, said[i].end_s)) / 1e6,
        )
        for i, j in pairs
    ]
