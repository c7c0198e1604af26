"""What resampled clips say of a mean, a ratio, or a difference of two arms: seeded, vectorised.

A statistic is written as a function of the clips' weights; two arms that share clips share the
weights, which is what makes a comparison paired. ``docs/methodology.md`` says why each method was
chosen; ``docs/simulation.md`` how often each is right.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from scipy import special

from harness.stats.estimates import Floats, Groups, Interval

Statistic = Callable[[Floats], Floats]  # weights of the clips [B, C] -> the statistic [B]

RESAMPLES = 4_000  # fewer from some 2000 clips on
_MOST_CELLS = 2**23  # of a [B, C] weight matrix: 64 MiB
_PARTS = 24  # of all samples: a percentile is sought in one of them, not in all
_FEWEST_BEYOND = 10  # resamples beyond a point for its tail share to be counted, not extrapolated


# --- statistics as functions of the clips' weights -----------------------------------------------


def mean_of(groups: Groups) -> Statistic:
    """Mean over all samples."""
    sums = np.array([float(np.sum(group)) for group in groups])
    return ratio_of_sums(sums, [len(group) for group in groups])


def ratio_of_sums(above: Sequence[float] | Floats, below: Sequence[float] | Floats) -> Statistic:
    """Sum of one figure per clip over the sum of another, such as errors over words.

    NaN, which the bootstrap leaves out, where there is nothing to divide by.
    """
    top, bottom = np.asarray(above, float), np.asarray(below, float)

    def statistic(weights: Floats) -> Floats:
        divisor = weights @ bottom
        nothing = np.full_like(divisor, np.nan)
        found: Floats = np.divide(weights @ top, divisor, out=nothing, where=divisor > 0)
        return found

    return statistic


def percentile_of(groups: Groups, q: float) -> Statistic:
    """:func:`percentile` over all samples; not smooth."""
    sizes = [len(group) for group in groups]
    values = np.concatenate([np.asarray(group, float) for group in groups])
    order = np.argsort(values, kind="stable")
    ordered, clip = values[order], np.repeat(np.arange(len(sizes)), sizes)[order]
    # Where to look: how many samples of each clip [C, K] lie before the end of each of K parts.
    parts = _PARTS if len(ordered) >= 8 * _PARTS else 1
    marks = np.linspace(0, len(ordered), parts + 1).astype(int)
    before = np.stack([np.bincount(clip[:end], minlength=len(sizes)) for end in marks[1:]], axis=1)
    before = before.astype(float)

    def statistic(weights: Floats) -> Floats:
        reached = weights @ before  # whole numbers: exact
        needed = q * reached[:, -1:] - 1e-9
        part = np.argmax(reached >= needed, axis=1)
        found = np.empty(len(weights))
        for one in np.unique(part):
            rows, within = np.flatnonzero(part == one), clip[marks[one] : marks[one + 1]]
            base = reached[rows, one - 1 : one] if one else np.zeros((len(rows), 1))
            most = max(1, _MOST_CELLS // len(within))
            for first in range(0, len(rows), most):
                some = slice(first, first + most)
                counts = base[some] + np.cumsum(weights[np.ix_(rows[some], within)], axis=1)
                place = np.argmax(counts >= needed[rows[some]], axis=1)
                found[rows[some]] = ordered[marks[one] + place]
        return found

    return statistic


# --- bootstrap over clips ------------------------------------------------------------------------


def remembered(statistic: Statistic) -> Statistic:
    """The same, asked only once about the same weights."""
    answers: list[tuple[Floats, Floats]] = []

    def answer(weights: Floats) -> Floats:
        for asked, found in answers:
            if asked is weights:
                return found
        answers.append((weights, statistic(weights)))
        return answers[-1][1]

    return answer


@functools.lru_cache(maxsize=8)
def resampled(clusters: int, seed: int) -> Floats:
    """Weights of clips [B, C]: how often each was drawn, of ``clusters`` with replacement."""
    resamples = min(RESAMPLES, max(1000, _MOST_CELLS // clusters))
    rng = np.random.default_rng([seed, clusters])
    drawn = rng.multinomial(clusters, np.full(clusters, 1 / clusters), size=resamples)
    weights: Floats = drawn.astype(float)
    weights.setflags(write=False)
    return weights


Method = Literal["bca", "percentile", "smoothed"]


class Bootstrap:
    """The distribution of a statistic over resampled clips, and what it says.

    ``method`` depends on the statistic:

    * ``bca`` (Efron 1987) for means and ratios of one arm, which are skewed. Few clips tell their
      skewness badly, so it may only widen: each bound is the farther of its and ``percentile``'s.
    * ``percentile`` for differences of two arms that share clips: symmetric unless something
      changed, where BCa's estimated skewness costs coverage.
    * ``smoothed`` (Efron 2014) for tail percentiles of two arms, which jump from sample to sample:
      the mean over resamples instead of the one value, with its own standard error, the
      infinitesimal jackknife's, less what the finite number of resamples adds (Wager et al. 2014).

    All are widened for few clips as by Hesterberg (2015): quantiles of Student's t with C - 1
    degrees of freedom, times sqrt(C / (C - 1)), in place of the normal ones.
    """

    def __init__(self, statistic: Statistic, clusters: int, method: Method, seed: int = 0) -> None:
        if clusters < 2:
            raise ValueError(f"a bootstrap over {clusters} clips")
        self.value = float(statistic(np.ones((1, clusters)))[0])
        self.clusters = clusters
        weights = resampled(clusters, seed)
        drawn = statistic(weights)
        finite = np.isfinite(drawn)  # a ratio whose divisor was 0 is not one
        self._draws = np.sort(drawn[finite])
        self._mean, self._sd = float(self._draws.mean()), float(self._draws.std())
        # Of z: what is estimated of the statistic's bias and acceleration; none, and BCa's.
        self._shapes = [(0.0, 0.0)]
        self._normal = method == "smoothed" and not self.certain
        if self._normal:
            kept = (weights, drawn) if finite.all() else (weights[finite], drawn[finite])
            self._sd = _smoothed_sd(*kept)
        elif method == "bca" and not self.certain:
            left_out = statistic(1.0 - np.eye(clusters))
            centred = left_out.mean() - left_out
            spread = float((centred**2).sum())
            # Of no spread are clips that are all the same, but for rounding.
            skewness = float((centred**3).sum()) / spread**1.5 if spread > 0 else 0.0
            bias = float(special.ndtri(self._share_below(self.value)))
            self._shapes.append((bias, skewness / 6))

    @property
    def certain(self) -> bool:
        """The statistic is the same whichever clips are drawn, but for rounding."""
        return self._sd <= 1e-12 * abs(self.value)

    def interval(self, confidence: float) -> Interval:
        """Always with the value itself, which is not in the middle of a smoothed one."""
        tail = (1 - confidence) / 2
        low, high = self.bound(tail), self.bound(1 - tail)
        return Interval(min(low, self.value), max(high, self.value), confidence)

    def bound(self, level: float) -> float:
        """The value that the truth is below with probability ``level``, one-sided."""
        wide = math.sqrt(self.clusters / (self.clusters - 1))
        z = wide * float(special.stdtrit(self.clusters - 1, level))
        bounds = [
            self._quantile(bias + _accelerate(bias + z, -acceleration))
            for bias, acceleration in self._shapes
        ]
        return min(bounds) if level < 0.5 else max(bounds)

    def p_above(self, limit: float, *, inclusive: bool = False, times: float = 1.0) -> float:
        """P-value against "at most ``limit``": the level whose lower bound is ``limit``.

        Args:
            inclusive: a value that cannot vary and equals the limit counts as above it.
            times: what it would be if so many times the clips had shown the same.
        """
        if self.certain:
            return self._known(self.value > limit, limit, inclusive=inclusive)
        # A smoothed value may lie on the other side than the measured one: then neither is shown.
        least = 0.5 if self._normal and self.value <= limit else 0.0
        return max(least, *self._levels(limit, times))

    def p_below(self, limit: float, *, inclusive: bool = False, times: float = 1.0) -> float:
        """P-value against "at least ``limit``"; see :meth:`p_above`."""
        if self.certain:
            return self._known(self.value < limit, limit, inclusive=inclusive)
        least = 0.5 if self._normal and self.value >= limit else 0.0
        return max(least, 1 - min(self._levels(limit, times)))

    def _known(self, beyond: bool, limit: float, *, inclusive: bool) -> float:
        equal = math.isclose(self.value, limit, rel_tol=1e-12)
        return 0.0 if (inclusive if equal else beyond) else 1.0

    def _levels(self, limit: float, times: float) -> list[float]:
        wide = math.sqrt(self.clusters / (self.clusters - 1))
        levels = []
        for bias, acceleration in self._shapes:
            z = _accelerate(self._z(limit) - bias, acceleration) - bias
            level = special.stdtr(self.clusters * times - 1, z * math.sqrt(times) / wide)
            levels.append(float(level))
        return levels

    # Beyond the outermost resamples a tail share cannot be counted: from there it goes on as
    # normal. A smoothed statistic is as good as normal everywhere.

    def _share_below(self, point: float) -> float:
        less = np.searchsorted(self._draws, point, "left")
        at_most = np.searchsorted(self._draws, point, "right")
        return float(less + at_most) / (2 * len(self._draws))

    def _z(self, point: float) -> float:
        if self._normal:
            return (point - self._mean) / self._sd
        edge = self._edge()
        low, high = self._quantile(-edge), self._quantile(edge)
        if point < low:
            return -edge + (point - low) / self._sd
        if point > high:
            return edge + (point - high) / self._sd
        return min(max(float(special.ndtri(self._share_below(point))), -edge), edge)

    def _quantile(self, z: float) -> float:
        if self._normal:
            return self._mean + z * self._sd
        edge = self._edge()
        within = min(max(z, -edge), edge)
        return float(np.quantile(self._draws, special.ndtr(within))) + (z - within) * self._sd

    def _edge(self) -> float:
        return -float(special.ndtri(_FEWEST_BEYOND / len(self._draws)))


def _smoothed_sd(weights: Floats, drawn: Floats) -> float:
    """Standard error of the mean over resamples, from how each clip's weight moves the statistic.

    ``weights`` [B, C], ``drawn`` [B]. Never less than a tenth of the statistic's own: resamples
    are too few to tell that a statistic does not depend on the clips.
    """
    centred = drawn - drawn.mean()
    moved = (centred @ weights - centred.sum()) / len(drawn)
    variance = float(moved @ moved) - len(moved) / len(drawn) * float(drawn.var())
    return max(math.sqrt(max(variance, 0.0)), 0.1 * float(drawn.std()))


def _accelerate(z: float, acceleration: float) -> float:
    """z / (1 + acceleration * z); infinite from its pole on, which lies at |z| >= 6."""
    divisor = 1 + acceleration * z
    return z / divisor if divisor > 0 else math.copysign(math.inf, z)
