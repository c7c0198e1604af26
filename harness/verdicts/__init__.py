"""Verdicts: is the run valid, and does it meet the rules of its gate?

``rules`` parses what a gate asks and says what the clips show for and against each rule, one file a
kind; ``gates`` decides. ``baselines`` keeps
reference runs, ``calibration`` knows this machine's noise, ``sequential`` when to stop repeating.
All of it is pure: clips in, verdict out; files are read and written by ``baselines`` and
``calibration`` only.
"""

from __future__ import annotations

# Worst last: the status of several rules, or of several arms, is the worst of them.
SEVERITY = ("none", "pass", "inconclusive", "invalid", "fail")
EXIT_CODES = {"none": 0, "pass": 0, "inconclusive": 4, "invalid": 4, "fail": 3}


def worst(statuses: list[str]) -> str:
    """The status that decides; ``none`` for no status at all."""
    return max(statuses, key=SEVERITY.index, default="none")


def exit_code(status: str) -> int:
    """0 pass or nothing to judge, 3 a gate failed, 4 invalid or inconclusive."""
    return EXIT_CODES[status]
