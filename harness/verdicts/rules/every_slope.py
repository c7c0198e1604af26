"""``lag_slope_ms_per_min <= QUANTITY``: no session falls behind, each by its own interval."""

from __future__ import annotations

import math
from typing import ClassVar, Self

from harness.metrics.metric import Metric
from harness.metrics.registry import by_name
from harness.stats.estimates import blocks_of, simes
from harness.verdicts.rules.estimating import nothing, session_name
from harness.verdicts.rules.rule import Material, Rule, RuleResult
from harness.verdicts.rules.slopes import slope_within
from harness.verdicts.rules.words import SLOPE, RuleWords
from harness.verdicts.wording import say, say_interval


class EverySlope(Rule, frozen=True, kw_only=True):
    """No session falls behind by more than ``high``, each by its own interval."""

    kind: ClassVar[str] = "every_slope"
    forms: ClassVar[tuple[str, ...]] = ("lag_slope_ms_per_min <= QUANTITY",)

    metric: Metric
    high: float  # in the metric's unit

    @classmethod
    def takes(cls, words: RuleWords) -> bool:
        return words.opening == SLOPE and words.following[:1] == ["<="]

    @classmethod
    def parse(cls, words: RuleWords) -> Self:
        metric = by_name()[words.opening]
        words.word("<=")
        return cls(text=words.text, metric=metric, high=words.quantity(metric))

    def judge(self, material: Material) -> RuleResult:
        """One session that falls behind is enough; each is tested by the interval of its own slope.

        All of them together say whether any does (Simes): what many do is no accident of one.

        A session without a slope may have fallen behind: with one there is no pass.
        """
        found = []  # of each session: p-value against "broken", slope, interval, name
        without = []
        for clip in material.clips:
            slope, bounds = clip.lag_slope_ms_per_min, clip.lag_slope_ci95
            if slope is None or bounds is None:
                without.append(f"{session_name(clip)}: {clip.why_null.get(self.metric.name)}")
                continue
            blocks = blocks_of(len(clip.word_delay_ms))
            p_broken, interval = slope_within(slope, bounds, self.high, material.alpha, blocks)
            # One of the n! orders of n points is sorted: no test of a slope has a smaller p-value.
            least = 1 / math.factorial(blocks)
            found.append(
                (min(max(p_broken, least), 1 - least), slope, interval, session_name(clip))
            )
        if not found:
            return nothing(self.metric, material.clips)
        p_broken, slope, interval, name = max(found, key=lambda session: session[0])
        unit = self.metric.unit
        lost = f"; {len(without)} sessions have no slope, such as {without[0]}" if without else ""
        return RuleResult(
            seen=f"the worst of {len(found)} sessions, {name}, changes by {say(slope, unit)}"
            f" {say_interval(interval, unit)}, allowed at most {say(self.high, unit)}{lost}",
            p_pass=1.0 if without else p_broken,
            p_fail=simes([1 - p for p, *_ in found]),
            observed=slope, limit=self.high, unit=unit, interval=interval,
            n=len(found), clips=len({clip.clip for clip in material.clips}),
            next="longer sessions would decide it: dataset.loop_to_s",
        )  # fmt: skip
