"""Latency and goodput against load, with the knee marked."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from rich import box
from rich.console import Console
from rich.table import Table

from harness.report.style import (
    ARM_COLOURS,
    ARM_DASHES,
    ARM_MARKERS,
    BAD,
    INK,
    MUTED,
    PAPER,
    Plot,
    finish,
    legend,
    legend_height_in,
    new_figure,
)
from harness.report.text import DASH, interval, ms, percent, plural
from harness.verdicts import capacity as verdict
from harness.verdicts.capacity import CapacityAnswer
from harness.verdicts.load import Load
from harness.verdicts.rules.within import Within

_LINES = (
    ("TTFT p50", "ttft_p50_ms"), ("TTFT p95", "ttft_p95_ms"), ("gap p95", "gap_p95_ms"),
)  # fmt: skip
_SHOWN = {
    verdict.UNDECIDED: "",
    verdict.GOOD: "good",
    verdict.BAD: "bad",
    verdict.INVALID: "invalid",
}
_SIGNS = {verdict.GOOD: "o", verdict.UNDECIDED: "D", verdict.BAD: "X"}


def plot_load(loads: Sequence[Load], answer: CapacityAnswer, objectives: Sequence[Within],
              goal: float) -> Plot:  # fmt: skip
    """Latencies above, goodput with its interval below, over the number of streams."""
    figure = new_figure("Latency against load", 4.6 + legend_height_in(4, 4))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    measured = [load for load in loads if load.point.goodput is not None]
    _draw_latencies(upper, measured)
    _draw_limits(upper, objectives)
    _draw_goodput(lower, measured, goal)
    for axes in (upper, lower):
        _draw_knee(axes, answer)
    legend(upper, columns=4)
    return finish("capacity", "Latency against load", _caption(loads, answer, objectives, goal),
                  figure)  # fmt: skip


def _draw_latencies(axes: Axes, loads: Sequence[Load]) -> None:
    for index, (label, field) in enumerate(_LINES):
        drawn = [(load.point.streams, getattr(load, field)) for load in loads]
        drawn = [(streams, value) for streams, value in drawn if value is not None]
        if drawn:
            axes.plot(*zip(*drawn, strict=True), color=ARM_COLOURS[index], label=label,
                      linestyle=ARM_DASHES[index], marker=ARM_MARKERS[index], markersize=5,
                      markeredgecolor=PAPER)  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.set_ylabel("ms")


def _draw_limits(axes: Axes, objectives: Sequence[Within]) -> None:
    """A line for each limit of a metric that is drawn, in its colour."""
    for index, metric in ((1, "ttft_ms"), (2, "gap_ms")):
        for rule in objectives:
            if rule.metric.name == metric and rule.high is not None:
                axes.axhline(rule.high, color=ARM_COLOURS[index], linewidth=0.9, alpha=0.6,
                             linestyle=ARM_DASHES[2])  # fmt: skip


def _draw_goodput(axes: Axes, loads: Sequence[Load], goal: float) -> None:
    for load in loads:
        point = load.point
        assert point.goodput is not None  # noqa: S101 only such are drawn
        assert point.interval is not None  # noqa: S101 likewise
        colour = BAD if point.status == verdict.BAD else INK
        axes.plot([point.streams] * 2, [100 * end for end in point.interval], color=colour,
                  linewidth=1.2, marker="_", markersize=6)  # fmt: skip
        axes.plot([point.streams], [100 * point.goodput], _SIGNS[point.status], color=colour,
                  markersize=6, markerfacecolor=PAPER if point.status == "undecided" else colour,
                  markeredgecolor=colour)  # fmt: skip
    axes.axhline(100 * goal, color=MUTED, linewidth=0.9, linestyle=ARM_DASHES[2])
    axes.set_ylim(-4, 104)
    axes.set(xlabel="concurrent streams", ylabel="goodput, %")
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw_knee(axes: Axes, answer: CapacityAnswer) -> None:
    """From the last number shown good to the first shown bad; a line where one is unknown."""
    ends = [end for end in (answer.largest_good, answer.smallest_bad) if end is not None]
    if len(ends) == 2:
        axes.axvspan(ends[0], ends[1], color=MUTED, alpha=0.16, linewidth=0, label="knee")
    elif ends:
        axes.axvline(ends[0], color=MUTED, linewidth=1.2, label="knee")


def _caption(loads: Sequence[Load], answer: CapacityAnswer, objectives: Sequence[Within],
             goal: float) -> str:  # fmt: skip
    sessions = sum(load.point.sessions for load in loads)
    limits = ", ".join(rule.text for rule in objectives)
    return (
        f"{answer.why[0].upper()}{answer.why[1:]}. Objectives, kept by {percent(goal)} of the"
        f" sessions: {limits}. {plural(sessions, 'session')} count at"
        f" {plural(len(loads), 'number')} of streams. Above: latencies, dotted their limits. Below:"
        " goodput with the interval that decides; round: shown good, diamond: undecided, cross:"
        " shown bad. Shaded: between the last number shown good and the first shown bad."
    )


def print_load(loads: Sequence[Load], answer: CapacityAnswer, console: Console) -> None:
    """A row for each number of streams, then the answer."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for header in ("streams", "shown", "goodput", "", "TTFT p50", "p95", "gap p95", "n"):
        table.add_column(header, justify="left" if header == "shown" else "right", no_wrap=True)
    for load in loads:
        point = load.point
        table.add_row(
            str(point.streams), _SHOWN[point.status], percent(point.goodput),
            interval(point.interval, percent) or DASH, ms(load.ttft_p50_ms), ms(load.ttft_p95_ms),
            ms(load.gap_p95_ms), str(point.sessions),
        )  # fmt: skip
    console.print(table)
    console.print(f"Capacity: {answer.why}.", markup=False)
