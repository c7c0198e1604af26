"""A statistic of this run and of a reference, paired by clip: shared by `no_worse` and `faster`.

Clips are paired: each is compared with itself, so that what makes clips differ cancels. Up to the
median a statistic is taken per clip, over its repeats, and averaged over clips. A tail percentile
of a clip's few repeats would be their maximum, so tails are pooled over all samples of the shared
clips, and need enough of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeGuard

import msgspec
import numpy as np

from harness.metrics import ClipMetrics
from harness.metrics.instants import OTHER_REQUEST
from harness.metrics.metric import Metric
from harness.metrics.registry import by_name
from harness.stats.bootstrap import (
    Method,
    Statistic,
    percentile_of,
    ratio_of_sums,
    remembered,
    resampled,
)
from harness.stats.estimates import Groups, percentile
from harness.verdicts.rules.estimating import LEAST_CLIPS, nothing, samples, too_few_clips, without
from harness.verdicts.rules.rule import Clips, ComparingRule, Material, RuleResult, quantile
from harness.verdicts.rules.words import RuleWords

# Samples that must lie beyond a tail percentile for its resampled distribution to mean anything.
LEAST_BEYOND = 5


class Paired(msgspec.Struct, frozen=True, kw_only=True):
    """Both statistics, as functions of how often each shared clip was drawn."""

    new_of: Statistic
    old_of: Statistic
    clips: int  # shared by both
    n: int  # samples of the smaller side
    method: Method


class PairedRule(ComparingRule, frozen=True, kw_only=True):
    metric: Metric
    statistic: str

    @classmethod
    def takes(cls, words: RuleWords) -> bool:
        is_ratio = by_name()[words.opening].scope == "corpus"
        return not is_ratio and words.following[1:2] == ["vs"]

    @property
    def figure(self) -> str:
        return f"{self.metric.name} {self.statistic}"

    def compare(self, material: Material, references: Mapping[str, Clips]) -> RuleResult:
        (reference,) = references.values()
        pair = _pair(self, material, reference)
        if isinstance(pair, RuleResult):
            return pair
        lost = without(self.metric, material.clips)
        lost += without(self.metric, reference, of=" of the reference")
        found = self.judge_pair(material, pair)
        return msgspec.structs.replace(found, seen=found.seen + lost)

    def judge_pair(self, material: Material, pair: Paired) -> RuleResult:
        raise NotImplementedError


def read_comparison(words: RuleWords, metric: Metric) -> tuple[str, str, str]:
    """``STATISTIC vs REFERENCE: at most``: statistic, reference, and ``most`` or ``least``."""
    statistic, reference = words.statistic(metric), words.reference()
    words.word(":")
    words.word("at")
    return statistic, reference, words.one_of(("most", "least"))


def _pair(rule: PairedRule, material: Material, reference: Clips) -> Paired | RuleResult:
    """The result instead, if the two cannot be compared."""
    metric, q = rule.metric, quantile(rule.statistic)
    if metric.from_request and len({c.session for c in (*material.clips, *reference)}) > 1:
        return RuleResult(
            seen=f"{metric.name} {OTHER_REQUEST}",
            next="judge final_ms, or compare sessions of one kind",
        )
    both = material.clips, reference
    if not _pooled(q):
        both = _as_often(*both)
    new_groups, old_groups = (samples(metric, clips) for clips in both)
    shared = [clip for clip in new_groups if clip in old_groups]
    if not shared:
        return nothing(metric, [*material.clips, *reference])
    if len(shared) < LEAST_CLIPS:
        return too_few_clips(len(shared))
    new, old = [new_groups[c] for c in shared], [old_groups[c] for c in shared]
    n = min(sum(map(len, new)), sum(map(len, old)))
    if _pooled(q) and n * (1 - q) < LEAST_BEYOND - 1e-9:
        here = sum(map(len, new)) == n
        return _too_few_beyond(rule, q, n, len(shared), of="this one" if here else "the reference")
    new_of, old_of = remembered(_statistic(new, q)), remembered(_statistic(old, q))
    everything, drawn = np.ones((1, len(shared))), resampled(len(shared), material.seed)
    if not all(np.isfinite(of(w)).all() for of in (new_of, old_of) for w in (everything, drawn)):
        return RuleResult(
            seen="some clips never got an answer, so the two cannot be compared",
            next="see why they have no text",
        )
    return Paired(new_of=new_of, old_of=old_of, clips=len(shared), n=n, method=_method(q))


def _as_often(new: Clips, old: Clips) -> tuple[Clips, Clips]:
    """The same number of repeats of each clip in both.

    The median of two by nearest rank is the smaller of them, of three it is not: of unequal numbers
    of repeats it would differ where nothing changed.
    """

    def by_clip(clips: Clips) -> dict[str, list[ClipMetrics]]:
        found: dict[str, list[ClipMetrics]] = {}
        for clip in sorted(clips, key=lambda clip: clip.repeat):
            found.setdefault(clip.clip, []).append(clip)
        return found

    def cut(mine: dict[str, list[ClipMetrics]], other: dict[str, list[ClipMetrics]]) -> Clips:
        most = {name: len(other.get(name, clips)) for name, clips in mine.items()}
        return [clip for name, clips in mine.items() for clip in clips[: most[name]]]

    news, olds = by_clip(new), by_clip(old)
    return cut(news, olds), cut(olds, news)


def _pooled(q: float | None) -> TypeGuard[float]:
    return q is not None and q > 0.5


def _method(q: float | None) -> Method:
    return "smoothed" if _pooled(q) else "percentile"


def _statistic(groups: Groups, q: float | None) -> Statistic:
    if _pooled(q):
        return percentile_of(groups, q)
    per_clip = [float(np.mean(g)) if q is None else percentile(g, q) for g in groups]
    return ratio_of_sums(per_clip, [1.0] * len(per_clip))


def _too_few_beyond(rule: PairedRule, q: float, n: int, clips: int, *, of: str) -> RuleResult:
    needed = math.ceil(LEAST_BEYOND / (1 - q) - 1e-9)
    times = math.ceil(needed / n - 1e-9)
    return RuleResult(
        seen=f"n = {n} in {of}; two {rule.statistic} can be compared from n = {needed} on,"
        f" when {LEAST_BEYOND} samples lie beyond it",
        next=f"measure {times} times as many clips or repeats in {of}, or judge p50",
        n=n,
        clips=clips,
    )
