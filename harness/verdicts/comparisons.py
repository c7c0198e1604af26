"""Rules against a reference: a stored baseline, or another arm of the same go.

Clips are paired: each is compared with itself, so that what makes clips differ cancels. Up to the
median a statistic is taken per clip, over its repeats, and averaged over clips. A tail percentile
of a clip's few repeats would be their maximum, so tails are pooled over all samples of the shared
clips, and need enough of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeGuard, cast

import msgspec
import numpy as np

from harness.languages.units import composed
from harness.metrics import ClipMetrics
from harness.metrics.instants import OTHER_REQUEST
from harness.metrics.summary import shares_by_clip
from harness.stats.bootstrap import (
    Bootstrap,
    Method,
    Statistic,
    percentile_of,
    ratio_of_sums,
    remembered,
    resampled,
)
from harness.stats.estimates import Floats, Groups, Interval, percentile
from harness.verdicts.evidence import (
    LEAST_CLIPS,
    Clips,
    Evidence,
    Material,
    estimated,
    nothing,
    samples,
    too_few_clips,
    without,
)
from harness.verdicts.rules import BASELINE, Delta, Faster, NoWorse, TextParity, quantile
from harness.verdicts.wording import say, say_interval

# Samples that must lie beyond a tail percentile for its resampled distribution to mean anything.
LEAST_BEYOND = 5


def against(rule: NoWorse | Faster | Delta | TextParity, material: Material) -> Evidence:
    """The evidence on a rule that names a reference."""
    wanted = material.references
    if rule.reference is not None:
        wanted = {name: clips for name, clips in wanted.items() if name == rule.reference}
    if not wanted:
        return _no_reference(rule.reference or BASELINE)
    if isinstance(rule, TextParity):
        return _text_parity(material.clips, wanted)
    (reference,) = wanted.values()
    if isinstance(rule, Delta):
        return _delta(rule, material, reference)
    return _compare(rule, material, reference)


def _no_reference(name: str) -> Evidence:
    if name == BASELINE:
        return Evidence(
            seen="there is no baseline to compare with",
            next="save one with `baseline save NAME RUN` and name it with --baseline NAME,"
            " or measure both in one go with `compare`",
        )
    return Evidence(
        seen=f"there is no arm {name} to compare with",
        next=f"measure it in the same go: `compare` with {name} among the arms",
    )


def _compare(rule: NoWorse | Faster, material: Material, reference: Clips) -> Evidence:
    metric, q = rule.metric, quantile(rule.statistic)
    if metric.from_request and len({c.session for c in (*material.clips, *reference)}) > 1:
        return Evidence(
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
        return Evidence(
            seen="clips without an answer waited for ever and cannot be compared",
            next="see why they have no text",
        )
    lost = without(metric, material.clips) + without(metric, reference, of=" of the reference")
    found = _faster_or_rise(rule, material, new_of, old_of, clips=len(shared), n=n)
    return msgspec.structs.replace(found, seen=found.seen + lost)


def _faster_or_rise(
    rule: NoWorse | Faster, material: Material, new_of: Statistic, old_of: Statistic, *,
    clips: int, n: int,
) -> Evidence:  # fmt: skip
    everything, drawn = np.ones((1, clips)), resampled(clips, material.seed)
    name = f"{rule.metric.name} {rule.statistic}"
    if isinstance(rule, Faster):
        if min(new_of(everything).min(), new_of(drawn).min()) <= 0:
            return Evidence(
                seen=f"{name} is not above 0: nothing can be that many times faster or slower",
                next="judge the difference: at most +NUMBER % and +QUANTITY",
            )
        method = _method(quantile(rule.statistic))
        factor = Bootstrap(lambda w: old_of(w) / new_of(w), clips, method, seed=material.seed)
        return estimated(
            factor, f"{name} of {rule.reference} divided by this one", "1", material.alpha,
            low=rule.times, high=None, n=n,
        )  # fmt: skip
    return _rise(rule, material, new_of, old_of, clips=clips, n=n)


def _rise(
    rule: NoWorse, material: Material, new_of: Statistic, old_of: Statistic, *, clips: int, n: int
) -> Evidence:
    """The rise less what is allowed is one statistic, so one test with one error rate decides."""
    name, unit = f"{rule.metric.name} {rule.statistic}", rule.metric.unit
    band = material.bands.get(name, 0.0) if rule.reference == BASELINE else 0.0

    def allowed(weights: Floats) -> Floats:
        return np.maximum(max(rule.relative, band) * np.abs(old_of(weights)), rule.absolute)

    def rise_beyond(weights: Floats) -> Floats:
        old, limit = old_of(weights), allowed(weights)
        beyond = new_of(weights) - old - limit
        beyond[np.abs(beyond) <= 1e-9 * (np.abs(old) + limit)] = 0.0  # rounding is no difference
        return beyond

    method = _method(quantile(rule.statistic))
    excess = Bootstrap(rise_beyond, clips, method, seed=material.seed)
    found = estimated(excess, name, unit, material.alpha, low=None, high=0.0, n=n)
    everything = np.ones((1, clips))
    old, limit = float(old_of(everything)[0]), float(allowed(everything)[0])
    # Shown is the rise itself: its excess varies with what is allowed, even of no rise at all.
    rise = Bootstrap(lambda w: new_of(w) - old_of(w), clips, method, seed=material.seed)
    interval = rise.interval(1 - 2 * material.alpha)
    share = f"{100 * rise.value / abs(old):+.1f} %, " if old else ""
    widened = f" (the noise between runs is {100 * band:.1f} %)" if band > rule.relative else ""
    varies = float(allowed(resampled(clips, material.seed)).max()) > rule.absolute
    if varies and _seems_otherwise(found, interval, limit, material.alpha):
        widened += ", which varies with the clips as well: the rise less that was tested"
    return msgspec.structs.replace(
        found, observed=rise.value, limit=limit, interval=interval,
        seen=f"{name} went from {say(old, unit)} to {say(old + rise.value, unit)}:"
        f" {share}{rise.value:+.1f} {unit} {say_interval(interval, unit)},"
        f" allowed +{say(limit, unit)}{widened}; n = {n} from {clips} clips",
    )  # fmt: skip


def _seems_otherwise(found: Evidence, interval: Interval, limit: float, alpha: float) -> bool:
    """Would ``interval`` beside ``limit`` look like another answer than the one that was found?"""
    low, high = cast("float", interval.low), cast("float", interval.high)
    return (high <= limit, low > limit) != (found.p_pass <= alpha, found.p_fail <= alpha)


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


def _too_few_beyond(rule: NoWorse | Faster, q: float, n: int, clips: int, *, of: str) -> Evidence:
    needed = math.ceil(LEAST_BEYOND / (1 - q) - 1e-9)
    times = math.ceil(needed / n - 1e-9)
    return Evidence(
        seen=f"n = {n} in {of}; two {rule.statistic} can be compared from n = {needed} on,"
        f" when {LEAST_BEYOND} samples lie beyond it",
        next=f"measure {times} times as many clips or repeats in {of}, or judge p50",
        n=n,
        clips=clips,
    )


def _delta(rule: Delta, material: Material, reference: Clips) -> Evidence:
    name = rule.metric.name
    new, old = (shares_by_clip(rule.metric, clips) for clips in (material.clips, reference))
    shared = [clip for clip in new if clip in old]
    if not shared:
        return nothing(rule.metric, [*material.clips, *reference])
    counting = sum(old[clip][1] > 0 for clip in shared)
    if counting < LEAST_CLIPS:
        return too_few_clips(counting)
    rates = [ratio_of_sums(*zip(*(arm[c] for c in shared), strict=True)) for arm in (new, old)]
    change = Bootstrap(
        lambda w: rates[0](w) - rates[1](w), len(shared), "percentile", seed=material.seed
    )
    return estimated(
        change, f"{name} less that of {rule.reference}", "1", material.alpha,
        low=None, high=rule.high, n=len(shared),
    )  # fmt: skip


def _text_parity(clips: Clips, references: Mapping[str, Clips]) -> Evidence:
    here = _texts(clips)
    compared, broken = 0, []
    # The baseline of a comparison is one of its arms as well.
    distinct = {id(reference): (name, reference) for name, reference in references.items()}
    for name, reference in distinct.values():
        there = _texts(reference)
        for clip in here:
            if clip in there:
                compared += 1
                new, old = _unlike(here[clip], there[clip]), _unlike(there[clip], here[clip])
                if new or old:
                    said = _quoted(new or here[clip]), _quoted(old or there[clip])
                    broken.append(f"{clip}: {said[0]} here, {said[1]} in {name}")
    if not compared:
        return Evidence(seen="no clip is shared", next="compare runs of the same dataset")
    seen = f"{len(broken)} of {compared} texts differ"
    return Evidence(
        seen=f"{seen}, such as {broken[0]}" if broken else seen,
        p_pass=float(bool(broken)), p_fail=float(not broken), exact=True,
        observed=float(len(broken)), limit=0.0, unit="texts", n=compared, clips=len(here),
    )  # fmt: skip


def _texts(clips: Clips) -> dict[str, set[str | None]]:
    """Clip -> its final texts: one, unless its repeats differ; None: a session failed."""
    texts: dict[str, set[str | None]] = {}
    for clip in clips:
        text = composed(clip.hypothesis).strip() if clip.failed is None else None
        texts.setdefault(clip.clip, set()).add(text)
    return texts


def _unlike(texts: set[str | None], others: set[str | None]) -> set[str | None]:
    """Those that ``others`` do not have; the text of a failed session is the same as no other."""
    return texts - (others - {None})


def _quoted(texts: set[str | None]) -> str:
    said = sorted(text for text in texts if text is not None)
    return repr(said[0]) if said else "a failed session"
