"""Plots of how a figure is distributed: empirical CDFs with bands, and paired differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from harness.metrics import Distribution
from harness.report.arms import Arm
from harness.report.instrument import NOT_RECORDED, WATCHED, in_words, label_of, values_of
from harness.report.style import (
    ARM_COLOURS,
    ARM_DASHES,
    GRID,
    MUTED,
    NoPlot,
    Plot,
    finish,
    legend,
    legend_height_in,
    new_figure,
)
from harness.report.text import ms, n_of, plural, shorten
from harness.stats.estimates import percentile

Floats = NDArray[np.float64]

_CURVE_POINTS = 400  # a curve of more samples is drawn through this many of its quantiles
_BAND_POINTS = 120
_RESAMPLES = 500
_AXIS_QUANTILE = 0.995  # the axis ends just beyond it; what lies further is counted in the caption


def ttft_ecdf(arms: Sequence[Arm]) -> Plot | NoPlot:
    return _ecdf(
        arms,
        "ttft_ms",
        name="ttft",
        title="Time to first text (TTFT)",
        axis="TTFT: request to the first chunk the client sees, ms",
        share="share of sessions",
        missing="A curve that ends below 100 % shows sessions that never got any text.",
        of_sessions=True,
    )


def gaps_ecdf(arms: Sequence[Arm]) -> Plot | NoPlot:
    return _ecdf(
        arms,
        "gap_ms",
        name="gaps",
        title="Gaps between chunks",
        axis="time from one chunk to the next, as the client saw them, ms",
        share="share of gaps",
        missing="A chunk of many words counts as one gap; its time is never spread over its words.",
        of_sessions=False,
    )


def _ecdf(
    arms: Sequence[Arm],
    metric: str,
    *,
    name: str,
    title: str,
    axis: str,
    share: str,
    missing: str,
    of_sessions: bool,
) -> Plot | NoPlot:
    drawn = [(arm, _groups(arm, metric)) for arm in arms]
    drawn = [(arm, groups) for arm, groups in drawn if any(len(group) for group in groups)]
    if not drawn:
        return NoPlot(name, title, "no session of any arm has this figure")
    pooled = [np.sort(np.concatenate(groups)) for _, groups in drawn]
    low = min(0.0, *(float(values[0]) for values in pooled))
    high = max(float(np.quantile(values, _AXIS_QUANTILE)) for values in pooled)
    high = high * 1.04 if high > low else low + 1.0
    beyond = sum(int((values > high).sum()) for values in pooled)

    columns = 1 if len(drawn) <= 3 else 2
    figure = new_figure(title, 2.6 + legend_height_in(len(drawn), columns))
    axes: Axes = figure.subplots()
    grid = np.linspace(low, high, _BAND_POINTS)
    for (arm, groups), values in zip(drawn, pooled, strict=True):
        total = len(arm.clips) if of_sessions else len(values)
        colour, dash = ARM_COLOURS[arm.index % 8], ARM_DASHES[arm.index % 8]
        band = _band(groups, grid, share_shown=len(values) / total)
        if band is not None:
            axes.fill_between(grid, *band, color=colour, alpha=0.14, linewidth=0, step="post")
        x, y = _steps(values, total, low, high)
        axes.plot(
            x, y, color=colour, linestyle=dash, drawstyle="steps-post",
            label=_ecdf_label(arm, metric, values, total, of_sessions=of_sessions),
        )  # fmt: skip
        if (middle := _stated(arm, metric).p50) is not None and len(values) * 2 >= total:
            axes.plot([middle], [0.5], marker="o", color=colour, markersize=5)
    axes.set(xlim=(low, high), ylim=(0, 1.015), xlabel=axis, ylabel=share)
    axes.yaxis.set_major_formatter(lambda y, _: f"{100 * y:.0f} %")
    axes.axhline(0.5, color=GRID, linewidth=1.2, zorder=0.5)
    legend(axes, columns=columns)
    caption = (
        f"{_ecdf_words(drawn, metric, pooled)} Dots: medians. Bands: 95 %, by"
        f" bootstrap over clips, pointwise. {missing}"
    )
    if beyond:
        caption += f" {plural(beyond, 'value')} beyond the axis, the largest"
        caption += f" {ms(max(float(values[-1]) for values in pooled))}."
    return finish(name, title, caption, figure)


def _groups(arm: Arm, metric: str) -> list[Floats]:
    """The values of each clip, over its repeats."""
    by_clip: dict[str, list[float]] = {}
    for clip in arm.clips.values():
        value = clip.figure(metric)
        group = by_clip.setdefault(clip.clip, [])
        if isinstance(value, tuple):
            group.extend(value)
        elif value is not None:
            group.append(value)
    return [np.array(group) for group in by_clip.values()]


def _steps(values: Floats, total: int, low: float, high: float) -> tuple[Floats, Floats]:
    """The curve's corners, thinned to quantiles where there are more than can be seen."""
    rank = np.arange(1, len(values) + 1)
    if len(values) > _CURVE_POINTS:
        keep = np.unique(np.linspace(0, len(values) - 1, _CURVE_POINTS).round().astype(int))
        values, rank = values[keep], rank[keep]
    inside = values <= high
    x, y = values[inside], rank[inside] / total
    return np.concatenate([[low], x, [high]]), np.concatenate([[0.0], y, y[-1:]])


