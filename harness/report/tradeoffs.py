"""Plots of what is given up for what: words per chunk, messages, errors."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from harness.chunking import Words, rechunk
from harness.events import Trace
from harness.metrics import Ratio
from harness.metrics.counted import first_word
from harness.metrics.instants import Missing, text_chunks
from harness.metrics.latency import ttft_ms
from harness.report.arms import Arm
from harness.report.style import (
    ARM_COLOURS,
    ARM_MARKERS,
    GRID,
    INK,
    MUTED,
    PAPER,
    NoPlot,
    Plot,
    finish,
    legend,
    legend_height_in,
    new_figure,
)
from harness.report.table import error_label, error_rate, error_words
from harness.report.text import DASH, interval, ms, percent, plural, shorten
from harness.stats.estimates import percentile

Floats = NDArray[np.float64]

_MOST_WORDS = 12
WORDS_TITLE = "What each word of batching costs"


class WhatIf:
    """The first arm's recorded tokens, chunked again by 1 to 12 words."""

    def __init__(self, arm: Arm) -> None:
        traces = [t for t in arm.traces.values() if not t.failed and first_word(t) is not None]
        self.label = arm.label
        self.sessions = len(traces)
        self.audio_s = sum(trace.session.duration_s for trace in traces)
        self.ttft_ms: list[Floats] = []  # per number of words: one value a session
        self.chunks: list[int] = []  # per number of words: non-blank chunks in all
        for words in range(1, _MOST_WORDS + 1):
            ttft, count = [], 0
            for trace in traces:
                chunks = rechunk(trace.tokens, trace.outcome.at_ns, Words(words))
                again = msgspec.structs.replace(trace, chunks=chunks)
                ttft.append(_ttft_ms(again))
                count += len(text_chunks(again))
            self.ttft_ms.append(np.array(ttft))
            self.chunks.append(count)

    def median_ms(self, words: int) -> float:
        return percentile(self.ttft_ms[words - 1], 0.5)

    def messages_per_s(self, words: int) -> float:
        return self.chunks[words - 1] / self.audio_s


def _ttft_ms(trace: Trace) -> float:
    found = ttft_ms(trace)
    assert not isinstance(found, Missing)  # noqa: S101 it has a word
    return found


def words_per_chunk(arms: Sequence[Arm], what_if: WhatIf) -> Plot | NoPlot:
    name, title = "words_per_chunk", WORDS_TITLE
    if not what_if.sessions:
        return NoPlot(name, title, "no session of the first arm finished with a word")
    figure = new_figure(title, 2.7 + legend_height_in(len(arms) + 1, 2))
    axes: Axes = figure.subplots()
    words = np.arange(1, _MOST_WORDS + 1)
    medians = [what_if.median_ms(int(n)) for n in words]
    low, high = ([percentile(values, q) for values in what_if.ttft_ms] for q in (0.05, 0.95))
    axes.fill_between(words, low, high, color=MUTED, alpha=0.16, linewidth=0)
    axes.plot(words, medians, color=MUTED, marker="o", markersize=4, markerfacecolor=PAPER,
              label=f"tokens of {shorten(what_if.label, 24)}, chunked again")  # fmt: skip
    for arm in arms:
        count = _words(arm)
        values = arm.values("ttft_ms")
        if count is None or not values:
            continue
        axes.plot([count], [percentile(values, 0.5)], ARM_MARKERS[arm.index % 8], markersize=9,
                  color=ARM_COLOURS[arm.index % 8], markeredgecolor=PAPER,
                  label=f"{arm.label}, measured", zorder=3)  # fmt: skip
    axes.set_xticks(words)
    axes.set_ylim(0, max(high) * 1.06)
    axes.set(xlabel="whole words per chunk", ylabel="TTFT, ms")
    axes.grid(visible=False, axis="x")
    legend(axes, columns=2)
    step = (medians[-1] - medians[0]) / (_MOST_WORDS - 1)
    caption = (
        f"Median TTFT of {plural(what_if.sessions, 'session')} of {what_if.label}, their recorded"
        f" tokens chunked again: {ms(medians[0])} with 1 word, {ms(medians[5])} with 6,"
        f" {ms(medians[-1])} with 12 ({ms(step, signed=True)} a word); messages a second of audio:"
        f" {what_if.messages_per_s(1):.2f}, {what_if.messages_per_s(6):.2f},"
        f" {what_if.messages_per_s(12):.2f}. Band: 5 to 95 % of the"
        " sessions; it narrows where a clip has fewer words. Large markers: medians measured live."
    )
    return finish(name, title, caption, figure)


def _words(arm: Arm) -> int | None:
    match = re.fullmatch(r"(\d+)word", arm.summary.arm.get("chunking", ""))
    return int(match[1]) if match and int(match[1]) <= _MOST_WORDS else None


