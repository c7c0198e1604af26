"""Rules as a person writes them: parsed, with units, before anything runs.

::

    METRIC STATISTIC <= QUANTITY
    METRIC STATISTIC between QUANTITY and QUANTITY
    RATIO <= NUMBER
    lag_slope_ms_per_min <= QUANTITY
    MEMORY <= QUANTITY
    METRIC STATISTIC vs REFERENCE: at most +NUMBER % and +QUANTITY
    METRIC STATISTIC vs REFERENCE: at least NUMBER times faster
    wer_delta <= NUMBER [vs REFERENCE]
    text parity [vs REFERENCE]
    failed = 0
    chunks >= NUMBER
    first text before end of audio
    goodput >= SHARE of OBJECTIVE [and OBJECTIVE ...]

    ttft_ms p95 <= 900 ms
    ttft_ms p50 vs baseline: at most +5 % and +10 ms
    ttft_ms p50 vs arm 6word: at least 3 times faster
    goodput >= 0.95 of ttft_ms <= 900 ms and gap_ms p95 <= 300 ms

``>=`` stands wherever ``<=`` does, but for slopes and memory. STATISTIC is ``mean`` or a percentile
(``p50``, ``p95``, ``p99.9``). MEMORY is ``memory_mib``, ``memory_slope_mib_per_min`` or
``gpu_memory_mib``. QUANTITY is a number and the figure's own unit. REFERENCE is ``baseline`` or
``arm NAME``. OBJECTIVE is a limit on a session's own figure, with a STATISTIC if the session has a
series of it. What each means and how it is decided: ``docs/methodology.md``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from typing import NoReturn

import msgspec

from harness.errors import ConfigError
from harness.metrics.metric import Metric
from harness.metrics.registry import all_metrics, by_name

_DELTAS = ("wer_delta", "cer_delta")
_MEMORY = {
    "memory_mib": "MiB",
    "memory_slope_mib_per_min": "MiB/min",
    "gpu_memory_mib": "MiB",
}
_OPENINGS = (*_DELTAS, *_MEMORY, "text", "failed", "chunks", "first", "goodput")
_SLOPE = "lag_slope_ms_per_min"
# How else they are written. Likeness is no guide: =< is as like >= as <=.
_OPERATORS = {"<": "<=", "=<": "<=", ">": ">=", "=>": ">="}
BASELINE = "baseline"
# The name of an arm is one word, whatever is in it: threads=2. Elsewhere signs need no blanks.
_WORD = re.compile(r"(?<=\barm )[^\s:]+|[:%]|[<>=]+|[^\s:%<>=]+")


class Within(msgspec.Struct, frozen=True, kw_only=True):
    """A statistic (or a corpus ratio) at least ``low`` and at most ``high``, one of them given."""

    text: str
    metric: Metric
    statistic: str | None  # mean, p50, ...; None: a corpus ratio is its own
    low: float | None
    high: float | None


class EverySlope(msgspec.Struct, frozen=True, kw_only=True):
    """No session falls behind by more than ``high``, each by its own interval."""

    text: str
    metric: Metric
    high: float  # in the metric's unit


class NoWorse(msgspec.Struct, frozen=True, kw_only=True):
    """A statistic grew by at most a share and at most an amount: worse is beyond both."""

    text: str
    metric: Metric
    statistic: str
    reference: str  # baseline, or an arm's name
    relative: float  # 0.05: five per cent
    absolute: float  # in the metric's unit


class Faster(msgspec.Struct, frozen=True, kw_only=True):
    """The reference's statistic is at least ``times`` as large."""

    text: str
    metric: Metric
    statistic: str
    reference: str
    times: float


class Delta(msgspec.Struct, frozen=True, kw_only=True):
    """A corpus error rate grew by at most ``high``, on the same clips."""

    text: str
    metric: Metric
    reference: str
    high: float


class TextParity(msgspec.Struct, frozen=True, kw_only=True):
    """The same final text, clip by clip."""

    text: str
    reference: str | None  # None: the baseline and every other arm


