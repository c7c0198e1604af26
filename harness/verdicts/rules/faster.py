"""``METRIC STATISTIC vs REFERENCE: at least NUMBER times faster``."""

from __future__ import annotations

from typing import ClassVar, Self

import msgspec
import numpy as np

from harness.metrics.registry import by_name
from harness.stats.bootstrap import Bootstrap, resampled
from harness.verdicts.rules.estimating import estimated
from harness.verdicts.rules.paired import Paired, PairedRule, read_comparison
from harness.verdicts.rules.rule import Material, RuleResult
from harness.verdicts.rules.words import RuleWords


class Faster(PairedRule, frozen=True, kw_only=True):
    """The reference's statistic is at least ``times`` as large."""

    kind: ClassVar[str] = "faster"
    forms: ClassVar[tuple[str, ...]] = (
        "METRIC STATISTIC vs REFERENCE: at least NUMBER times faster",
    )

    times: float

    @classmethod
    def takes(cls, words: RuleWords) -> bool:
        return super().takes(words) and ": at least" in " ".join(words.following)

    @classmethod
    def parse(cls, words: RuleWords) -> Self:
        metric = by_name()[words.opening]
        statistic, reference, _ = read_comparison(words, metric)
        if metric.unit != "ms" or metric.better == "higher":
            words.refuse_last(f"most: {metric.name} is no latency, which alone can be faster")
        times = words.number(above=0)
        words.word("times")
        words.word("faster")
        return cls(
            text=words.text, metric=metric, statistic=statistic, reference=reference, times=times
        )

    def judge_pair(self, material: Material, pair: Paired) -> RuleResult:
        everything, drawn = np.ones((1, pair.clips)), resampled(pair.clips, material.seed)
        if min(pair.new_of(everything).min(), pair.new_of(drawn).min()) <= 0:
            return RuleResult(
                seen=f"{self.figure} is not above 0, so a factor has no meaning",
                next="judge the difference: at most +NUMBER % and +QUANTITY",
            )
        factor = Bootstrap(
            lambda w: pair.old_of(w) / pair.new_of(w), pair.clips, pair.method, seed=material.seed
        )
        found = estimated(
            factor, f"{self.figure} of {self.reference} divided by this one", "1", material.alpha,
            low=self.times, high=None, n=pair.n,
        )  # fmt: skip
        old, new = float(pair.old_of(everything)[0]), float(pair.new_of(everything)[0])
        return msgspec.structs.replace(found, old=old, new=new)
