"""From clips to the ``metrics`` of ``summary.json``: percentiles, means, ratios, each with its n.

A clip's repeats belong together: intervals count clips, not samples (``statistics``). Every metric
is always there; what does not exist is null with a reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from harness.metrics import ClipMetrics, Distribution, Ratio
from harness.metrics.accuracy import total_edits
from harness.metrics.instants import Missing
from harness.metrics.metric import Metric
from harness.metrics.registry import all_metrics
from harness.stats.bootstrap import Bootstrap, mean_of, ratio_of_sums
from harness.stats.estimates import least_n, percentile, percentile_interval

CONFIDENCE = 0.95  # of every interval in a summary

# Fewest samples for a percentile to be shown at all. From 2, 10 and 20 on it is a sample that the
# largest one does not decide alone, and its interval says the rest. A p99 has no use but as a
# claim, so it must be one: with 459 samples below a limit, 99 % of all are, with 99 % confidence.
LEAST_N = {"p50": 2, "p90": 10, "p95": 20, "p99": least_n(0.99, 0.99)}

_QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


def summarise(clips: Sequence[ClipMetrics], *, seed: int) -> dict[str, Distribution | Ratio]:
    """Every metric over a run.

    Args:
        clips: of one arm, failed ones included, every repeat.
        seed: of the bootstrap.
    """
    metrics: dict[str, Distribution | Ratio] = {}
    for metric in all_metrics():
        if metric.scope == "corpus":
            metrics[metric.name] = _ratio(metric, clips, seed)
        else:
            metrics[metric.name] = _distribution(metric, clips, seed)
            if metric.clip_p95:
                name = metric.name.removesuffix("_ms") + "_p95_median_ms"
                # A few long clips decide a pooled percentile; any other figure of per-clip p95s is
                # no percentile of anything.
                metrics[name] = _median_of_clip_p95(metric, clips)
    return metrics


def samples_by_clip(metric: str, clips: Sequence[ClipMetrics]) -> dict[str, list[float]]:
    """Clip id -> its samples of a metric of scope clip or series, over all repeats; none empty."""
    groups: dict[str, list[float]] = {}
    for clip in clips:
        value = clip.figure(metric)
        samples = value if isinstance(value, tuple) else () if value is None else (value,)
        if samples:
            groups.setdefault(clip.clip, []).extend(samples)
    return groups


def _distribution(metric: Metric, clips: Sequence[ClipMetrics], seed: int) -> Distribution:
    groups = list(samples_by_clip(metric.name, clips).values())
    values = np.sort([value for group in groups for value in group])
    n = len(values)
    of = len(clips) if metric.scope == "clip" else n
    if n == 0:
        return _nothing(metric.unit, of, _why(metric, clips))
    found: dict[str, float] = {}
    why_null: dict[str, str] = {}
    ci95: dict[str, tuple[float | None, float | None]] = {}
    for name, q in _QUANTILES.items():
        if n < LEAST_N[name]:
            why_null[name] = f"n={n} < {LEAST_N[name]}"
        else:
            found[name] = percentile(values, q)
            interval = percentile_interval(groups, q, CONFIDENCE)
            ci95[name] = (interval.low, interval.high)
    if len(groups) >= 2:
        mean = Bootstrap(mean_of(groups), len(groups), "bca", seed=seed)
        interval = mean.interval(CONFIDENCE)
        ci95["mean"] = (interval.low, interval.high)
    return Distribution(
        unit=metric.unit,
        n=n,
        of=of,
        mean=float(values.mean()),
        max=float(values[-1]),
        ci95=ci95,
        why_null=why_null,
        **found,
    )


def _median_of_clip_p95(metric: Metric, clips: Sequence[ClipMetrics]) -> Distribution:
    groups = samples_by_clip(metric.name, clips)
    if not groups:
        return _nothing(metric.unit, len(clips), _why(metric, clips))
    p95s = [percentile(group, 0.95) for group in groups.values()]
    interval = percentile_interval([[p95] for p95 in p95s], 0.5, CONFIDENCE)
    only_median = "of per-clip p95s only the median is reported"
    return Distribution(
        unit=metric.unit,
        n=len(p95s),
        of=len({clip.clip for clip in clips}),
        p50=percentile(p95s, 0.5),
        ci95={"p50": (interval.low, interval.high)},
        why_null=dict.fromkeys(("mean", "p90", "p95", "p99", "max"), only_median),
    )


def _ratio(metric: Metric, clips: Sequence[ClipMetrics], seed: int) -> Ratio:
    shares = shares_by_clip(metric, clips)
    counted = [getattr(clip, metric.edits) for clip in clips] if metric.edits else []
    total = total_edits(edits for edits in counted if edits is not None)
    n = sum(not isinstance(metric.function(clip), Missing) for clip in clips)
    above = sum(share[0] for share in shares.values())
    below = sum(share[1] for share in shares.values())
    if below == 0:
        reason = _why(metric, clips) if not shares else f"nothing to divide by ({above:g} / 0)"
        return Ratio(
            unit=metric.unit, value=None, n=n, of=len(clips), why_null=reason,
            insertions=total.insertions,
        )  # fmt: skip
    ci95 = None
    if sum(share[1] > 0 for share in shares.values()) >= 2:
        statistic = ratio_of_sums(*zip(*shares.values(), strict=True))
        interval = Bootstrap(statistic, len(shares), "bca", seed=seed).interval(CONFIDENCE)
        ci95 = (interval.low, interval.high)
    none_right = total.hits == 0 and total.insertions == 0
    none_right = metric.edits != "" and none_right
    if metric.of and (above == 0 or none_right):  # all alike: nothing to resample
        ci95 = _exact(count_once(metric, clips), wrong=none_right)
    return Ratio(
        unit=metric.unit,
        value=above / below,
        n=n,
        of=len(clips),
        ci95=ci95,
        words=total.reference,
        substitutions=total.substitutions,
        deletions=total.deletions,
        insertions=total.insertions,
    )


def _exact(words: float, *, wrong: bool) -> tuple[float, float]:
    """The interval of Clopper and Pearson (1934) when all words are right, or all are wrong.

    Args:
        words: of every clip once: its repeats are the same words.
    """
    side = ((1 - CONFIDENCE) / 2) ** (1 / words)
    return (side, 1.0) if wrong else (0.0, 1 - side)


def shares_by_clip(
    metric: Metric, clips: Sequence[ClipMetrics]
) -> Mapping[str, tuple[float, float]]:
    """Clip id -> what the clip adds to both sides of a corpus ratio, over all repeats."""
    shares: dict[str, tuple[float, float]] = {}
    for clip in clips:
        share = metric.function(clip)
        if not isinstance(share, Missing):
            above, below = shares.get(clip.clip, (0.0, 0.0))
            shares[clip.clip] = (above + share[0], below + share[1])
    return shares


def count_once(metric: Metric, clips: Sequence[ClipMetrics]) -> float:
    """The lower side of a corpus ratio, such as words; of every clip once, though it has repeats.

    They are the same words.
    """
    counts: dict[str, float] = {}
    for clip in clips:
        share = metric.function(clip)
        if not isinstance(share, Missing):
            counts[clip.clip] = max(counts.get(clip.clip, 0.0), share[1])
    return sum(counts.values())


def _why(metric: Metric, clips: Sequence[ClipMetrics]) -> str:
    """The commonest reason that clips give for having no such figure."""
    key = metric.source or metric.name
    reasons = Counter(clip.why_null[key] for clip in clips if key in clip.why_null)
    return reasons.most_common(1)[0][0] if reasons else "no sample"


def _nothing(unit: str, of: int, reason: str) -> Distribution:
    statistics = ("mean", *_QUANTILES, "max")
    return Distribution(unit=unit, n=0, of=of, why_null=dict.fromkeys(statistics, reason))
