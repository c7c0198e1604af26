"""``report.md`` for pull requests and ``comparison.csv`` for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from harness.metrics import Distribution, Ratio
from harness.metrics.comparison import Difference
from harness.report.arms import Arm
from harness.report.drawn import NoPlot, Plot
from harness.report.facts import facts, marks
from harness.report.instrument import instrument
from harness.report.table import Row, error_words, headline, show_ratio
from harness.report.text import DASH, TIMES, judged_by, ms, n_of, plural
from harness.report.verdict import NO_GATE, Card, card, word
from harness.text import csv_cell, escape_markdown

_STATISTICS = ("mean", "p50", "p90", "p95", "p99", "max")


def markdown(arms: Sequence[Arm], plots: Sequence[Plot | NoPlot]) -> str:
    """The verdict first, then figures, then plots."""
    first = arms[0].summary
    names = " against ".join(escape_markdown(arm.label) for arm in arms)
    judged = card(arms)
    title = names if judged.status == NO_GATE else f"{judged.short}: {names}"
    lines = [f"# {title}", ""]
    for mark in marks(arms):
        lines += [f"> **{escape_markdown(mark)}**", ""]
    lines += _rules(arms, judged)
    for arm in arms:
        lines.append(f"- **{escape_markdown(arm.label)}**: {_verdict(arm)}")
        lines += [f"  - {escape_markdown(notice)}" for notice in _notices(arm)]
    setting = ", ".join(
        f"{key} {escape_markdown(first.arm.get(key, DASH))}"
        for key in ("dataset", "model", "session")
    )
    size = f"{plural(first.clips, 'clip')} {TIMES} {plural(first.repeats, 'repeat')}"
    made = "; ".join(f"{name} {escape_markdown(value)}" for name, value in facts(arms))
    lines += ["", f"{size}; {setting}; {made}. In brackets: 95 % interval."]
    if len(arms) > 1:
        lines.append(f"Second lines: difference to {escape_markdown(arms[0].label)}, and ratio.")
    lines.append("")
    lines += [*_table(arms, headline(arms)), ""]
    lines += [
        f"- {escape_markdown(arm.label)}: {words}."
        for arm in arms
        if (words := error_words(arm.summary))
    ]
    for plot in plots:
        if isinstance(plot, Plot):
            lines += ["", f"## {escape_markdown(plot.title)}", ""]
            lines += [f"![{escape_markdown(plot.title)}](plots/{plot.name}.png)", ""]
            lines += [escape_markdown(plot.caption)]
    return "\n".join(lines) + "\n"


def _rules(arms: Sequence[Arm], judged: Card) -> list[str]:
    """Every rule that was asked, the failing ones first."""
    rows = [row for row in (*judged.open, *judged.rest) if row.status != NO_GATE]
    if not rows:
        return []
    lines = [f"{judged.counts}.", ""]
    many = len(arms) > 1
    head = ["verdict", *(["arm"] if many else []), "rule", "old", "new", "allowed"]
    lines += ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        cells = [f"**{word(row.status)}**", *([escape_markdown(row.arm)] if many else [])]
        cells += [f"<code>{escape_markdown(row.rule)}</code>"]
        cells += map(escape_markdown, (row.old, row.new, row.allowed))
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    for row in judged.open:
        name = f"{escape_markdown(row.arm)}: " if many else ""
        what_next = f". Next: {escape_markdown(row.next)}" if row.next else ""
        rule = f"<code>{escape_markdown(row.rule)}</code>"
        lines.append(f"- {word(row.status)}: {name}{rule}: {escape_markdown(row.why)}{what_next}")
    return [*lines, ""] if judged.open else lines


def _verdict(arm: Arm) -> str:
    summary = arm.summary
    status = summary.verdict.status.upper()
    by = f" {by}" if (by := escape_markdown(judged_by(summary.verdict))) else ""
    parts = ["no gate was asked for" if status == "NONE" else status + by]
    if not summary.validity:
        parts.append("valid")
    elif status != "INVALID":
        parts.append("INVALID")
    if summary.failed:
        parts.append(f"{summary.failed} sessions failed")
    parts.append(f"harness floor {ms(summary.harness_floor_ms)}")
    parts += [f"{watch.label.lower()} {watch.arms[0]}" for watch in instrument([arm])]
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
