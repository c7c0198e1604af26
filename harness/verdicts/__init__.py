"""Verdicts: may what was measured be relied on, and does it keep what was promised?

``rules`` parses what a gate asks; ``evidence`` says what the clips show for and against each rule;
``gates`` decides; ``validity`` says whether the run may be judged at all. ``baselines`` keeps
reference runs, ``calibration`` knows this machine's noise, ``sequential`` when to stop repeating.
All of it is pure: clips in, verdict out; files are read and written by ``baselines`` and
``calibration`` only.
"""

from __future__ import annotations

import msgspec

# Worst last: the status of several rules, or of several arms, is the worst of them.
SEVERITY = ("none", "pass", "inconclusive", "invalid", "fail")
EXIT_CODES = {"none": 0, "pass": 0, "inconclusive": 4, "invalid": 4, "fail": 3}


class RuleVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """One rule of a gate."""

    rule: str  # as it was written
    status: str  # pass | fail | inconclusive | invalid | none (not asked of this arm)
    why: str  # one sentence: what was seen against what was allowed
    next: str = ""  # what to do about it; empty when it passed
    observed: float | None = None  # in `unit`; for a comparison: the change, or the factor
    limit: float | None = None  # what was allowed
    old: float | None = None  # a comparison: the figure of the baseline or of the other arm
    new: float | None = None  # a comparison: the same figure of this arm
    unit: str = "1"
    interval: tuple[float | None, float | None] | None = None  # of the observed value
    interval_confidence: float | None = None
    n: int = 0  # samples
    clips: int = 0  # clips that the samples come from


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A gate's answer for one arm, as it stands in ``summary.json``."""

    status: str  # the worst of its rules
    gate: str = "none"
    confidence: float | None = None  # a wrong PASS, or any wrong FAIL, has at most the rest
    rules: tuple[RuleVerdict, ...] = ()
    baseline: str | None = None  # the name of what it was compared with
    allowed: tuple[str, ...] = ()  # mismatches with the baseline that were allowed by hand


def worst(statuses: list[str]) -> str:
    """The status that decides; ``none`` for no status at all."""
    return max(statuses, key=SEVERITY.index, default="none")


def exit_code(status: str) -> int:
    """0 pass or nothing to judge, 3 a gate failed, 4 invalid or inconclusive."""
    return EXIT_CODES[status]
