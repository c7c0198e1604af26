"""Estimates of what clips show, worded: shared by the kinds of rules.

Samples of one clip are never taken for independent: percentiles divide their counts by a design
effect, everything else is resampled by clip.
"""

from __future__ import annotations

import math

from harness.languages.units import is_blank, is_spoken
from harness.metrics import ClipMetrics
from harness.metrics.instants import NO_WORD, Missing
from harness.metrics.metric import Metric
from harness.metrics.summary import samples_by_clip
from harness.stats.bootstrap import Bootstrap
from harness.stats.estimates import Quantile, Share, least_n
from harness.verdicts.rules.rule import Clips, RuleResult
from harness.verdicts.wording import say, say_interval

# With fewer clips, even complete agreement is no 95 % evidence: 0.5**4 = 0.06, 0.5**5 = 0.03.
LEAST_CLIPS = least_n(0.5, 0.95)
_HOPELESS = 100.0  # times the clips that were measured: not worth suggesting

Estimate = Quantile | Bootstrap | Share


def session_name(clip: ClipMetrics) -> str:
    return f"{clip.clip}#{clip.repeat}"


def samples(metric: Metric, clips: Clips) -> dict[str, list[float]]:
    """Clip -> its samples; a session that was to answer and did not is an infinite one.

    So is a censored one: nobody knows how long it would have gone on.
    """
    groups = samples_by_clip(metric.name, clips)
    if metric.infinite:
        for clip in clips:
            if _is_owed(metric, clip) and _is_beyond(metric, clip):
                groups.setdefault(clip.clip, []).append(math.inf)
    return groups


def _is_owed(metric: Metric, clip: ClipMetrics) -> bool:
    """Whether such a session has such a figure if all is well."""
    if metric.name == "response_ms":
        return clip.session != "live"
    return metric.name != "eot_ms" or clip.endpointer != "none"


def _is_beyond(metric: Metric, clip: ClipMetrics) -> bool:
    if metric.needs_end and clip.censored:
        return True
    no_word = clip.why_null.get(metric.name) == NO_WORD.reason
    silent = clip.figure(metric.name) is None and (no_word or is_blank(clip.hypothesis))
    return clip.failed is not None or (silent and is_spoken(clip.reference))


def without(metric: Metric, clips: Clips, of: str = "") -> str:
    """How many sessions have no part in a figure, and why one of them; empty: all have.

    Only what was never answered counts as beyond any limit (:func:`samples`): a session that failed
    has no gap, and none is made up for it.
    """
    lost = [clip for clip in clips if not _has_part(metric, clip)]
    if not lost:
        return ""
    first = min(lost, key=lambda clip: clip.failed is None)
    why = first.failed or first.why_null.get(metric.name)
    such = f"{session_name(first)}: {why}" if why else session_name(first)
    return f"; {len(lost)} of {len(clips)} sessions{of} have no sample, such as {such}"


def _has_part(metric: Metric, clip: ClipMetrics) -> bool:
    if metric.scope == "corpus":
        return not isinstance(metric.function(clip), Missing)
    return bool(samples(metric, [clip]))


def estimated(
    estimate: Estimate, name: str, unit: str, alpha: float, *,
    low: float | None, high: float | None, n: int,
) -> RuleResult:  # fmt: skip
    """The result from an estimate of a value that is to be at least ``low``, at most ``high``."""
    p_pass, p_fail = _p_values(estimate, low, high)
    interval = estimate.interval(1 - 2 * alpha)
    limits = [f"at least {say(low, unit)}"] if low is not None else []
    limits += [f"at most {say(high, unit)}"] if high is not None else []
    decided = min(p_pass, p_fail) <= alpha
    return RuleResult(
        seen=f"{name} is {say(estimate.value, unit)} {say_interval(interval, unit)},"
        f" allowed {' and '.join(limits)}; n = {n} from {estimate.clusters} clips",
        p_pass=p_pass, p_fail=p_fail,
        exact=isinstance(estimate, Bootstrap) and estimate.certain,
        observed=estimate.value if math.isfinite(estimate.value) else None,
        limit=high if high is not None else low, unit=unit, interval=interval, n=n,
        clips=estimate.clusters, next="" if decided else _more(estimate, low, high, alpha),
    )  # fmt: skip


def _p_values(
    estimate: Estimate, low: float | None, high: float | None, times: float = 1.0
) -> tuple[float, float]:
    """Against "broken" and against "met", if ``times`` as many clips had shown the same.

    Both sides must hold for a pass, each tested in full; either broken is a fail, so the smaller
    p-value counts twice.
    """
    passes, fails = [], []
    if high is not None:
        passes.append(estimate.p_below(high, inclusive=True, times=times))
        fails.append(estimate.p_above(high, times=times))
    if low is not None:
        passes.append(estimate.p_above(low, inclusive=True, times=times))
        fails.append(estimate.p_below(low, times=times))
    return max(passes), min(1.0, len(fails) * min(fails))


def _more(estimate: Estimate, low: float | None, high: float | None, alpha: float) -> str:
    def decides(times: float) -> bool:
        return min(_p_values(estimate, low, high, times)) <= alpha

    few, enough = 1.0, _HOPELESS
    if not decides(enough):
        return "the value is so near the limit that no practical number of clips decides it"
    while enough / few > 1.005:
        middle = math.sqrt(few * enough)
        few, enough = (few, middle) if decides(middle) else (middle, enough)
    more = max(1, math.ceil(estimate.clusters * (enough - 1) - 0.5))
    return f"about {more} more clip{'s' * (more > 1)} of as many repeats would decide it"


def nothing(metric: Metric, clips: Clips) -> RuleResult:
    reasons = [clip.why_null[metric.name] for clip in clips if metric.name in clip.why_null]
    # Of a live session whose words are timed and matched, only its length denies it a slope.
    short = any(clip.session == "live" and clip.word_delay_ms for clip in clips)
    if metric.name == "lag_slope_ms_per_min" and short:
        what_next = "measure a longer session, as by dataset.loop_to_s=120, or take the rule out"
    else:
        what_next = "take the rule out, or run what it asks for"
    return RuleResult(
        seen=f"{metric.name} was not measured: {reasons[0] if reasons else 'no sample'}",
        next=what_next,
    )


def too_few_clips(clips: int) -> RuleResult:
    return RuleResult(
        seen=f"{clips} clips; at least {LEAST_CLIPS} are needed for a decision",
        next=f"measure {LEAST_CLIPS - clips} more clip{'s' * (LEAST_CLIPS - clips > 1)} at least",
        clips=clips,
    )
