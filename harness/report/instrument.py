"""How exact the instrument itself was: what the harness added to, or could not see of, a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from harness.metrics import Distribution
from harness.metrics.instrument import loop_lateness_ms
from harness.report.arms import Arm
from harness.report.distributions import AXIS_QUANTILE, steps
from harness.report.style import (
    ARM_COLOURS,
    ARM_DASHES,
    NoPlot,
    Plot,
    finish,
    legend,
    legend_height_in,
    new_figure,
)
from harness.report.text import ms, shorten
from harness.stats.estimates import percentile

# Metric -> what it tells, in the order in which a session meets them.
WATCHED = {
    "send_lateness_ms": "frames sent after they were due",
    "loop_lag_ms": "event loop late for what was due",
    "receipt_error_ms": "how late a receipt may have been stamped",
}
NOT_RECORDED = "not recorded"


class InstrumentFigure(msgspec.Struct, frozen=True):
    """One figure of the instrument, of every arm."""

    name: str  # of the metric
    label: str  # `Send lateness`
    what: str
    arms: tuple[str, ...]  # `p50 0.12 ms, p95 0.34 ms`, or that it was not recorded


def instrument(arms: Sequence[Arm]) -> list[InstrumentFigure]:
    return [
        InstrumentFigure(name, label_of(name), what, tuple(_words(arm, name) for arm in arms))
        for name, what in WATCHED.items()
    ]


def label_of(name: str) -> str:
    return name.removesuffix("_ms").replace("_", " ").capitalize()


def values_of(arm: Arm, name: str) -> list[float]:
    """All values of an arm, in ms; empty where the run did not record it."""
    if name == "loop_lag_ms":  # every tick, not the largest of each session
        return [late for trace in arm.traces.values() for late in loop_lateness_ms(trace)]
    return arm.values(name)


def _words(arm: Arm, name: str) -> str:
    stated = arm.summary.metrics.get(name)
    if isinstance(stated, Distribution) and stated.n and name != "loop_lag_ms":
        p50, p95, largest, n = stated.p50, stated.p95, stated.max, stated.n
    elif values := values_of(arm, name):
        p50, p95 = percentile(values, 0.5), percentile(values, 0.95)
        largest, n = max(values), len(values)
    else:
        return NOT_RECORDED
    return f"p50 {ms(p50)}, p95 {ms(p95)}, max {ms(largest)}; n = {n:,}"


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
        _draw(panel, [(arm, np.sort(found)) for arm, found in values[watched] if found])
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
        f"{label_of(watched)} ({WATCHED[watched]}): {_all_arms(arms, watched)}."
        for watched in WATCHED
    ]
    words.append("Latencies count from the instant a frame was due, so send lateness is in them.")
    return finish(name, title, " ".join(words), figure)


def _all_arms(arms: Sequence[Arm], watched: str) -> str:
    words = [_words(arm, watched) for arm in arms]
    if len(set(words)) == 1:
        return words[0]
    return "; ".join(f"{arm.label} {said}" for arm, said in zip(arms, words, strict=True))


def _draw(axes: Axes, found: Sequence[tuple[Arm, NDArray[np.float64]]]) -> None:
    low = min(0.0, *(float(values[0]) for _, values in found))
    high = max(float(np.quantile(values, AXIS_QUANTILE)) for _, values in found)
    high = high * 1.04 if high > low else low + 1.0
    for arm, values in found:
        x, y = steps(values, len(values), low, high)
        axes.plot(x, y, color=ARM_COLOURS[arm.index % 8], linestyle=ARM_DASHES[arm.index % 8],
                  drawstyle="steps-post", label=shorten(arm.label, 24))  # fmt: skip
    axes.set(xlim=(low, high), ylim=(0, 1.015))
