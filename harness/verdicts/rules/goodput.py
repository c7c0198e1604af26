"""``goodput >= SHARE of OBJECTIVE``: the share of sessions that meet all their objectives (SLOs).

An objective is a limit on a session's own figure; a session is good if it meets all of them.
``capacity`` asks the same of a number of streams.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Self

import msgspec

from harness.languages.units import is_blank, is_spoken
from harness.metrics import ClipMetrics
from harness.metrics.registry import all_metrics, by_name
from harness.stats.estimates import Share, percentile
from harness.verdicts.rules.estimating import estimated, nothing, session_name
from harness.verdicts.rules.rule import Material, Rule, RuleResult, quantile
from harness.verdicts.rules.within import Within
from harness.verdicts.rules.words import RuleWords


class Goodput(Rule, frozen=True, kw_only=True):
    """At least a share of the sessions meet every objective, each by its own figures."""

    kind: ClassVar[str] = "goodput"
    forms: ClassVar[tuple[str, ...]] = ("goodput >= SHARE of OBJECTIVE [and OBJECTIVE ...]",)
    openings: ClassVar[tuple[str, ...]] = ("goodput",)

    least: float  # 0.95: nineteen of twenty
    objectives: tuple[Within, ...]

    @classmethod
    def parse(cls, words: RuleWords) -> Self:
        words.one_of((">=",))
        least = words.number(above=0)
        if least >= 1:
            words.refuse_last("a share below 1, such as 0.95")
        words.word("of")
        objectives = [_objective(words)]
        while words.peek() == "and":
            words.take()
            objectives.append(_objective(words))
        return cls(text=words.text, least=least, objectives=tuple(objectives))

    def judge(self, material: Material) -> RuleResult:
        """A session that failed meets no objective."""
        if unknown := never_measured(material.clips, self.objectives):
            return nothing(unknown[0].metric, material.clips)
        good: dict[str, list[bool]] = {}
        broken = []
        for clip in material.clips:
            met = is_good(clip, self.objectives)
            good.setdefault(clip.clip, []).append(met)
            broken += [] if met else [session_name(clip)]
        if not good:
            return RuleResult(seen="no session was measured", next="see why there is none")
        found = estimated(
            Share(list(good.values())), "goodput", "1", material.alpha,
            low=self.least, high=None, n=len(material.clips),
        )  # fmt: skip
        such = f"; {broken[0]} is not good" if broken else ""
        return msgspec.structs.replace(found, seen=found.seen + such)


def _objective(words: RuleWords) -> Within:
    own = tuple(metric.name for metric in all_metrics() if metric.scope != "corpus")
    metric = by_name()[words.one_of(own)]
    return Within.limits(
        words, metric, words.statistic(metric) if metric.scope == "series" else None
    )


def is_good(clip: ClipMetrics, objectives: Sequence[Within]) -> bool:
    """Whether a session met every objective; one that failed, or did not answer, did not."""
    answered = not is_blank(clip.hypothesis) or not is_spoken(clip.reference)
    return clip.failed is None and answered and all(_keeps(clip, o) for o in objectives)


def _keeps(clip: ClipMetrics, objective: Within) -> bool:
    values = _values(clip, objective)
    if not values:  # no gap where there is one chunk; no TTFT where nothing was said
        return objective.metric.scope == "series" or not is_spoken(clip.reference)
    q = quantile(objective.statistic or "mean")
    value = sum(values) / len(values) if q is None else percentile(values, q)
    low = -math.inf if objective.low is None else objective.low
    high = math.inf if objective.high is None else objective.high
    return low <= value <= high


def _values(clip: ClipMetrics, objective: Within) -> tuple[float, ...]:
    value = clip.figure(objective.metric.name)
    return value if isinstance(value, tuple) else () if value is None else (value,)


def never_measured(
    clips: Sequence[ClipMetrics], objectives: Sequence[Within]
) -> tuple[Within, str] | None:
    """The first objective that no session could break, and why; None: there is none.

    Where no session ended with text, none of them is known.
    """
    ended = [clip for clip in clips if clip.failed is None and not is_blank(clip.hypothesis)]
    for objective in objectives if ended else ():
        if not any(_values(clip, objective) for clip in ended):
            return objective, ended[0].why_null.get(objective.metric.name, "no sample")
    return None
