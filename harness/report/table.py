"""The headline table: one place where page, Markdown and terminal take their figures from."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from harness.events import SessionKind
from harness.metrics import Distribution, Ratio
from harness.metrics.comparison import Difference
from harness.metrics.metric import Metric
from harness.metrics.registry import all_metrics
from harness.report.arms import Arm
from harness.report.text import TIMES, interval, ms, ms_signed, percent, points, with_unit
from harness.runs.records import Summary


class Cell(msgspec.Struct, frozen=True):
    """One figure of one arm."""

    value: float | None
    ci95: tuple[float | None, float | None] | None
    n: int
    of: int
    why_null: str | None  # why there is no value


class Row(msgspec.Struct, frozen=True):
    metric: str
    statistic: str
    label: str
    unit: str  # ms, 1 for shares, or whatever the metric says
    cells: tuple[Cell, ...]  # one an arm
    differences: tuple[Difference | None, ...]  # of each arm to the first; None: the first itself

    def show(self, value: float | None) -> str:
        if self.unit == "ms":
            return ms(value)
        return percent(value) if self.unit == "1" else with_unit(value, self.unit)

    def show_difference(self, difference: Difference | None) -> str:
        """``+76.2 ms [70.1, 82.0]``; empty where there is none."""
        if difference is None or difference.difference is None:
            return ""
        show = {"ms": ms_signed, "1": points}.get(self.unit) or (
            lambda value: with_unit(value, self.unit, signed=True)
        )
        bounds = interval(difference.difference_ci95, show)
        return f"{show(difference.difference)} {bounds}".strip()

    def show_interval(self, bounds: tuple[float | None, float | None] | None) -> str:
        return interval(bounds, self.show)


def headline(arms: Sequence[Arm]) -> list[Row]:
    """The rows that exist in at least one arm; of the two error rates, the one that is told.

    Metrics of text that is taken back only where an arm shows such text.
    """
    told = error_label(arms).lower()
    rows = [
        _row(arms, metric, statistic)
        for metric in all_metrics()
        for statistic in metric.headline
        if metric.name not in {"wer", "cer"} - {told}
    ]
    return [row for row in (*rows, _streaming_penalty(arms, told)) if row is not None]


def _streaming_penalty(arms: Sequence[Arm], rate: str) -> Row | None:
    """What it costs in errors to write while somebody speaks, on the same clips."""
    found = [
        next((d for d in arm.comparison.streaming_penalty if d.metric == rate), None)
        if arm.comparison is not None
        else None
        for arm in arms
    ]
    if all(one is None or one.difference is None for one in found):
        return None
    cells = tuple(
        Cell(None, None, 0, 0, "of live sessions less turn sessions")
        if one is None
        else Cell(one.difference, one.difference_ci95, one.clips, one.of, one.why_null)
        for one in found
    )
    return Row("streaming_penalty", "value", "Streaming penalty", "1", cells, (None,) * len(arms))


def _row(arms: Sequence[Arm], metric: Metric, statistic: str) -> Row | None:
    found = [arm.summary.metrics.get(metric.name) for arm in arms]
    known = [figure for figure in found if figure is not None]
    cells = tuple(_cell(figure, statistic) for figure in found)
    live = any(arm.summary.arm.get("session") == SessionKind.LIVE for arm in arms)
    if not any(cell.n for cell in cells) or (metric.only_live and not live):
        return None
    if metric.if_taken_back and not any(clip.takes_back for a in arms for clip in a.run.clips):
        return None
    differences = tuple(arm.difference(metric.name, statistic) for arm in arms)
    label = metric.label if statistic == "value" else f"{metric.label} {statistic}"
    return Row(metric.name, statistic, label, known[0].unit, cells, differences)


def _cell(figure: Distribution | Ratio | None, statistic: str) -> Cell:
    match figure:
        case Distribution():
            return Cell(
                value=getattr(figure, statistic),
                ci95=figure.ci95.get(statistic),
                n=figure.n,
                of=figure.of,
                why_null=figure.why_null.get(statistic),
            )
        case Ratio():
            n, of = (figure.words, figure.words) if figure.words else (figure.n, figure.of)
            return Cell(figure.value, figure.ci95, n, of, figure.why_null)
        case None:
            return Cell(None, None, 0, 0, "not measured")


def error_label(arms: Sequence[Arm]) -> str:
    """``WER``, or ``CER`` where the arms' texts are of scripts without spaces."""
    return "CER" if any(arm.summary.error_rate == "cer" for arm in arms) else "WER"


def error_rate(summary: Summary) -> Ratio | None:
    """The error rate that is told of a run; None: it was not measured."""
    figure = summary.metrics.get(summary.error_rate)
    return figure if isinstance(figure, Ratio) else None


def error_words(summary: Summary) -> str:
    """``5 errors in 119 words: 3 substituted, 1 deleted, 1 inserted``; or why there are none."""
    figure = error_rate(summary)
    if figure is None or figure.value is None:
        return figure.why_null or "" if figure is not None else ""
    wrong = figure.substitutions + figure.deletions + figure.insertions
    unit = "characters" if summary.error_rate == "cer" else "words"
    return (
        f"{wrong} errors in {figure.words:,} {unit}: {figure.substitutions} substituted,"
        f" {figure.deletions} deleted, {figure.insertions} inserted"
    )


def show_ratio(difference: Difference | None) -> str:
    return (
        "" if difference is None or difference.ratio is None else f"{TIMES}{difference.ratio:.2f}"
    )
