"""Two arms that replayed the same clips: differences, their intervals, and whether the text agrees.

Paired: a clip counts where both arms have the figure, and both arms are resampled by the same
clips, so what makes clips differ from each other cancels out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import numpy as np

from harness.languages.units import composed
from harness.metrics import ClipMetrics
from harness.metrics.instants import OTHER_REQUEST
from harness.metrics.metric import Metric
from harness.metrics.registry import all_metrics
from harness.metrics.summary import CONFIDENCE, LEAST_N, samples_by_clip, shares_by_clip
from harness.stats.bootstrap import (
    Bootstrap,
    Method,
    Statistic,
    mean_of,
    percentile_of,
    ratio_of_sums,
    remembered,
)
from harness.stats.estimates import Floats, Groups

Bounds = tuple[float | None, float | None]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One statistic of one metric in both arms; differences are ``b - a``."""

    metric: str
    statistic: str  # mean | p50 | p95; of a corpus ratio: value
    unit: str
    better: str  # lower | higher
    a: float | None
    b: float | None
    difference: float | None
    difference_ci95: Bounds | None  # None: fewer than two clips
    ratio: float | None  # b / a; None where a is not above zero
    ratio_ci95: Bounds | None
    clips: int  # clips in which both arms have the metric
    of: int  # clips that either arm replayed
    why_null: str | None = None


class TextDifference(msgspec.Struct, frozen=True):
    """A session in which the arms' text is not the same, character by character."""

    clip: str
    repeat: int
    a: str
    b: str


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """Arm ``b`` beside arm ``a``."""

    differences: tuple[Difference, ...]
    sessions: int  # clip and repeat replayed by both arms
    same_text: int  # of these
    texts: tuple[TextDifference, ...]  # the others; a failed session has none, so is like no other
    # Error rates of live sessions less those of turn sessions, whichever arm they are: what it
    # costs to write while somebody speaks. Empty: both arms are of one kind.
    streaming_penalty: tuple[Difference, ...] = ()


def compare_arms(
    a_clips: Sequence[ClipMetrics],
    b_clips: Sequence[ClipMetrics],
    *,
    seed: int,
    why_not: str | None = None,
) -> Comparison:
    """Every metric of arm ``b`` beside arm ``a``, on the clips that both replayed.

    Error rates: their difference is the paired ``wer_delta``.

    Args:
        seed: of the bootstrap.
        why_not: the clips of the two are not the same, whatever they are called: no differences.
    """
    of = len({clip.clip for clip in (*a_clips, *b_clips)})
    kinds = {clip.session for clip in (*a_clips, *b_clips)}
    differences: list[Difference] = []
    for metric in all_metrics():
        if not metric.kept:
            continue  # of the harness, not of an arm
        if why_not is not None:
            differences.append(_no_difference(metric, "mean", of, why_not))
        elif metric.from_request and len(kinds) > 1:
            differences.append(_no_difference(metric, "mean", of, OTHER_REQUEST))
        elif metric.scope == "corpus":
            differences.append(_corpus_difference(metric, a_clips, b_clips, of, seed))
        else:
            differences += _sample_differences(metric, a_clips, b_clips, of, seed)
    a_texts, b_texts = _texts(a_clips), _texts(b_clips)
    shared = [key for key in a_texts if key in b_texts and why_not is None]
    texts = [
        TextDifference(*key, a_texts[key] or "", b_texts[key] or "")
        for key in shared
        if a_texts[key] is None or a_texts[key] != b_texts[key]
    ]
    return Comparison(
        differences=tuple(differences),
        sessions=len(shared),
        same_text=len(shared) - len(texts),
        texts=tuple(texts),
        streaming_penalty=() if why_not is not None else _penalties(a_clips, b_clips, of, seed),
    )


def _penalties(
    a_clips: Sequence[ClipMetrics], b_clips: Sequence[ClipMetrics], of: int, seed: int
) -> tuple[Difference, ...]:
    arms = {"/".join({clip.session for clip in clips}): clips for clips in (a_clips, b_clips)}
    if set(arms) != {"turn", "live"}:
        return ()
    rates = [metric for metric in all_metrics() if metric.name in ("wer", "cer")]
    return tuple(_corpus_difference(one, arms["turn"], arms["live"], of, seed) for one in rates)


