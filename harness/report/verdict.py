"""The first card: PASS or FAIL, and the rules that say so, with old value, new value and allowed.

It repeats what was judged (``harness.verdicts``) and decides nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from harness.metrics import Distribution, Ratio
from harness.report.arms import Arm
from harness.report.text import DASH, judged_by, plural
from harness.runs.records import RuleVerdict
from harness.verdicts import SEVERITY, worst
from harness.verdicts.wording import say

NO_GATE = "none"
_COUNTED = ("sessions", "texts")  # units of rules that count exceptions
_LIMIT = re.compile(r"(<=|>=|between|=)\s+(.*)")
_SHOWN_AT_ONCE = ("fail", "invalid", "inconclusive")
_WORDS = {"none": "NO GATE"}


class RuleRow(msgspec.Struct, frozen=True):
    """One rule of one arm, as a reader sees it."""

    arm: str
    index: int  # of the arm: its colour
    status: str  # pass | fail | inconclusive | invalid | none (not asked of this arm)
    rule: str
    old: str  # of the baseline or of the other arm; a dash where there is none
    new: str
    allowed: str
    why: str
    next: str


class Judged(msgspec.Struct, frozen=True):
    """One arm's verdict."""

    arm: str
    index: int
    status: str
    by: str  # `by gate ci, against main`


class Card(msgspec.Struct, frozen=True):
    status: str  # the worst of the arms'
    short: str  # PASS, FAIL, ...
    arms: tuple[Judged, ...]
    why_invalid: tuple[str, ...]
    open: tuple[RuleRow, ...]  # what did not pass, worst first
    rest: tuple[RuleRow, ...]  # what passed or was not asked
    counts: str  # `2 of 6 rules failed`


def card(arms: Sequence[Arm]) -> Card:
    """The verdict on all arms."""
    rows = [row for arm in arms for row in _rows(arm, arms[0])]
    rows.sort(key=lambda row: -SEVERITY.index(row.status))
    judged = tuple(
        Judged(arm.label, arm.index, status_of(arm), judged_by(arm.summary.verdict)) for arm in arms
    )
    status = worst([one.status for one in judged])
    return Card(
        status=status,
        short=word(status),
        arms=judged,
        why_invalid=tuple(
            f"{arm.label}: {notice}" if len(arms) > 1 else notice
            for arm in arms
            for notice in arm.summary.validity
        ),
        open=tuple(row for row in rows if _at_once(arms[row.index], row)),
        rest=tuple(row for row in rows if not _at_once(arms[row.index], row)),
        counts=_counts(rows),
    )


def _at_once(arm: Arm, row: RuleRow) -> bool:
    """Why an arm is not valid is said once for all of its rules."""
    return row.status in _SHOWN_AT_ONCE and not arm.summary.validity


def status_of(arm: Arm) -> str:
    """Of an arm whose run is not valid no rule says anything."""
    if arm.summary.validity:
        return "invalid"
    return arm.summary.verdict.status


def word(status: str) -> str:
    return _WORDS.get(status, status.upper())


def _counts(rows: Sequence[RuleRow]) -> str:
    asked = [row.status for row in rows if row.status != NO_GATE]
    if not asked:
        return ""
    kinds = (("fail", "failed"), ("inconclusive", "undecided"), ("invalid", "not judged"),
             ("pass", "passed"))  # fmt: skip
    said = [f"{asked.count(status)} {what}" for status, what in kinds if status in asked]
    return f"{plural(len(asked), 'rule')}: {', '.join(said)}"


def _rows(arm: Arm, first: Arm) -> list[RuleRow]:
    return [_row(arm, first, rule) for rule in arm.summary.verdict.rules]


def _row(arm: Arm, first: Arm, rule: RuleVerdict) -> RuleRow:
    old, new, allowed = _values(rule, arm, first)
    return RuleRow(
        arm=arm.label,
        index=arm.index,
        status=rule.status,
        rule=rule.rule,
        old=old,
        new=new,
        allowed=allowed,
        why=rule.why,
        next=rule.next,
    )


def _values(rule: RuleVerdict, arm: Arm, first: Arm) -> tuple[str, str, str]:
    """Old value, new value and what was allowed, each in its unit."""
    observed, limit, old, new = rule.observed, rule.limit, rule.old, rule.new
    unit, text = rule.unit, rule.rule
    if old is not None and new is not None and limit is not None:
        return _compared(old, new, limit, unit, faster="times faster" in text)
    if _is_comparison(text):  # judged by a version that kept the change alone
        return DASH, _change(observed, unit), _change(limit, unit, "<= ")
    if unit in _COUNTED:
        shown = [DASH if v is None else plural(int(v), unit.removesuffix("s")) for v in (observed,)]
        return DASH, shown[0], "none"
    found = _LIMIT.search(text)
    allowed = f"{found[1]} {found[2]}" if found else DASH if limit is None else say(limit, unit)
    before = _of_first(text, first) if arm.index else None
    return (
        DASH if before is None else say(before, unit),
        DASH if observed is None else say(observed, unit),
        allowed,
    )


def _is_comparison(rule: str) -> bool:
    return (" vs " in rule and "parity" not in rule) or "_delta" in rule.partition(" ")[0]


def _change(value: float | None, unit: str, before: str = "") -> str:
    if value is None:
        return DASH
    shown = say(value, unit)
    if shown.lstrip("-") == say(0.0, unit):  # no minus before a zero
        shown = say(0.0, unit)
    return before + (shown if shown.startswith("-") else f"+{shown}")


def _compared(
    old: float, new: float, limit: float, unit: str, *, faster: bool
) -> tuple[str, str, str]:
    if faster:  # the unit is that of the factor: only latencies can be faster
        most = f"<= {say(old / limit, 'ms')}" if limit else DASH
        factor = f" ({limit:g} times faster)"
        return say(old, "ms"), say(new, "ms"), most + factor
    return (
        say(old, unit),
        f"{say(new, unit)} ({_change(new - old, unit)})",
        f"<= {say(old + limit, unit)}",
    )


def _of_first(rule: str, first: Arm) -> float | None:
    """The first arm's figure of what a rule `METRIC [STATISTIC] <= ...` is about."""
    metric, _, rest = rule.partition(" ")
    figure = first.summary.metrics.get(metric)
    if isinstance(figure, Ratio):
        return figure.value
    statistic = rest.partition(" ")[0]
    if isinstance(figure, Distribution) and statistic in ("mean", "p50", "p90", "p95", "p99"):
        value = getattr(figure, statistic)
        return value if isinstance(value, float) else None
    return None
