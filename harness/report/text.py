"""Numbers and foreign text as people read them, the same in page, Markdown and terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.runs.records import Verdict
from harness.text import shorten as shorten  # noqa: PLC0414 reports find it here

DASH, TIMES = "\N{EN DASH}", "\N{MULTIPLICATION SIGN}"


def ms(value: float | None, *, signed: bool = False) -> str:
    """Milliseconds at the precision every report states them: 0.12 ms, 9.87 ms, 412.3 ms."""
    if value is None:
        return DASH
    return with_unit(value, "ms", signed=signed)


def with_unit(value: float | None, unit: str, *, signed: bool = False) -> str:
    """A figure in a unit of its own: 2.91 /s, 12.4 MiB."""
    if value is None:
        return DASH
    digits = 2 if abs(value) < 9.995 else 1
    value = round(value, digits) + 0.0  # no minus before a zero
    return f"{value:{'+' if signed else ''},.{digits}f} {unit.removeprefix('1')}".rstrip()


def ms_signed(value: float | None) -> str:
    return ms(value, signed=True)


def percent(value: float | None) -> str:
    """A share as a percentage with one decimal."""
    return DASH if value is None else f"{100 * value:.1f} %"


def points(value: float | None) -> str:
    """A difference of two shares, in percentage points."""
    return DASH if value is None else f"{100 * value:+.1f} pp"


def interval(bounds: Sequence[float | None] | None, show: Callable[[float | None], str]) -> str:
    """``[low, high]`` with the unit left to the value beside it; nothing known: empty.

    Args:
        show: how one end is written, such as :func:`ms`.
    """
    if bounds is None or all(end is None for end in bounds):
        return ""
    low, high = (show(end).rsplit(" ", 1)[0] for end in bounds)
    return f"[{low}, {high}]"


def n_of(n: int, of: int) -> str:
    return f"{n} of {of}"


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def judged_by(verdict: Verdict) -> str:
    """Of a verdict in ``summary.json``: the gate, what it compared with, what was let differ."""
    if verdict.status == "none" or not verdict.rules:
        return ""
    name = verdict.gate
    said = "by rules given by hand" if name == "none" else f"by gate {name}"
    if verdict.baseline:
        said += f", against {verdict.baseline}"
    if allowed := verdict.allowed:
        said += f" (although these differ: {', '.join(allowed)})"
    return said