class EveryClip(msgspec.Struct, frozen=True, kw_only=True):
    """A fact of every clip and repeat; no statistics: one exception fails it."""

    text: str
    fact: str  # failed, chunks, first_text
    least: int = 0  # of chunks


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """What the run held at most, or by how much that grew, is at most ``high``."""

    text: str
    figure: str  # its name in `summary.json`
    unit: str
    high: float


class Goodput(msgspec.Struct, frozen=True, kw_only=True):
    """At least a share of the sessions keep every objective, each by its own figures."""

    text: str
    least: float  # 0.95: nineteen of twenty
    objectives: tuple[Within, ...]


OfOneArm = Within | EverySlope | EveryClip | Memory | Goodput
Rule = OfOneArm | NoWorse | Faster | Delta | TextParity


def parse_rules(texts: Iterable[str]) -> tuple[Rule, ...]:
    """Parse a gate's rules.

    Raises:
        ConfigError: names the rule, the offending word and what is allowed there.
    """
    return tuple(_Parser(text).rule() for text in texts)


def compares_with_baseline(rule: Rule) -> bool:
    return getattr(rule, "reference", "") in (BASELINE, None)  # None: text parity with all there is


def quantile(statistic: str) -> float | None:
    """0.95 for ``p95``; None for ``mean``."""
    return None if statistic == "mean" else float(statistic[1:]) / 100


