"""``wer_delta <= NUMBER [vs REFERENCE]``: the rise of an error rate, on the same clips."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Self

import msgspec
import numpy as np

from harness.metrics.metric import Metric
from harness.metrics.registry import by_name
from harness.metrics.summary import shares_by_clip
from harness.stats.bootstrap import Bootstrap, ratio_of_sums
from harness.verdicts.rules.estimating import LEAST_CLIPS, estimated, nothing, too_few_clips
from harness.verdicts.rules.rule import Clips, ComparingRule, Material, RuleResult
from harness.verdicts.rules.words import BASELINE, RuleWords


class Delta(ComparingRule, frozen=True, kw_only=True):
    """A corpus error rate grew by at most ``high``, on the same clips."""

    kind: ClassVar[str] = "delta"
    forms: ClassVar[tuple[str, ...]] = ("wer_delta <= NUMBER [vs REFERENCE], cer_delta ...",)
    openings: ClassVar[tuple[str, ...]] = ("wer_delta", "cer_delta")

    metric: Metric
    high: float

    @classmethod
    def parse(cls, words: RuleWords) -> Self:
        words.one_of(("<=",))
        high = words.number()
        reference = words.reference() if words.peek() == "vs" else BASELINE
        metric = by_name()[words.opening.removesuffix("_delta")]
        return cls(text=words.text, metric=metric, reference=reference, high=high)

    def compare(self, material: Material, references: Mapping[str, Clips]) -> RuleResult:
        ((reference_name, reference),) = references.items()
        name = self.metric.name
        new, old = (shares_by_clip(self.metric, clips) for clips in (material.clips, reference))
        shared = [clip for clip in new if clip in old]
        if not shared:
            return nothing(self.metric, [*material.clips, *reference])
        counting = sum(old[clip][1] > 0 for clip in shared)
        if counting < LEAST_CLIPS:
            return too_few_clips(counting)
        rates = [ratio_of_sums(*zip(*(arm[c] for c in shared), strict=True)) for arm in (new, old)]
        change = Bootstrap(
            lambda w: rates[0](w) - rates[1](w), len(shared), "percentile", seed=material.seed
        )
        found = estimated(
            change, f"{name.upper()} minus {reference_name} {name.upper()}", "1", material.alpha,
            low=None, high=self.high, n=len(shared),
        )  # fmt: skip
        new_rate, old_rate = (float(rate(np.ones((1, len(shared))))[0]) for rate in rates)
        return msgspec.structs.replace(found, old=old_rate, new=new_rate)
