"""``METRIC STATISTIC vs REFERENCE: at most +NUMBER % and +QUANTITY``: no regression."""

from __future__ import annotations

from typing import ClassVar, Self, cast

import msgspec
import numpy as np

from harness.metrics.registry import by_name
from harness.stats.bootstrap import Bootstrap, resampled
from harness.stats.estimates import Floats, Interval
from harness.verdicts.rules.estimating import estimated
from harness.verdicts.rules.paired import Paired, PairedRule, read_comparison
from harness.verdicts.rules.rule import Material, RuleResult
from harness.verdicts.rules.words import BASELINE, RuleWords
from harness.verdicts.wording import say, say_interval


class NoWorse(PairedRule, frozen=True, kw_only=True):
    """A statistic grew by at most a share and at most an amount: worse is beyond both."""

    kind: ClassVar[str] = "no_worse"
    forms: ClassVar[tuple[str, ...]] = (
        "METRIC STATISTIC vs REFERENCE: at most +NUMBER % and +QUANTITY",
    )

    relative: float  # 0.05: five per cent
    absolute: float  # in the metric's unit

    @classmethod
    def parse(cls, words: RuleWords) -> Self:
        metric = by_name()[words.opening]
        statistic, reference, _ = read_comparison(words, metric)
        if metric.better == "higher":
            words.refuse_last("a metric of which less is better")
        relative = words.rise()
        words.word("%")
        words.word("and")
        absolute = words.rise()
        words.unit(metric)
        return cls(
            text=words.text, metric=metric, statistic=statistic, reference=reference,
            relative=relative / 100, absolute=absolute,
        )  # fmt: skip

    def judge_pair(self, material: Material, pair: Paired) -> RuleResult:
        """The rise minus what is allowed is one statistic: one test, one error rate."""
        name, unit = self.figure, self.metric.unit
        band = material.bands.get(name, 0.0) if self.reference == BASELINE else 0.0

        def allowed(weights: Floats) -> Floats:
            return np.maximum(
                max(self.relative, band) * np.abs(pair.old_of(weights)), self.absolute
            )

        def rise_beyond(weights: Floats) -> Floats:
            old, limit = pair.old_of(weights), allowed(weights)
            beyond = pair.new_of(weights) - old - limit
            beyond[np.abs(beyond) <= 1e-9 * (np.abs(old) + limit)] = (
                0.0  # rounding is no difference
            )
            return beyond

        excess = Bootstrap(rise_beyond, pair.clips, pair.method, seed=material.seed)
        found = estimated(excess, name, unit, material.alpha, low=None, high=0.0, n=pair.n)
        everything = np.ones((1, pair.clips))
        old, limit = float(pair.old_of(everything)[0]), float(allowed(everything)[0])
        # Shown is the rise itself: its excess varies with what is allowed, even of no rise at all.
        rise = Bootstrap(
            lambda w: pair.new_of(w) - pair.old_of(w), pair.clips, pair.method, seed=material.seed
        )
        interval = rise.interval(1 - 2 * material.alpha)
        share = f"{100 * rise.value / abs(old):+.1f} %, " if old else ""
        widened = f" (the noise between runs is {100 * band:.1f} %)" if band > self.relative else ""
        varies = float(allowed(resampled(pair.clips, material.seed)).max()) > self.absolute
        if varies and _seems_otherwise(found, interval, limit, material.alpha):
            widened += ", which varies with the clips too: the test is of the rise minus it"
        return msgspec.structs.replace(
            found, observed=rise.value, limit=limit, interval=interval,
            old=old, new=old + rise.value,
            seen=f"{name} went from {say(old, unit)} to {say(old + rise.value, unit)}:"
            f" {share}{rise.value:+.1f} {unit} {say_interval(interval, unit)},"
            f" allowed +{say(limit, unit)}{widened}; n = {pair.n} from {pair.clips} clips",
        )  # fmt: skip


def _seems_otherwise(found: RuleResult, interval: Interval, limit: float, alpha: float) -> bool:
    """Would ``interval`` next to ``limit`` suggest another result than the one found?"""
    low, high = cast("float", interval.low), cast("float", interval.high)
    return (high <= limit, low > limit) != (found.p_pass <= alpha, found.p_fail <= alpha)