class _Parser:
    """One pass over the words of a rule; every refusal goes through :meth:`refuse`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._words: list[str] = _WORD.findall(" ".join(text.split()))
        self._at = 0

    def rule(self) -> Rule:
        opening = self.one_of((*by_name(), *_OPENINGS))
        if opening in _DELTAS:
            rule: Rule = self._delta(opening)
        elif opening in by_name():
            rule = self._of_metric(by_name()[opening])
        elif opening in _MEMORY:
            rule = self._memory(opening)
        elif opening == "text":
            rule = self._text_parity()
        elif opening == "failed":
            rule = self._failed_clips()
        elif opening == "chunks":
            rule = self._chunk_count()
        elif opening == "goodput":
            rule = self._goodput()
        else:
            rule = self._first_text()
        if self._at < len(self._words):
            self.refuse("nothing more")
        return rule

    def _of_metric(self, metric: Metric) -> Rule:
        if metric.scope == "corpus":
            return self._within(metric, None)
        if metric.name == _SLOPE and self.peek() == "<=":
            self._at += 1
            return EverySlope(text=self._text, metric=metric, high=self._quantity(metric))
        statistic = self._statistic(metric)
        if self.peek() != "vs":
            return self._within(metric, statistic)
        reference = self._reference()
        self.word(":")
        self.word("at")
        if self.one_of(("most", "least")) == "least":
            if metric.unit != "ms" or metric.better == "higher":
                self._at -= 1
                self.refuse(f"most: {metric.name} is no latency, which alone can be faster")
            times = self.number(above=0)
            self.word("times")
            self.word("faster")
            return Faster(
                text=self._text,
                metric=metric,
                statistic=statistic,
                reference=reference,
                times=times,
            )
        if metric.better == "higher":
            self._at -= 1
            self.refuse("a metric of which less is better")
        relative = self._rise()
        self.word("%")
        self.word("and")
        absolute = self._rise()
        self._unit(metric)
        return NoWorse(
            text=self._text, metric=metric, statistic=statistic, reference=reference,
            relative=relative / 100, absolute=absolute,
        )  # fmt: skip

    def _within(self, metric: Metric, statistic: str | None) -> Within:
        low = high = None
        operator = self.one_of(("<=", ">=", "between"))
        if operator == "<=":
            high = self._quantity(metric)
        else:
            low = self._quantity(metric)
        if operator == "between":
            self.word("and")
            high = self._quantity(metric)
            if low is not None and low > high:
                self._at -= 1
                self.refuse("the larger quantity last")
        return Within(text=self._text, metric=metric, statistic=statistic, low=low, high=high)

    def _delta(self, opening: str) -> Delta:
        self.one_of(("<=",))
        high = self.number()
        reference = self._reference() if self.peek() == "vs" else BASELINE
        metric = by_name()[opening.removesuffix("_delta")]
        return Delta(text=self._text, metric=metric, reference=reference, high=high)

    def _memory(self, figure: str) -> Memory:
        self.one_of(("<=",))
        high, unit = self.number(), _MEMORY[figure]
        self.word(unit, why=f"the unit of {figure}")
        return Memory(text=self._text, figure=figure, unit=unit, high=high)

    def _text_parity(self) -> TextParity:
        self.word("parity")
        reference = self._reference() if self.peek() == "vs" else None
        return TextParity(text=self._text, reference=reference)

    def _failed_clips(self) -> EveryClip:
        self.word("=")
        self.word("0")
        return EveryClip(text=self._text, fact="failed")

    def _chunk_count(self) -> EveryClip:
        self.one_of((">=",))
        least = self.number(above=0)
        if least != int(least):
            self._at -= 1
            self.refuse("a whole number")
        return EveryClip(text=self._text, fact="chunks", least=int(least))

    def _first_text(self) -> EveryClip:
        for word in ("text", "before", "end", "of", "audio"):
            self.word(word)
        return EveryClip(text=self._text, fact="first_text")

    def _goodput(self) -> Goodput:
        self.one_of((">=",))
        least = self.number(above=0)
        if least >= 1:
            self._at -= 1
            self.refuse("a share below 1, such as 0.95")
        self.word("of")
        objectives = [self._objective()]
        while self.peek() == "and":
            self._at += 1
            objectives.append(self._objective())
        return Goodput(text=self._text, least=least, objectives=tuple(objectives))

    def _objective(self) -> Within:
        own = tuple(metric.name for metric in all_metrics() if metric.scope != "corpus")
        metric = by_name()[self.one_of(own)]
        return self._within(metric, self._statistic(metric) if metric.scope == "series" else None)

    def _statistic(self, metric: Metric) -> str:
        word = self.peek()
        percentile = re.fullmatch(r"p(\d{1,2}(?:\.\d+)?)", word)
        if word != "mean" and not (percentile and float(percentile[1]) > 0):
            allowed = "mean, or a percentile such as p50, p95, p99"
            if metric.name == _SLOPE:
                self.refuse(f"<=, {allowed}", near=("<=",))
            self.refuse(allowed)
        return self.take()

    def _reference(self) -> str:
        self.word("vs")
        if self.one_of((BASELINE, "arm")) == BASELINE:
            return BASELINE
        if not re.fullmatch(r"[\w.=,+-]+", self.peek()):
            self.refuse("the name of an arm, such as 6word")
        return self.take()

    def _rise(self) -> float:
        if not self.peek().startswith("+"):
            self.refuse("a rise with its sign, such as +5")
        return self.number()

    def _quantity(self, metric: Metric) -> float:
        number = self.number()
        self._unit(metric)
        return number

    def _unit(self, metric: Metric) -> None:
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

    def refuse(self, allowed: str, *, near: Sequence[str] = ()) -> NoReturn:
        seen = self.peek()
        meant = _meant(seen, near)
        hint = f"did you mean {meant}?" if meant else "docs/methodology.md has the grammar"
        where = f"at {seen!r}" if seen else "it ends too early"
        raise ConfigError(f"rule {self._text!r}, {where}", allowed=allowed, hint=hint)


def _meant(seen: str, allowed: Sequence[str]) -> str | None:
    """Which of the allowed words a misspelt one is likely to be."""
    if re.fullmatch("[<>=]+", seen):
        operator = _OPERATORS.get(seen)
        return operator if operator in allowed else None
    close = difflib.get_close_matches(seen, allowed, n=1, cutoff=0.5)
    return close[0] if close else None
