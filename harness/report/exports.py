"""``report.md`` for pull requests and ``comparison.csv`` for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from harness.metrics import Distribution, Ratio
from harness.metrics.comparison import Difference
from harness.report.arms import Arm
from harness.report.drawn import NoPlot, Plot
from harness.report.table import Row, headline, show_ratio, wer_words
from harness.report.text import DASH, TIMES, judged_by, ms, n_of, plural
from harness.text import csv_cell, escape_markdown

_STATISTICS = ("mean", "p50", "p90", "p95", "p99", "max")


def markdown(arms: Sequence[Arm], plots: Sequence[Plot | NoPlot]) -> str:
    first = arms[0].summary
    names = " against ".join(escape_markdown(arm.label) for arm in arms)
    lines = [f"# {names}", ""]
    for arm in arms:
        lines.append(f"- **{escape_markdown(arm.label)}**: {_verdict(arm)}")
        lines += [f"  - {escape_markdown(notice)}" for notice in _notices(arm)]
    setting = ", ".join(
        f"{key} {escape_markdown(first.arm.get(key, DASH))}"
        for key in ("dataset", "model", "session")
    )
    size = f"{plural(first.clips, 'clip')} {TIMES} {plural(first.repeats, 'repeat')}"
    lines += ["", f"{size}; {setting}. In brackets: 95 % interval."]
    if len(arms) > 1:
        lines.append(f"Second lines: difference to {escape_markdown(arms[0].label)}, and ratio.")
    lines.append("")
    lines += [*_table(arms, headline(arms)), ""]
    lines += [
        f"- {escape_markdown(arm.label)}: {words}."
        for arm in arms
        if (words := wer_words(arm.summary.metrics.get("wer")))
    ]
    for plot in plots:
        if isinstance(plot, Plot):
            lines += ["", f"## {escape_markdown(plot.title)}", ""]
            lines += [f"![{escape_markdown(plot.title)}](plots/{plot.name}.png)", ""]
            lines += [escape_markdown(plot.caption)]
    return "\n".join(lines) + "\n"


def _verdict(arm: Arm) -> str:
    summary = arm.summary
    status = str(summary.verdict.get("status", "none")).upper()
    by = f" {by}" if (by := escape_markdown(judged_by(summary.verdict))) else ""
    parts = ["no gate was asked for" if status == "NONE" else status + by]
    parts.append("INVALID" if summary.validity else "valid")
    if summary.failed:
        parts.append(f"{summary.failed} sessions failed")
    parts.append(f"harness floor {ms(summary.harness_floor_ms)}")
    return ", ".join(parts)


def _notices(arm: Arm) -> list[str]:
    return [*arm.summary.validity, *arm.summary.warnings]


def _table(arms: Sequence[Arm], rows: Sequence[Row]) -> list[str]:
    """Arms as columns."""
    head = ["", *(escape_markdown(arm.label) for arm in arms)]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * len(arms)]
    for row in rows:
        cells = [
            f"{row.show(cell.value)} {row.show_interval(cell.ci95)}".strip()
            + (f" ({n_of(cell.n, cell.of)})" if cell.n != cell.of else "")
            + (f"<br>{shown} {show_ratio(d)}" if (shown := row.show_difference(d)) else "")
            for cell, d in zip(row.cells, row.differences, strict=True)
        ]
        lines.append("| " + " | ".join([row.label, *cells]) + " |")
    return lines


def comparison_csv(arms: Sequence[Arm]) -> str:
    """One line an arm, metric and statistic; every digit that the JSON files have.

    Differences and ratios are to the first arm, paired over the clips that both have.
    """
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(
        ("arm", "metric", "statistic", "unit", "value", "ci95_low", "ci95_high", "n", "of",
         "difference", "difference_ci95_low", "difference_ci95_high",
         "ratio", "ratio_ci95_low", "ratio_ci95_high")
    )  # fmt: skip
    for arm in arms:
        for metric, figure in arm.summary.metrics.items():
            for statistic, value, bounds in _figures(figure):
                ends, n = bounds or (None, None), _n_of(figure)
                out.writerow(
                    (*map(csv_cell, (arm.label, metric, statistic, figure.unit)), value, *ends, *n,
                     *_compared(arm.difference(metric, statistic)))
                )  # fmt: skip
    return text.getvalue()


def _n_of(figure: Distribution | Ratio) -> tuple[int, int]:
    words = figure.words if isinstance(figure, Ratio) else 0
    return (words, words) if words else (figure.n, figure.of)


def _compared(difference: Difference | None) -> tuple[float | None, ...]:
    if difference is None:
        return (None,) * 6
    nothing = (None, None)
    return (
        difference.difference, *(difference.difference_ci95 or nothing),
        difference.ratio, *(difference.ratio_ci95 or nothing),
    )  # fmt: skip


_Bounds = tuple[float | None, float | None] | None


def _figures(figure: Distribution | Ratio) -> list[tuple[str, float | None, _Bounds]]:
    if isinstance(figure, Ratio):
        return [("value", figure.value, figure.ci95)]
    return [(name, getattr(figure, name), figure.ci95.get(name)) for name in _STATISTICS]