def _band(groups: list[Floats], grid: Floats, share_shown: float) -> tuple[Floats, Floats] | None:
    """Pointwise 95 % band of the curve when whole clips are drawn again; None with one clip."""
    if len(groups) < 2:
        return None
    counts = np.array(
        [np.searchsorted(np.sort(group), grid, side="right") for group in groups], float
    )
    sizes = np.array([len(group) for group in groups], float)
    weights = np.random.default_rng(0).multinomial(
        len(groups), np.full(len(groups), 1 / len(groups)), size=_RESAMPLES
    )
    shares = (weights @ counts) / np.maximum(weights @ sizes, 1)[:, None] * share_shown
    low, high = np.quantile(shares, [0.025, 0.975], axis=0)
    return low, high


def _ecdf_label(arm: Arm, metric: str, values: Floats, total: int, *, of_sessions: bool) -> str:
    n = n_of(len(values), total) if of_sessions else f"{len(values):,}"
    return f"{shorten(arm.label, 24)}   p50 {ms(_stated(arm, metric).p50)}   n = {n}"


def _ecdf_words(
    drawn: Sequence[tuple[Arm, list[Floats]]], metric: str, pooled: list[Floats]
) -> str:
    parts = []
    for (arm, _), values in zip(drawn, pooled, strict=True):
        stated = _stated(arm, metric)
        parts.append(
            f"{arm.label}: median {ms(stated.p50)}, p95 {ms(stated.p95)},"
            f" n = {n_of(len(values), stated.of)}"
        )
    return "; ".join(parts) + "."


def _stated(arm: Arm, metric: str) -> Distribution:
    """What the run's summary says, so that a plot never says anything else."""
    stated = arm.summary.metrics[metric]
    assert isinstance(stated, Distribution)  # noqa: S101 a latency always is
    return stated


