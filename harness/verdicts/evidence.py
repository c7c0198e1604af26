"""What the clips of a run show for and against one rule.

Every rule becomes two p-values: against "the rule is broken" (small: it holds) and against "the
rule is kept" (small: it is broken). ``gates`` turns them into a status. Samples of one clip are
never taken for independent: percentiles divide their counts by a design effect, everything else is
resampled by clip.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import cast

import msgspec
from scipy import special

from harness.languages.units import is_blank, is_spoken, words_of
from harness.metrics import ClipMetrics, Ratio
from harness.metrics.instants import FLOOD, NO_WORD, Missing
from harness.metrics.metric import Metric
from harness.metrics.summary import samples_by_clip, shares_by_clip
from harness.stats.bootstrap import Bootstrap, mean_of, ratio_of_sums
from harness.stats.estimates import Interval, Quantile, Share, blocks_of, least_n, simes
from harness.verdicts.objectives import is_good, never_measured
from harness.verdicts.rules import EveryClip, EverySlope, Goodput, Memory, Within, quantile
from harness.verdicts.wording import say, say_interval

# With fewer, not even all clips agreeing tells 95 % from chance: 0.5**5 = 0.03.
LEAST_CLIPS = least_n(0.5, 0.95)
_Z95 = float(special.ndtri(0.975))
_WHY_NO_MEMORY = {
    "memory_mib": "the run's folder has no host.jsonl",
    "memory_slope_mib_per_min": "the run's folder has no host.jsonl",
    "gpu_memory_mib": "the engine was not on a GPU of this machine",
}
_HOPELESS = 100.0  # times the clips at hand: nobody will measure that

Clips = Sequence[ClipMetrics]
Estimate = Quantile | Bootstrap | Share


class Material(msgspec.Struct, frozen=True, kw_only=True):
    """What rules are judged on."""

    clips: Clips
    references: Mapping[str, Clips]  # `baseline`, and other arms by name
    memory: Mapping[str, Ratio]  # what is known of the run's memory, by its name in the summary
    bands: Mapping[str, float]  # "ttft_ms p50" -> relative noise between runs; empty: unknown
    alpha: float  # of each one-sided decision
    seed: int


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """For and against one rule."""

    seen: str  # what was seen against what was allowed
    p_pass: float = 1.0  # p-value against "the rule is broken"
    p_fail: float = 1.0  # p-value against "the rule is kept"
    exact: bool = False  # a fact, not a guess: no part in the correction for many rules
    observed: float | None = None
    limit: float | None = None
    unit: str = "1"
    interval: Interval | None = None
    n: int = 0
    clips: int = 0
    next: str = ""  # what would decide it


# --- one arm against a limit ---------------------------------------------------------------------


def within(rule: Within, material: Material) -> Evidence:
    if rule.metric.scope == "corpus":
        return _ratio_within(rule, material)
    groups = samples(rule.metric, material.clips)
    if not groups:
        return nothing(rule.metric, material.clips)
    values = [value for group in groups.values() for value in group]
    q = quantile(rule.statistic or "mean")
    estimate: Estimate
    if q is not None:
        estimate = Quantile(list(groups.values()), q)
    elif len(groups) < LEAST_CLIPS:
        return too_few_clips(len(groups))
    elif math.inf in values:
        return Evidence(
            seen="sessions without an answer waited for ever: there is no mean",
            next="see why they have no text, or judge a percentile",
        )
    else:
        mean = mean_of(list(groups.values()))
        estimate = Bootstrap(mean, len(groups), "bca", seed=material.seed)
    found = estimated(
        estimate, f"{rule.metric.name} {rule.statistic}", rule.metric.unit, material.alpha,
        low=rule.low, high=rule.high, n=len(values),
    )  # fmt: skip
    return msgspec.structs.replace(found, seen=found.seen + without(rule.metric, material.clips))


def _ratio_within(rule: Within, material: Material) -> Evidence:
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
    if sum(above) > 0 or rule.high is None:
        return found
    # No error to resample. That n words of text show none has probability (1 - rate)**n; repeats
    # of a clip are the same words.
    what = "characters" if rule.metric.name == "cer" else "words"
    count = sum(share[1] for share in shares_by_clip(rule.metric, _once(material.clips)).values())
    return msgspec.structs.replace(
        found, interval=None, seen=f"no error in {count:g} {what}, allowed {say(rule.high, '1')}",
        p_pass=(1 - min(rule.high, 1.0)) ** count, next="more clips would decide it",
    )  # fmt: skip


def _once(clips: Clips) -> Clips:
    return list({clip.clip: clip for clip in clips}.values())


def every_clip(rule: EveryClip, clips: Clips) -> Evidence:
    """A fact of every session; a failed one is counted by `failed = 0` alone."""
    answered = [clip for clip in clips if clip.failed is None]
    if rule.fact == "failed":
        broken = [f"{_name(c)}: {c.failed}" for c in clips if c.failed is not None]
        what, judged = "failed", clips
    elif rule.fact == "chunks":
        # What has fewer words cannot come in so many chunks.
        judged = [c for c in answered if len(list(words_of(c.reference))) >= rule.least]
        broken = [f"{_name(c)}: {c.chunks}" for c in judged if c.chunks < rule.least]
        what = f"have fewer than {rule.least} chunks"
    else:
        live = [clip for clip in answered if clip.session == "live"]
        if answered and not live:
            return Evidence(seen="no live session: in a turn, text comes after the audio",
                            next="run with session=live")  # fmt: skip
        judged = [clip for clip in live if is_spoken(clip.reference)]  # others: nothing to say
        if any(clip.why_null.get("ttft_ms") == FLOOD for clip in judged):
            return Evidence(seen=f"when text came was not measured: {FLOOD}",
                            next="run with replay.pace=realtime")  # fmt: skip
        broken = [_name(clip) for clip in judged if not _text_during_audio(clip)]
        what = "have no text before the end of their audio"
    if not answered and rule.fact != "failed":
        return Evidence(seen="no session was measured", next="see why every session failed")
    if not judged:
        words = f"{rule.least} words" if rule.fact == "chunks" else "words"
        return Evidence(seen=f"no clip has {words} in its reference",
                        next="take the rule out, or run clips in which more is said")  # fmt: skip
    seen = f"{len(broken)} of {len(judged)} sessions {what}"
    return Evidence(
        seen=f"{seen}, such as {broken[0]}" if broken else seen,
        p_pass=float(bool(broken)), p_fail=float(not broken), exact=True,
        observed=float(len(broken)), limit=0.0, unit="sessions",
        n=len(judged), clips=len({clip.clip for clip in judged}),
    )  # fmt: skip


def goodput(rule: Goodput, material: Material) -> Evidence:
    """How many sessions kept every objective; a failed one did not."""
    if unknown := never_measured(material.clips, rule.objectives):
        return nothing(unknown[0].metric, material.clips)
    good: dict[str, list[bool]] = {}
    broken = []
    for clip in material.clips:
        met = is_good(clip, rule.objectives)
        good.setdefault(clip.clip, []).append(met)
        broken += [] if met else [_name(clip)]
    if not good:
        return Evidence(seen="no session was measured", next="see why there is none")
    found = estimated(
        Share(list(good.values())), "goodput", "1", material.alpha,
        low=rule.least, high=None, n=len(material.clips),
    )  # fmt: skip
    such = f"; {broken[0]} is not good" if broken else ""
    return msgspec.structs.replace(found, seen=found.seen + such)


def every_slope(rule: EverySlope, material: Material) -> Evidence:
    """One session that falls behind is enough; each is tested by the interval of its own slope.

    All of them together say whether any does (Simes): what many do is no accident of one.

    A session without a slope may have fallen behind: with one there is no pass.
    """
    found = []  # of each session: p-values against "broken" and "kept", and what was seen
    without = []
    for clip in material.clips:
        slope, bounds = clip.lag_slope_ms_per_min, clip.lag_slope_ci95
        if slope is None or bounds is None:
            without.append(f"{_name(clip)}: {clip.why_null.get(rule.metric.name)}")
            continue
        blocks = blocks_of(len(clip.word_delay_ms))
        p_broken, interval = _slope_within(slope, bounds, rule.high, material.alpha, blocks)
        # Of n points in any order one in n! is sorted: no test of a slope tells more.
        least = 1 / math.factorial(blocks)
        found.append((min(max(p_broken, least), 1 - least), slope, interval, _name(clip)))
    if not found:
        return nothing(rule.metric, material.clips)
    p_broken, slope, interval, name = max(found, key=lambda session: session[0])
    unit = rule.metric.unit
    lost = f"; {len(without)} sessions have no slope, such as {without[0]}" if without else ""
    return Evidence(
        seen=f"the worst of {len(found)} sessions, {name}, changes by {say(slope, unit)}"
        f" {say_interval(interval, unit)}, allowed at most {say(rule.high, unit)}{lost}",
        p_pass=1.0 if without else p_broken,
        p_fail=simes([1 - p for p, *_ in found]),
        observed=slope, limit=rule.high, unit=unit, interval=interval,
        n=len(found), clips=len({clip.clip for clip in material.clips}),
        next="longer sessions would decide it: dataset.loop_to_s",
    )  # fmt: skip


def _slope_within(
    slope: float,
    ci95: tuple[float | None, float | None],
    high: float,
    alpha: float,
    points: float = math.inf,
) -> tuple[float, Interval]:
    """P-value against "``slope`` is more than ``high``", and the interval that goes with alpha.

    Args:
        points: that the slope is of, where it is one of many that are looked at: the worst of them
            lies far out, where a few points are worth less than the normal distribution says.
    """
    below, above = slope - cast("float", ci95[0]), cast("float", ci95[1]) - slope
    # Each side of Sen's interval as if normal: Kendall's statistic nearly is. Student's t of as
    # many points falls slower; in simulated runs of 44 to 100 sessions 0 to 5 % fail by chance.
    z = _Z95 * (slope - high) / max(above if slope <= high else below, 1e-9)
    if math.isinf(points):
        p_value, wide = special.ndtr(z), special.ndtri(1 - alpha) / _Z95
    else:
        p_value, wide = special.stdtr(points - 2, z), special.stdtrit(points - 2, 1 - alpha) / _Z95
    low, high = float(slope - wide * below), float(slope + wide * above)
    return float(p_value), Interval(low, high, 1 - 2 * alpha)


def memory(rule: Memory, material: Material) -> Evidence:
    """The most is a fact of the run; growth is a slope with an interval."""
    figure = material.memory.get(rule.figure)
    if figure is None or figure.value is None:
        why = figure.why_null if figure else _WHY_NO_MEMORY[rule.figure]
        return Evidence(
            seen=f"{rule.figure} was not measured: {why}",
            next="take the rule out, or run what it asks for",
        )
    said = f"{rule.figure} is {say(figure.value, rule.unit)}"
    allowed = f"allowed at most {say(rule.high, rule.unit)}"
    if figure.ci95 is None:
        kept = figure.value <= rule.high
        return Evidence(
            seen=f"{said}, {allowed}", p_pass=float(not kept), p_fail=float(kept), exact=True,
            observed=figure.value, limit=rule.high, unit=rule.unit,
        )  # fmt: skip
    p_broken, interval = _slope_within(figure.value, figure.ci95, rule.high, material.alpha)
    return Evidence(
        seen=f"{said} {say_interval(interval, rule.unit)}, {allowed}",
        p_pass=p_broken, p_fail=1 - p_broken,
        observed=figure.value, limit=rule.high, unit=rule.unit, interval=interval,
        next="a longer run would decide it: replay.repeats or dataset.loop_to_s",
    )  # fmt: skip


def _text_during_audio(clip: ClipMetrics) -> bool:
    if clip.ttft_ms is None:
        return False
    return clip.speech_onset_s * 1000 + clip.ttft_ms < clip.duration_s * 1000


def _name(clip: ClipMetrics) -> str:
    return f"{clip.clip}#{clip.repeat}"


# --- shared with `comparisons` -------------------------------------------------------------------


def samples(metric: Metric, clips: Clips) -> dict[str, list[float]]:
    """Clip -> its samples; a session that was to answer and did not is an infinite one."""
    groups = samples_by_clip(metric.name, clips)
    if metric.infinite:
        for clip in clips:
            if metric.name == "response_ms" and clip.session == "live":
                continue  # there is none to wait for
            no_word = clip.why_null.get(metric.name) == NO_WORD.reason
            silent = clip.figure(metric.name) is None and (no_word or is_blank(clip.hypothesis))
            if clip.failed is not None or (silent and is_spoken(clip.reference)):
                groups.setdefault(clip.clip, []).append(math.inf)
    return groups


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
    such = f"{_name(first)}: {why}" if why else _name(first)
    return f"; {len(lost)} of {len(clips)} sessions{of} have no sample, such as {such}"


def _has_part(metric: Metric, clip: ClipMetrics) -> bool:
    if metric.scope == "corpus":
        return not isinstance(metric.function(clip), Missing)
    return bool(samples(metric, [clip]))


def estimated(
    estimate: Estimate, name: str, unit: str, alpha: float, *,
    low: float | None, high: float | None, n: int,
) -> Evidence:  # fmt: skip
    """Evidence from an estimate of a value that is to be at least ``low``, at most ``high``."""
    p_pass, p_fail = _p_values(estimate, low, high)
    interval = estimate.interval(1 - 2 * alpha)
    limits = [f"at least {say(low, unit)}"] if low is not None else []
    limits += [f"at most {say(high, unit)}"] if high is not None else []
    decided = min(p_pass, p_fail) <= alpha
    return Evidence(
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
    """Against "broken" and against "kept", if ``times`` the clips had shown the same.

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
        return "what was seen is so near the limit that no sensible number of clips decides it"
    while enough / few > 1.005:
        middle = math.sqrt(few * enough)
        few, enough = (few, middle) if decides(middle) else (middle, enough)
    more = max(1, math.ceil(estimate.clusters * (enough - 1) - 0.5))
    return f"about {more} more clip{'s' * (more > 1)} of as many repeats would decide it"


def nothing(metric: Metric, clips: Clips) -> Evidence:
    reasons = [clip.why_null[metric.name] for clip in clips if metric.name in clip.why_null]
    # Of a live session whose words are timed and matched, only its length denies it a slope.
    short = any(clip.session == "live" and clip.word_delay_ms for clip in clips)
    if metric.name == "lag_slope_ms_per_min" and short:
        what_next = "measure a longer session, as by dataset.loop_to_s=120, or take the rule out"
    else:
        what_next = "take the rule out, or run what it asks for"
    return Evidence(
        seen=f"{metric.name} was not measured: {reasons[0] if reasons else 'no sample'}",
        next=what_next,
    )


def too_few_clips(clips: int) -> Evidence:
    return Evidence(
        seen=f"{clips} clips; from fewer than {LEAST_CLIPS} nothing can be told",
        next=f"measure {LEAST_CLIPS - clips} more clip{'s' * (LEAST_CLIPS - clips > 1)} at least",
        clips=clips,
    )
