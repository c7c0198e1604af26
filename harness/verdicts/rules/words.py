"""A rule's words, read one after the other; every refusal names the word and what is allowed."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import NoReturn

from harness.errors import ConfigError
from harness.metrics.metric import Metric

BASELINE = "baseline"
SLOPE = "lag_slope_ms_per_min"  # the one metric that may have a limit without a statistic
# How else they are written. Likeness is no guide: =< is as like >= as <=.
_OPERATORS = {"<": "<=", "=<": "<=", ">": ">=", "=>": ">="}
# The name of an arm is one word, whatever is in it: threads=2. Elsewhere signs need no blanks.
_WORD = re.compile(r"(?<=\barm )[^\s:]+|[:%]|[<>=]+|[^\s:%<>=]+")


class RuleWords:
    """One pass over the words of a rule; every refusal goes through :meth:`refuse`."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._words: list[str] = _WORD.findall(" ".join(text.split()))
        self._at = 0

    @property
    def opening(self) -> str:
        """The word that says which kind of rule it is, often a metric."""
        return self._words[0]

    @property
    def following(self) -> list[str]:
        """The words that were not taken yet."""
        return self._words[self._at :]

    def end(self) -> None:
        if self.following:
            self.refuse("nothing more")

    # --- parts of rules ---------------------------------------------------------------------------

    def statistic(self, metric: Metric) -> str:
        word = self.peek()
        percentile = re.fullmatch(r"p(\d{1,2}(?:\.\d+)?)", word)
        if word != "mean" and not (percentile and float(percentile[1]) > 0):
            allowed = "mean, or a percentile such as p50, p95, p99"
            if metric.name == SLOPE:
                self.refuse(f"<=, {allowed}", near=("<=",))
            self.refuse(allowed)
        return self.take()

    def reference(self) -> str:
        self.word("vs")
        if self.one_of((BASELINE, "arm")) == BASELINE:
            return BASELINE
        if not re.fullmatch(r"[\w.=,+-]+", self.peek()):
            self.refuse("the name of an arm, such as 6word")
        return self.take()

    def rise(self) -> float:
        if not self.peek().startswith("+"):
            self.refuse("a rise with its sign, such as +5")
        return self.number()

    def quantity(self, metric: Metric) -> float:
        number = self.number()
        self.unit(metric)
        return number

    def unit(self, metric: Metric) -> None:
        if metric.unit != "1":
            self.word(metric.unit, why=f"the unit of {metric.name}")

    # --- words -----------------------------------------------------------------------------------

    def peek(self) -> str:
        return self._words[self._at] if self._at < len(self._words) else ""

    def take(self) -> str:
        self._at += 1
        return self._words[self._at - 1]

    def word(self, expected: str, *, why: str = "") -> None:
        if self.peek() != expected:
            self.refuse(f"{expected}, {why}" if why else expected)
        self._at += 1

    def one_of(self, allowed: Sequence[str]) -> str:
        if self.peek() not in allowed:
            self.refuse(", ".join(allowed), near=allowed)
        return self.take()

    def number(self, *, above: float | None = None) -> float:
        if not re.fullmatch(r"[+-]?\d+(\.\d+)?", self.peek()):
            self.refuse("a number, then a space")
        number = float(self.peek())
        if above is not None and number <= above:
            self.refuse(f"a number above {above:g}")
        self._at += 1
        return number

    def refuse_last(self, allowed: str) -> NoReturn:
        """Refuse the word that was taken last."""
        self._at -= 1
        self.refuse(allowed)

    def refuse(self, allowed: str, *, near: Sequence[str] = ()) -> NoReturn:
        seen = self.peek()
        meant = _meant(seen, near)
        hint = f"did you mean {meant}?" if meant else "docs/methodology.md has the grammar"
        where = f"at {seen!r}" if seen else "it ends too early"
        raise ConfigError(f"rule {self.text!r}, {where}", allowed=allowed, hint=hint)


def _meant(seen: str, allowed: Sequence[str]) -> str | None:
    """Which of the allowed words a misspelt one is likely to be."""
    if re.fullmatch("[<>=]+", seen):
        operator = _OPERATORS.get(seen)
        return operator if operator in allowed else None
    close = difflib.get_close_matches(seen, allowed, n=1, cutoff=0.5)
    return close[0] if close else None