def _texts(clips: Sequence[ClipMetrics]) -> dict[tuple[str, int], str | None]:
    """Without what is not seen, letters composed: spelt otherwise, a text is the same."""
    return {
        (c.clip, c.repeat): None if c.failed is not None else composed(c.hypothesis) for c in clips
    }


def _sample_differences(
    metric: Metric,
    a_clips: Sequence[ClipMetrics],
    b_clips: Sequence[ClipMetrics],
    of: int,
    seed: int,
) -> list[Difference]:
    a_samples, b_samples = (samples_by_clip(metric.name, clips) for clips in (a_clips, b_clips))
    shared = [clip for clip in a_samples if clip in b_samples]
    a, b = [a_samples[clip] for clip in shared], [b_samples[clip] for clip in shared]
    if not shared:
        return [_no_difference(metric, "mean", of, "no clip in which both arms have it")]
    found = [
        _difference(metric, "mean", mean_of(a), mean_of(b), len(shared), of, "percentile", seed)
    ]
    fewest = min(_count(a), _count(b))
    for name, q in (("p50", 0.5), ("p95", 0.95)):
        if fewest < LEAST_N[name]:
            found.append(_no_difference(metric, name, of, f"n={fewest} < {LEAST_N[name]}"))
        else:
            statistics = percentile_of(a, q), percentile_of(b, q)
            found.append(_difference(metric, name, *statistics, len(shared), of, "smoothed", seed))
    return found


def _count(groups: Groups) -> int:
    return sum(len(group) for group in groups)


def _corpus_difference(
    metric: Metric,
    a_clips: Sequence[ClipMetrics],
    b_clips: Sequence[ClipMetrics],
    of: int,
    seed: int,
) -> Difference:
    a_shares, b_shares = (shares_by_clip(metric, clips) for clips in (a_clips, b_clips))
    shared = [clip for clip in a_shares if clip in b_shares]
    both = [[shares[clip] for clip in shared] for shares in (a_shares, b_shares)]
    if any(sum(below for _, below in shares) == 0 for shares in both):
        return _no_difference(metric, "value", of, "no clip in which both arms have it")
    a, b = (ratio_of_sums(*zip(*shares, strict=True)) for shares in both)
    return _difference(metric, "value", a, b, len(shared), of, "percentile", seed)


def _difference(
    metric: Metric, statistic: str, a: Statistic, b: Statistic, clips: int, of: int,
    method: Method, seed: int,
) -> Difference:  # fmt: skip
    a, b = remembered(a), remembered(b)  # the difference and the ratio ask for the same draws
    once = np.ones((1, clips))
    a_value, b_value = float(a(once)[0]), float(b(once)[0])

    def bounds(combine: Callable[[Floats, Floats], Floats]) -> Bounds | None:
        if clips < 2:
            return None
        both = Bootstrap(lambda w: combine(a(w), b(w)), clips, method, seed=seed)
        interval = both.interval(CONFIDENCE)
        return interval.low, interval.high

    return Difference(
        metric=metric.name,
        statistic=statistic,
        unit=metric.unit,
        better=metric.better,
        a=a_value,
        b=b_value,
        difference=b_value - a_value,
        difference_ci95=bounds(lambda x, y: y - x),
        ratio=b_value / a_value if a_value > 0 else None,
        ratio_ci95=bounds(_positive_ratio) if a_value > 0 else None,
        clips=clips,
        of=of,
    )


def _positive_ratio(a: Floats, b: Floats) -> Floats:
    """b / a; NaN, which the bootstrap leaves out, where a resample's a is not above zero."""
    return np.divide(b, a, out=np.full_like(a, np.nan), where=a > 0)


def _no_difference(metric: Metric, statistic: str, of: int, reason: str) -> Difference:
    return Difference(
        metric=metric.name,
        statistic=statistic,
        unit=metric.unit,
        better=metric.better,
        a=None,
        b=None,
        difference=None,
        difference_ci95=None,
        ratio=None,
        ratio_ci95=None,
        clips=0,
        of=of,
        why_null=reason,
    )