def paired_differences(arms: Sequence[Arm]) -> Plot | NoPlot:
    """Per clip: mean TTFT over repeats of each arm, less that of the first arm."""
    name, title = "paired", "The same clip in both arms: difference in TTFT"
    if len(arms) < 2:
        return NoPlot(name, title, "there is one arm only")
    base, *others = arms
    rows = [(arm, _paired(base, arm)) for arm in others]
    if not any(len(values) for _, values in rows):
        return NoPlot(name, title, "no clip has a TTFT in both arms")
    figure = new_figure(title, 0.75 + 0.62 * len(rows))
    axes: Axes = figure.subplots()
    jitter = np.random.default_rng(0)
    for row, (arm, values) in enumerate(rows):
        if not len(values):
            continue
        colour = ARM_COLOURS[arm.index % 8]
        y = row + jitter.uniform(-0.2, 0.2, len(values)) * min(1, len(values) / 8)
        axes.scatter(values, y, s=22, color=colour, alpha=max(0.25, min(0.75, 40 / len(values))),
                     linewidth=0, rasterized=len(values) > 1000)  # fmt: skip
        middle = percentile(values, 0.5)
        axes.plot([middle, middle], [row - 0.33, row + 0.33], color=colour, linewidth=2.5)
    axes.axvline(0, color=MUTED, linewidth=1.2)
    axes.set_yticks(range(len(rows)), [f"{arm.label}\n- {base.label}" for arm, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel(f"difference in TTFT, ms    (right of zero: later than {base.label})")
    axes.grid(visible=False, axis="y")
    words = "; ".join(
        f"{arm.label} - {base.label}: median {percentile(values, 0.5):+,.1f} ms, later on"
        f" {n_of(int((values > 0).sum()), len(values))} clips"
        for arm, values in rows
        if len(values)
    )
    caption = f"{words}. One dot a clip (mean over its repeats in each arm); bar: median."
    return finish(name, title, caption, figure)


def _paired(base: Arm, arm: Arm) -> Floats:
    ours, theirs = _clip_means(arm), _clip_means(base)
    return np.array([ours[clip] - theirs[clip] for clip in theirs if clip in ours])


def _clip_means(arm: Arm) -> dict[str, float]:
    by_clip: dict[str, list[float]] = {}
    for clip in arm.clips.values():
        if clip.ttft_ms is not None:
            by_clip.setdefault(clip.clip, []).append(clip.ttft_ms)
    return {clip: sum(values) / len(values) for clip, values in by_clip.items()}


def instrument_plot(arms: Sequence[Arm]) -> Plot | NoPlot:
    """One panel a figure of the instrument: its empirical CDF, a curve an arm."""
    name, title = "send_lateness", "How exact was the instrument itself?"
    values = {watched: [(arm, values_of(arm, watched)) for arm in arms] for watched in WATCHED}
    drawn = [watched for watched in WATCHED if any(found for _, found in values[watched])]
    if not drawn:
        return NoPlot(name, title, NOT_RECORDED)
    columns = 1 if len(arms) == 1 else 2 if len(arms) > 3 else len(arms)
    figure = new_figure(title, 2.1 + (legend_height_in(len(arms), columns) if arms[1:] else 0))
    panels: NDArray[Any] = figure.subplots(1, len(drawn), sharey=True, squeeze=False)[0]
    for panel, watched in zip(panels, drawn, strict=True):
        _draw_ecdf(panel, [(arm, np.sort(found)) for arm, found in values[watched] if found])
        panel.set_xlabel(f"{label_of(watched).lower()}, ms")
    panels[0].set_ylabel("share of values")
    panels[0].yaxis.set_major_formatter(lambda y, _: f"{100 * y:.0f} %")
    if arms[1:] and len(drawn) == 1:
        legend(panels[0], columns=columns)
    elif arms[1:]:
        handles = {
            label: handle
            for panel in panels
            for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
        }
        figure.legend(handles.values(), handles.keys(), loc="outside lower left", ncols=columns)
    words = [
        f"{label_of(watched)} ({WATCHED[watched]}): {in_words(arms, watched)}."
        for watched in WATCHED
    ]
    words.append("Latencies count from the instant a frame was due, so send lateness is in them.")
    return finish(name, title, " ".join(words), figure)


def _draw_ecdf(axes: Axes, found: Sequence[tuple[Arm, Floats]]) -> None:
    low = min(0.0, *(float(values[0]) for _, values in found))
    high = max(float(np.quantile(values, _AXIS_QUANTILE)) for _, values in found)
    high = high * 1.04 if high > low else low + 1.0
    for arm, values in found:
        x, y = _steps(values, len(values), low, high)
        axes.plot(x, y, color=ARM_COLOURS[arm.index % 8], linestyle=ARM_DASHES[arm.index % 8],
                  drawstyle="steps-post", label=shorten(arm.label, 24))  # fmt: skip
    axes.set(xlim=(low, high), ylim=(0, 1.015))
