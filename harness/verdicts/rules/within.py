"""``METRIC STATISTIC <= QUANTITY``: a figure of this run within limits of its own."""

from __future__ import annotations

import math
from typing import ClassVar, Self

import msgspec

from harness.metrics.metric import Metric
from harness.metrics.registry import by_name
from harness.metrics.summary import count_once, shares_by_clip
from harness.stats.bootstrap import Bootstrap, mean_of, ratio_of_sums
from harness.stats.estimates import Quantile
from harness.verdicts.rules.estimating import (
    LEAST_CLIPS,
    Estimate,
    estimated,
    nothing,
    samples,
    too_few_clips,
    without,
)
from harness.verdicts.rules.rule import Material, Rule, RuleResult, quantile
from harness.verdicts.rules.words import RuleWords
from harness.verdicts.wording import say

# What was not seen once, of ratios that are no error rates.
_NONE = {
    "false_cutoffs": "no end of turn",
    "censored": "no censored one",
    "lost_after_pause": "no word lost",
    "upwr": "nothing taken back",
    "erasure": "nothing taken back",
}


class Within(Rule, frozen=True, kw_only=True):
    """A statistic (or a corpus ratio) at least ``low`` and at most ``high``, one of them given."""

    kind: ClassVar[str] = "within"
    forms: ClassVar[tuple[str, ...]] = (
        "METRIC STATISTIC <= QUANTITY",
        "METRIC STATISTIC >= QUANTITY",
        "METRIC STATISTIC between QUANTITY and QUANTITY",
        "RATIO <= NUMBER, RATIO >= NUMBER",
    )

    metric: Metric
    statistic: str | None  # mean, p50, ...; None: a corpus ratio is its own
    low: float | None
    high: float | None

    @classmethod
    def takes(cls, words: RuleWords) -> bool:  # noqa: ARG003
        return True  # tried last

    @classmethod
    def parse(cls, words: RuleWords) -> Self:
        metric = by_name()[words.opening]
        return cls.limits(
            words, metric, None if metric.scope == "corpus" else words.statistic(metric)
        )

    @classmethod
    def limits(cls, words: RuleWords, metric: Metric, statistic: str | None) -> Self:
        """Read what follows the statistic."""
        low = high = None
        operator = words.one_of(("<=", ">=", "between"))
        if operator == "<=":
            high = words.quantity(metric)
        else:
            low = words.quantity(metric)
        if operator == "between":
            words.word("and")
            high = words.quantity(metric)
            if low is not None and low > high:
                words.refuse_last("the larger quantity last")
        return cls(text=words.text, metric=metric, statistic=statistic, low=low, high=high)

    def judge(self, material: Material) -> RuleResult:
        if self.metric.scope == "corpus":
            return _ratio_within(self, material)
        groups = samples(self.metric, material.clips)
        if not groups:
            return nothing(self.metric, material.clips)
        values = [value for group in groups.values() for value in group]
        q = quantile(self.statistic or "mean")
        estimate: Estimate
        if q is not None:
            estimate = Quantile(list(groups.values()), q)
        elif len(groups) < LEAST_CLIPS:
            return too_few_clips(len(groups))
        elif math.inf in values:
            return RuleResult(
                seen="some sessions never answered, so the mean is undefined",
                next="see why they have no text, or judge a percentile",
            )
        else:
            mean = mean_of(list(groups.values()))
            estimate = Bootstrap(mean, len(groups), "bca", seed=material.seed)
        found = estimated(
            estimate, f"{self.metric.name} {self.statistic}", self.metric.unit, material.alpha,
            low=self.low, high=self.high, n=len(values),
        )  # fmt: skip
        return msgspec.structs.replace(
            found, seen=found.seen + without(self.metric, material.clips)
        )


def _ratio_within(rule: Within, material: Material) -> RuleResult:
    shares = shares_by_clip(rule.metric, material.clips)
    if not shares:
        return nothing(rule.metric, material.clips)
    counting = sum(share[1] > 0 for share in shares.values())  # others have nothing to be wrong
    if counting < LEAST_CLIPS:
        return too_few_clips(counting)
    above, below = (list(side) for side in zip(*shares.values(), strict=True))
    estimate = Bootstrap(ratio_of_sums(above, below), len(shares), "bca", seed=material.seed)
    found = estimated(
        estimate, rule.metric.name, rule.metric.unit, material.alpha,
        low=rule.low, high=rule.high, n=len(shares),
    )  # fmt: skip
    found = msgspec.structs.replace(found, seen=found.seen + without(rule.metric, material.clips))
    if sum(above) > 0 or rule.high is None or not rule.metric.of:
        return found
    # Nothing to resample. That n words of text show no error has probability (1 - rate)**n; repeats
    # of a clip are the same words.
    count, what = count_once(rule.metric, material.clips), rule.metric.of
    return msgspec.structs.replace(
        found, interval=None,
        seen=f"{_NONE.get(rule.metric.name, 'no error')} in {count:g} {what}, allowed"
        f" {say(rule.high, rule.metric.unit)}",
        p_pass=(1 - min(rule.high, 1.0)) ** count, next="more clips would decide it",
    )  # fmt: skip
