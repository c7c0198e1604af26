"""The summary after ``run`` and ``compare``, for a terminal of any width, or a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.metrics import Distribution, Ratio, Summary
from harness.report.arms import Arm
from harness.report.table import Row, headline, wer_words
from harness.report.text import DASH, TIMES, interval, ms, n_of, percent, plural, visible

_STATUS_STYLES = {
    "pass": "bold green", "fail": "bold red", "invalid": "bold red", "inconclusive": "bold yellow",
    "none": "dim",
}  # fmt: skip
_LATENCIES = {
    "ttft_ms": "TTFT", "first_token_ms": "First token", "gap_ms": "Gaps", "hold_ms": "Hold",
    "response_ms": "Response", "final_ms": "Final text", "word_delay_ms": "Word delay",
}  # fmt: skip
_EIGHTHS = " ▏▎▍▌▋▊▉█"


def print_summary(summary: Summary, console: Console, *, folder: Path, next_step: str) -> None:
    """Print one run.

    Args:
        folder: where it lies.
        next_step: the command a reader is likely to want next.
    """
    arm = " · ".join(visible(value) for value in summary.arm.values())
    size = f"{plural(summary.clips, 'clip')} {TIMES} {summary.repeats}"
    _head(console, arm, size)
    _print(console, _latencies(summary, console), Text())
    facts = _facts()
    facts.add_row("WER", _wer(summary))
    facts.add_row("Verdict", _verdict(summary))
    facts.add_row("Trust", _trust(summary))
    for notice in (*summary.validity, *summary.warnings):
        facts.add_row("", Text(visible(notice), style="yellow"))
    facts.add_row("Folder", Text(visible(str(folder)), style="cyan"))
    facts.add_row("Next", Text(visible(next_step)))
    _print(console, facts)


def print_comparison(
    arms: Sequence[Arm], console: Console, *, folder: Path, next_step: str
) -> None:
    """Print two or more arms, figure by figure, differences counted from the first arm."""
    first = arms[0].summary
    shared = [
        value
        for key, value in first.arm.items()
        if all(arm.summary.arm.get(key) == value for arm in arms)
    ]
    size = f"{plural(first.clips, 'clip')} {TIMES} {first.repeats}, {plural(len(arms), 'arm')}"
    _head(console, " · ".join(visible(value) for value in shared), size)
    _print(console, _rows(arms, headline(arms), console), Text())
    facts = _facts()
    for arm in arms:
        verdict = Text.assemble(_verdict(arm.summary), " · ", _trust(arm.summary))
        facts.add_row(arm.label, verdict)
        for notice in (*arm.summary.validity, *arm.summary.warnings):
            facts.add_row("", Text(visible(notice), style="yellow"))
    facts.add_row("Folder", Text(visible(str(folder)), style="cyan"))
    facts.add_row("Next", Text(visible(next_step)))
    _print(console, facts)


def _print(console: Console, *renderables: RenderableType) -> None:
    console.print(Group(*renderables), highlight=False, markup=False, emoji=False)


def _head(console: Console, left: str, right: str) -> None:
    line = Table.grid(expand=True)
    line.add_column(ratio=1)
    line.add_column(justify="right", no_wrap=True)
    line.add_row(Text(left, style="bold"), Text(right, style="dim"))
    _print(console, Text(), line, Text())


def _facts() -> Table:
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    return facts


def _table(*headers: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for header in headers:
        left = header in ("", "arm", "bar")
        table.add_column(
            "" if header == "bar" else header, justify="left" if left else "right",
            no_wrap=True,
        )  # fmt: skip
    return table


def _latencies(summary: Summary, console: Console) -> Table:
    table = _table("", "p50", "bar", "p95", "max", "n")
    shown = [
        (label, figure)
        for metric, label in _LATENCIES.items()
        if isinstance(figure := summary.metrics.get(metric), Distribution)
        and (figure.n or metric == "ttft_ms")
    ]
    longest = max((abs(figure.p50) for _, figure in shown if figure.p50 is not None), default=0.0)
    for label, figure in shown:
        table.add_row(
            label,
            ms(figure.p50),
            _bar(figure.p50, longest, _bar_width(console, 58), console),
            ms(figure.p95),
            ms(figure.max),
            _n(figure.n, figure.of),
        )
    for label, figure in shown:
        for statistic in ("p50", "p95"):
            if getattr(figure, statistic) is None and (why := figure.why_null.get(statistic)):
                table.caption = f"no {label} {statistic}: {visible(why)}"
    table.caption_justify = "left"
    return table


def _rows(arms: Sequence[Arm], rows: Sequence[Row], console: Console) -> Table:
    table = _table("", "arm", "value", "95 % interval", "bar", "n")
    width = _bar_width(console, 40 + max(len(arm.label) for arm in arms) + 16)
    for row in rows:
        longest = max((abs(cell.value) for cell in row.cells if cell.value is not None), default=0)
        for arm, cell in zip(arms, row.cells, strict=True):
            table.add_row(
                row.label if arm.index == 0 else "",
                arm.label,
                row.show(cell.value),
                row.show_interval(cell.ci95),
                _bar(cell.value, longest, width, console),
                _n(cell.n, cell.of),
            )
    return table


def _n(n: int, of: int) -> str:
    return f"{n:,}" if n == of else n_of(n, of)


def _bar_width(console: Console, others: int) -> int:
    """What the other columns leave, within reason."""
    return max(0, min(24, console.width - others))


def _bar(value: float | None, longest: float, width: int, console: Console) -> Text:
    if value is None or longest <= 0 or width < 3:
        return Text("")
    length = max(0.0, value) / longest * width
    if console.options.ascii_only:
        return Text("#" * round(length), style="blue")
    full, part = divmod(round(length * 8), 8)
    return Text("█" * full + _EIGHTHS[part].strip(), style="blue")


def _wer(summary: Summary) -> Text:
    figure = summary.metrics.get("wer")
    if not isinstance(figure, Ratio) or figure.value is None:
        why = figure.why_null if isinstance(figure, Ratio) else None
        return Text(f"{DASH} {visible(why or 'not measured')}")
    bounds = interval(figure.ci95, percent)
    return Text(f"{percent(figure.value)} {bounds}   {wer_words(figure)}")


def _verdict(summary: Summary) -> Text:
    status = str(summary.verdict.get("status", "none"))
    rules = summary.verdict.get("rules")
    text = Text().append(status.upper(), style=_STATUS_STYLES.get(status, ""))
    if status == "none":
        return text.append("  no gate was asked for", style="dim")
    if isinstance(rules, list):
        unmet = [rule for rule in rules if rule["status"] != "pass"]
        text.append(
            f"  {len(rules) - len(unmet)} of {plural(len(rules), 'rule')} pass", style="dim"
        )
        for rule in unmet:
            text.append(f"\n{rule['status']}: {visible(rule['rule'])}")
            text.append(f"  {visible(str(rule.get('why', '')))}", style="dim")
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
