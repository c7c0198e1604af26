"""The summary after ``run`` and ``compare``, for a terminal of any width, or a pipe."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.events import SessionKind
from harness.machine.environment import CLEAN
from harness.metrics import Distribution
from harness.metrics.registry import all_metrics
from harness.report.arms import Arm
from harness.report.table import Row, error_rate, error_words, headline, show_ratio
from harness.report.text import DASH, TIMES, interval, ms, n_of, percent, plural, shorten
from harness.runs.records import Summary
from harness.text import visible

_STATUS_STYLES = {
    "pass": "bold green", "fail": "bold red", "invalid": "bold red", "inconclusive": "bold yellow",
    "none": "dim",
}  # fmt: skip
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_GUTTER = 2  # blanks between columns
_BAR_WIDTHS = (4, 24)
_LEAST_NAME = 8  # characters that are left of an arm's name before a column is left out
_ALWAYS = ("", "arm", "p50", "value", "n")  # never left out, however narrow the terminal


def print_summary(summary: Summary, console: Console, *, folder: Path, next_step: str) -> None:
    """Print one run.

    Args:
        folder: where it lies.
        next_step: the command a reader is likely to want next.
    """
    arm = " · ".join(visible(value) for value in _said(summary).values())
    size = f"{plural(summary.clips, 'clip')} {TIMES} {summary.repeats}"
    facts = _facts()
    facts.add_row(summary.error_rate.upper(), _error_rate(summary))
    facts.add_row("Verdict", _verdict(summary))
    facts.add_row("Trust", _trust(summary))
    _add_notices(facts, summary)
    _add_end(facts, folder, next_step)
    _print(console, *_head(arm, size), _latencies(summary, console), Text(), facts)


def print_comparison(
    arms: Sequence[Arm], console: Console, *, folder: Path, next_step: str
) -> None:
    """Print two or more arms, figure by figure, differences counted from the first arm."""
    first = arms[0].summary
    shared = [
        visible(value)
        for key, value in _said(first).items()
        if all(arm.summary.arm.get(key) == value for arm in arms)
    ]
    size = f"{plural(first.clips, 'clip')} {TIMES} {first.repeats}, {plural(len(arms), 'arm')}"
    facts = _facts()
    for arm in arms:
        facts.add_row(arm.label, Text.assemble(_verdict(arm.summary), " · ", _trust(arm.summary)))
        _add_notices(facts, arm.summary)
    for arm in arms[1:]:
        if (same := arm.comparison) is not None:
            text = f"the same in {n_of(same.same_text, same.sessions)} sessions"
            facts.add_row("Text", f"{text} of {arm.label} and {arms[0].label}")
    _add_end(facts, folder, next_step)
    _print(console, *_head(" · ".join(shared), size), _comparison(arms, console), Text(), facts)


def _said(summary: Summary) -> dict[str, str]:
    """The choices of an arm; conditions only where something was changed."""
    return {
        key: value for key, value in summary.arm.items() if (key, value) != ("conditions", CLEAN)
    }


def _print(console: Console, *renderables: RenderableType) -> None:
    console.print(Group(*renderables), highlight=False, markup=False, emoji=False)


def _head(left: str, right: str) -> tuple[RenderableType, ...]:
    line = Table.grid(expand=True)
    line.add_column(ratio=1)
    line.add_column(justify="right", no_wrap=True)
    line.add_row(Text(left, style="bold"), Text(right, style="dim"))
    return Text(), line, Text()


def _facts() -> Table:
    facts = Table.grid(padding=(0, _GUTTER, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    return facts


def _add_notices(facts: Table, summary: Summary) -> None:
    for notice in summary.validity:
        facts.add_row("", Text(visible(notice), style="red"))
    for notice in summary.warnings:
        facts.add_row("", Text(visible(notice), style="yellow"))


def _add_end(facts: Table, folder: Path, next_step: str) -> None:
    facts.add_row("Folder", Text(visible(str(folder)), style="cyan"))
    facts.add_row("Next", Text(visible(next_step)))


def _latencies(summary: Summary, console: Console) -> Table:
    shown = [
        (metric.label, figure)
        for metric in all_metrics()
        if metric.summarised
        and isinstance(figure := summary.metrics.get(metric.name), Distribution)
        and (figure.n or metric.name == "ttft_ms")
        and (not metric.only_live or summary.arm["session"] == SessionKind.LIVE)
    ]
    longest = max((abs(figure.p50 or 0.0) for _, figure in shown), default=0.0)
    rows = [
        [label, ms(figure.p50), ms(figure.p95), ms(figure.max), _n(figure.n, figure.of)]
        for label, figure in shown
    ]
    shares = [(figure.p50 or 0.0) / (longest or 1.0) for _, figure in shown]
    table = _with_bars(("", "p50", "p95", "max", "n"), rows, shares, console, after=2)
    missing = [
        f"no {label} {statistic}: {visible(figure.why_null[statistic])}"
        for label, figure in shown
        for statistic in ("p50", "p95")
        if statistic in figure.why_null
    ]
    _add_caption(table, missing)
    return table


def _comparison(arms: Sequence[Arm], console: Console) -> Table:
    figures = headline(arms)
    shares: list[float] = []
    for row in figures:
        longest = max((abs(cell.value or 0.0) for cell in row.cells), default=0.0)
        shares += [(cell.value or 0.0) / (longest or 1.0) for cell in row.cells]
    headers, *rows = _figures_for(console.width, figures, [arm.label for arm in arms])
    return _with_bars(headers, rows, shares, console, after=3)


def _figures_for(width: int, figures: Sequence[Row], labels: Sequence[str]) -> list[list[str]]:
    """Headers and rows in which the differences have room, if there can be any.

    As far as needed, in this order: the ratios are left out, names are shortened, intervals get a
    line of their own, the differences are left out.
    """
    longest = max(map(len, labels))
    for without, below in ((1, False), (1, True), (2, False)):
        for size in range(longest, min(longest, _LEAST_NAME) - 1, -1):
            first = shorten(_names(labels, min(size, 20))[0], 20)
            lines = _figures(figures, first, _names(labels, size), interval_below=below)
            columns = list(zip(*lines, strict=True))
            if _width([*columns[: 5 - without], columns[5]]) <= width:
                return lines
    return lines


def _figures(
    figures: Sequence[Row], first: str, names: Sequence[str], *, interval_below: bool
) -> list[list[str]]:
    lines = [["", "arm", "value", f"- {first}", "ratio", "n"]]
    for row in figures:
        label = row.label
        for name, cell, difference in zip(names, row.cells, row.differences, strict=True):
            shown = row.show_difference(difference)
            lines.append([
                label, name, row.show(cell.value),
                shown.replace(" [", "\n[") if interval_below else shown,
                show_ratio(difference), _n(cell.n, cell.of),
            ])  # fmt: skip
            label = ""
    return lines


def _names(names: Sequence[str], size: int) -> list[str]:
    """Names of at most so many characters, as different as they were.

    They lose their middles, cut where they stay different. Where there is no such place, each is
    whole, on several lines.
    """
    for end in sorted(range(1, size - 1), key=lambda end: abs(2 * end - size)):
        cut = [n if len(n) <= size else f"{n[: size - end - 1]}…{n[-end:]}" for n in names]
        if len(set(cut)) == len(set(names)):
            return cut
    return ["\n".join(textwrap.wrap(name, size)) for name in names]


def _with_bars(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    shares: Sequence[float],
    console: Console,
    *,
    after: int,
) -> Table:
    """A table with a column of bars behind column ``after``, as wide as there is room.

    Where there is none, columns are left out from the right, and the caption names them.

    Args:
        shares: 0..1 of the longest bar, one a row.
    """
    columns = list(zip(headers, *rows, strict=True))
    left_out: list[str] = []
    for column in [column for column in reversed(columns) if column[0] not in _ALWAYS]:
        if _width(columns) > console.width:
            columns.remove(column)
            left_out.insert(0, column[0])
    room = console.width - _width(columns)
    headers, *rows = zip(*columns, strict=True)
    table = Table(box=None, padding=(0, _GUTTER, 0, 0), header_style="dim", pad_edge=False)
    room -= _GUTTER
    least, most = _BAR_WIDTHS
    bars = min(room, most) if room >= least else 0
    for index, header in enumerate(headers):
        if bars and index == after:
            table.add_column("", no_wrap=True)
        left = header in ("", "arm")
        table.add_column(header, justify="left" if left else "right", no_wrap=True)
    for row, share in zip(rows, shares, strict=True):
        cells = [Text(cell) for cell in row]
        if bars:
            cells.insert(after, _bar(share, bars, ascii_only=console.options.ascii_only))
        table.add_row(*cells)
    if left_out:
        _add_caption(table, [f"no room for: {', '.join(left_out)}"])
    return table


def _add_caption(table: Table, lines: Sequence[str]) -> None:
    said = [str(table.caption)] if table.caption else []
    table.caption = Text("\n".join([*said, *lines]), style="dim") if said or lines else None
    table.caption_justify = "left"


def _width(columns: Sequence[Sequence[str]]) -> int:
    lines = [[line for cell in column for line in cell.split("\n")] for column in columns]
    return sum(max(map(cell_len, column)) + _GUTTER for column in lines)


def _bar(share: float, width: int, *, ascii_only: bool) -> Text:
    length = min(1.0, max(0.0, share)) * width
    if ascii_only:
        return Text("#" * round(length), style="blue")
    full, part = divmod(round(length * 8), 8)
    return Text("█" * full + _EIGHTHS[part].strip(), style="blue")


def _n(n: int, of: int) -> str:
    return f"{n:,}" if n == of else n_of(n, of)


def _error_rate(summary: Summary) -> Text:
    figure = error_rate(summary)
    if figure is None or figure.value is None:
        why = figure.why_null if figure is not None else None
        return Text(f"{DASH} {visible(why or 'not measured')}")
    bounds = interval(figure.ci95, percent)
    return Text(f"{percent(figure.value)} {bounds}   {error_words(summary)}")


def _verdict(summary: Summary) -> Text:
    status = summary.verdict.status
    rules = summary.verdict.rules  # what became of each is listed below the table
    if status == "none":
        return Text("no gate was asked for", style="dim")
    text = Text().append(status.upper(), style=_STATUS_STYLES.get(status, ""))
    asked = [rule.status for rule in rules if rule.status != "none"]
    if asked:
        text.append(f"  {asked.count('pass')} of {plural(len(asked), 'rule')} pass", style="dim")
    return text


def _trust(summary: Summary) -> Text:
    text = Text()
    if summary.validity:
        text.append("INVALID", "bold red")
    else:
        text.append("valid", "green")
    marks = {
        "simulated time": summary.simulated,
        "made worse on purpose": summary.injected,
        "random weights": summary.random_weights,
    }
    for mark, set_ in marks.items():
        if set_:
            text.append(f" · {mark}", style="yellow")
    if summary.failed:
        text.append(f" · {plural(summary.failed, 'session')} failed", style="red")
    text.append(f" · harness floor {ms(summary.harness_floor_ms)}")
    lateness = summary.metrics.get("send_lateness_ms")
    if isinstance(lateness, Distribution) and lateness.p50 is not None:
        name = "p99" if lateness.p99 is not None else "max"
        text.append(
            f" · send lateness p50 {ms(lateness.p50)}, {name} {ms(getattr(lateness, name))}"
        )
    return text