def pareto(arms: Sequence[Arm], what_if: WhatIf) -> Plot | NoPlot:
    name, title = "pareto", "Sooner text against more messages"
    if len(arms) == 1:
        return NoPlot(name, title, f"one arm only; {WORDS_TITLE!r} has its messages a second")
    drawn = [(arm, arm.values("ttft_ms")) for arm in arms]
    drawn = [(arm, values) for arm, values in drawn if values]
    if not drawn:
        return NoPlot(name, title, "no session of any arm has a TTFT")
    figure = new_figure(title, 2.7 + legend_height_in(len(drawn) + 1, 2))
    axes: Axes = figure.subplots()
    if what_if.sessions:
        counts = range(1, _MOST_WORDS + 1)
        axes.plot(
            [what_if.messages_per_s(n) for n in counts], [what_if.median_ms(n) for n in counts],
            color=MUTED, marker="o", markersize=4, markerfacecolor=PAPER, linewidth=1,
            label=f"{shorten(what_if.label, 20)} chunked again, 1..{_MOST_WORDS} words",
        )  # fmt: skip
    for arm, values in drawn:
        rate = error_rate(arm.summary)
        error = percent(rate.value) if rate is not None else DASH
        axes.plot([_messages_per_s(arm)], [percentile(values, 0.5)], ARM_MARKERS[arm.index % 8],
                  color=ARM_COLOURS[arm.index % 8], markersize=9, markeredgecolor=PAPER, zorder=3,
                  label=f"{shorten(arm.label, 24)}, {error_label([arm])} {error}")  # fmt: skip
    axes.margins(0.08)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.set(xlabel="messages to the client per second of audio", ylabel="median TTFT, ms")
    legend(axes, columns=2)
    words = "; ".join(
        f"{arm.label}: {_messages_per_s(arm):.2f} messages a second, median TTFT"
        f" {ms(percentile(values, 0.5))}"
        for arm, values in drawn
    )
    caption = f"{words}. Better is lower (sooner text) and further left (fewer messages)."
    return finish(name, title, caption, figure)


def _messages_per_s(arm: Arm) -> float:
    stated = arm.summary.metrics.get("messages_per_s")
    if isinstance(stated, Ratio) and stated.value is not None:
        return stated.value
    # Measured by a version that did not count them.
    clips = [clip for clip in arm.clips.values() if clip.chunks and clip.failed is None]
    return sum(clip.chunks for clip in clips) / sum(clip.duration_s for clip in clips)


def word_errors(arms: Sequence[Arm]) -> Plot | NoPlot:
    name, title = "wer", "Is the text still right?"
    drawn = [
        (arm, rate)
        for arm in arms
        if (rate := error_rate(arm.summary)) is not None and rate.value is not None
    ]
    if len(arms) == 1:
        return NoPlot(name, title, "one arm only; the table of figures has its errors")
    if not drawn:
        return NoPlot(name, title, "no error rate (no reference, or random weights)")
    unit = "character" if error_label(arms) == "CER" else "word"
    figure = new_figure(title, 0.95 + 0.36 * len(drawn) + legend_height_in(1))
    axes: Axes = figure.subplots()
    kinds = (
        ("substituted", "substitutions", "//"), ("deleted", "deletions", "xx"),
        ("inserted", "insertions", ".."),
    )  # fmt: skip
    right = 0.0
    for row, (arm, wer) in enumerate(drawn):
        left = 0.0
        colour = ARM_COLOURS[arm.index % 8]
        for depth, (label, field, hatch) in enumerate(kinds):
            share = 100 * getattr(wer, field) / wer.words
            axes.barh(
                row, share, left=left, height=0.6, color=colour, alpha=(0.9, 0.6, 0.3)[depth],
                hatch=hatch, edgecolor=PAPER, linewidth=0, label=label if row == 0 else None,
            )  # fmt: skip
            left += share
        if wer.ci95 is not None and None not in wer.ci95:
            ends = [100 * (end or 0.0) for end in wer.ci95]
            axes.plot(ends, [row, row], color=INK, linewidth=1.2, marker="|", markersize=7)
            left = max(left, *ends)
        stated = f"  {percent(wer.value)} {interval(wer.ci95, percent)}"
        axes.text(left, row, stated, va="center", fontsize=9)
        right = max(right, left)
    axes.set_yticks(range(len(drawn)), [shorten(arm.label, 24) for arm, _ in drawn])
    axes.set(xlim=(0, max(right * 1.3, 1.0)), ylim=(len(drawn) - 0.5, -0.5))
    axes.set_xlabel(f"{unit} errors per 100 reference {unit}s, %")
    axes.grid(visible=False, axis="y")
    axes.axvline(0, color=GRID)
    legend(axes, columns=3)
    words = "; ".join(f"{arm.label}: {error_words(arm.summary)}" for arm, _ in drawn)
    caption = (
        f"{words}. Whiskers: 95 % interval, bootstrap over clips. Failed clips: all deletions."
    )
    return finish(name, title, caption, figure)
