"""Percentiles, intervals, tests: pure functions of numbers, seeded, vectorised.

Three questions, three tools:

* *Which value do q of the samples not exceed?* :func:`percentile`, with
  :func:`percentile_interval` from the binomial distribution of order statistics: no assumption on
  the shape of the latencies. Samples of one clip are alike, so they count for less than their
  number: :func:`design_effect` says how much less.
* *How certain is a mean, a ratio, or a difference of two arms?* :func:`bootstrap` over clips. A
  statistic is written as a function of the clips' weights; two arms that share clips share the
  weights, which is what makes the comparison paired.
* *Which of several claims stand?* :func:`holm`.

``docs/methodology.md`` says why each was chosen; ``docs/simulation.md`` how often each is right.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Floats = NDArray[np.float64]
Groups = Sequence[Sequence[float]]  # one group per clip: its samples, over repeats
Statistic = Callable[[Floats], Floats]  # weights of the clips [B, C] -> the statistic [B]

RESAMPLES = 4_000  # fewer from some 2000 clips on
_MOST_CELLS = 2**23  # of a [B, C] weight matrix: 64 MiB
_ROUNDING = 1 + 1e-9
_FEW_TAIL = 0.025  # at which Student's t is compared with the normal distribution
_FEWEST_BEYOND = 10  # resamples beyond a point for its tail share to be counted, not extrapolated


class Interval(msgspec.Struct, frozen=True):
    """A two-sided interval; ``None``: that side does not exist at this confidence and n."""

    low: float | None
    high: float | None
    confidence: float


class Slope(msgspec.Struct, frozen=True):
    slope: float  # y per x
    interval: Interval


# --- percentiles: order statistics ---------------------------------------------------------------


def _rank(n: int, q: float) -> int:
    """1-based rank of the q-percentile; the tolerance undoes 0.95 * 20 = 19.000000000000004."""
    return max(1, math.ceil(n * q - 1e-9))


def percentile(values: Sequence[float] | Floats, q: float) -> float:
    """The smallest sample that at least a share ``q`` (0 < q <= 1) of ``values`` does not exceed.

    Nearest rank, the inverted empirical CDF: definition 1 of Hyndman and Fan (1996). The answer is
    always a value that was measured, and pairs with :func:`percentile_interval`.
    """
    if not 0 < q <= 1 or len(values) == 0:
        raise ValueError(f"percentile of {len(values)} values at q={q}")
    return float(np.sort(values)[_rank(len(values), q) - 1])


def least_n(q: float, confidence: float) -> int:
    """Fewest samples, none beyond the limit, that show ``q``-percentile <= limit.

    n independent samples all fall below the true q-percentile with probability q**n, so
    n >= ln(1 - confidence) / ln(q).
    """
    return math.ceil(math.log(1 - confidence) / math.log(q) - 1e-9)


def design_effect(groups: Groups, limit: float | None = None) -> float:
    """How many samples count as one independent sample, >= 1.

    Variance of the samples' mean rank when whole clips are drawn, over its variance if samples
    were independent. Ranks, because the share beyond a far limit is too rare to tell; with
    ``limit`` also that share, the larger of the two. Counts divided by it go into the exact
    binomial, as by Korn and Graubard (1998). One sample per clip: exactly 1; at most what it is
    when all samples of a clip are the same.
    """
    groups = [group for group in groups if len(group)]
    values = np.concatenate([np.asarray(group, float) for group in groups])
    scores = [stats.rankdata(values)]
    if limit is not None:
        scores.append((values > limit).astype(float))
    return max(_effect_of(score, groups) for score in scores)


def _effect_of(score: Floats, groups: Groups) -> float:
    """Variance of the mean score over clips, over that of independent samples; within limits."""
    sizes = np.array([len(group) for group in groups])
    n, clusters, most = len(score), len(sizes), _most_effect(groups)
    if clusters < 2 or n == clusters:
        return most
    centred = score - score.mean()
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    independent = float(centred @ centred) * n / (n - 1)
    clustered = float((np.add.reduceat(centred, starts) ** 2).sum()) * clusters / (clusters - 1)
    return min(max(1.0, clustered / independent), most) if independent > 0 else 1.0


def _effect_beyond(groups: Groups, q: float) -> float:
    """The design effect of the share beyond the q-percentile, increased for few clips.

    Samples at the percentile are beyond it or not, whichever has the larger effect. Few clips tell
    their variance badly: times the square of t(clips - 1) / t(samples - 1), as by Korn and Graubard
    (1998), if there is any variance to tell. At most what it is when all samples of a clip are the
    same.
    """
    values = np.concatenate([np.asarray(group, float) for group in groups])
    value = percentile(values, q)
    effect = max(
        _effect_of(side.astype(float), groups) for side in (values > value, values >= value)
    )
    if len(groups) < 2 or len(groups) == len(values) or values.min() == values.max():
        return effect
    few = special.stdtrit(len(groups) - 1, _FEW_TAIL) / special.stdtrit(len(values) - 1, _FEW_TAIL)
    return min(effect * float(few) ** 2, _most_effect(groups))


def _most_effect(groups: Groups) -> float:
    """The design effect if all samples of a clip are the same."""
    sizes = np.array([len(group) for group in groups], float)
    return float((sizes**2).sum() / sizes.sum())


def p_percentile_above(n: float, beyond: float, q: float) -> float:
    """P-value against "the q-percentile is at most the limit": P(>= ``beyond`` of ``n`` above it).

    ``n`` and ``beyond`` may be fractions (counts divided by a design effect).
    """
    return 1.0 if beyond <= 0 else float(special.betainc(beyond, n - beyond + 1, 1 - q))


def p_percentile_below(n: float, beyond: float, q: float) -> float:
    """P-value against "the q-percentile is above the limit": P(<= ``beyond`` of ``n`` above it)."""
    return 1.0 if n - beyond <= 0 else float(special.betainc(n - beyond, beyond + 1, q))


def percentile_interval(groups: Groups, q: float, confidence: float) -> Interval:
    """Distribution-free two-sided interval of the q-percentile, from order statistics.

    The ranks at which a binomial(n, q) leaves (1 - confidence) / 2 on either side, continued
    between whole ranks, where samples are interpolated (Hutson 1999): whole ranks alone would cover
    more than was asked for. A side is None when n is too small for it.

    n is the number of samples over their design effect, here of the share beyond the percentile.
    """
    groups = [group for group in groups if len(group)]
    ordered = np.sort(np.concatenate([np.asarray(group, float) for group in groups]))
    value, tail = percentile(ordered, q), (1 - confidence) / 2
    effect = _effect_beyond(groups, q)
    n = len(ordered) / effect
    places = np.arange(1, len(ordered) + 1)

    def samples_at(level: float) -> tuple[Floats, Floats]:
        # Of n ranks; the j-th are the samples (j - 1) * effect + 1 to j * effect, in shares.
        end = effect * (float(special.bdtrik(level, n, q)) + 1) + 0.5
        shares = np.minimum(end, places + 0.5) - np.maximum(end - effect, places - 0.5)
        inside = shares > 0
        return ordered[inside], shares[inside]

    low = high = None
    if (1 - q) ** n <= tail * _ROUNDING:
        found, shares = samples_at(tail)
        # Between a figure and none (a session that never answered) there is no middle.
        middle = np.average(found, weights=shares) if math.isfinite(found[-1]) else found[0]
        low = min(float(middle), value)
    if q**n <= tail * _ROUNDING:
        found, shares = samples_at(1 - tail)
        high = max(float(np.average(found, weights=shares)), value)
    return Interval(low, high, confidence)


class Quantile:
    """What samples of clips say about their q-percentile; the same questions as ``Bootstrap``."""

    def __init__(self, groups: Groups, q: float) -> None:
        self._groups, self._q = [group for group in groups if len(group)], q
        self._values = np.concatenate([np.asarray(group, float) for group in self._groups])
        self.value = percentile(self._values, q)
        self.clusters = len(self._groups)
        self._effect = _effect_beyond(self._groups, q)

    def interval(self, confidence: float) -> Interval:
        return percentile_interval(self._groups, self._q, confidence)

    def p_above(self, limit: float, *, inclusive: bool = False, times: float = 1.0) -> float:
        """P-value against "below ``limit``"; see :meth:`Bootstrap.p_above`."""
        beyond = self._values >= limit if inclusive else self._values > limit
        return p_percentile_above(*self._counts(beyond, limit, times), self._q)

    def p_below(self, limit: float, *, inclusive: bool = False, times: float = 1.0) -> float:
        """P-value against "above ``limit``"; see :meth:`Bootstrap.p_above`."""
        beyond = self._values > limit if inclusive else self._values >= limit
        return p_percentile_below(*self._counts(beyond, limit, times), self._q)

    def _counts(self, beyond: NDArray[np.bool_], limit: float, times: float) -> tuple[float, float]:
        effect = max(design_effect(self._groups, limit), self._effect)
        return len(beyond) * times / effect, int(beyond.sum()) * times / effect


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

    def statistic(weights: Floats) -> Floats:
        rows = max(1, _MOST_CELLS // len(ordered))
        found = np.empty(len(weights))
        for start in range(0, len(weights), rows):
            reached = np.cumsum(weights[start : start + rows, clip], axis=1)
            needed = q * reached[:, -1:] - 1e-9
            found[start : start + rows] = ordered[np.argmax(reached >= needed, axis=1)]
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
            self._sd = _smoothed_sd(weights[finite], drawn[finite])
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
    moved = (weights - 1).T @ (drawn - drawn.mean()) / len(drawn)
    variance = float(moved @ moved) - len(moved) / len(drawn) * float(drawn.var())
    return max(math.sqrt(max(variance, 0.0)), 0.1 * float(drawn.std()))


def _accelerate(z: float, acceleration: float) -> float:
    """z / (1 + acceleration * z); infinite from its pole on, which lies at |z| >= 6."""
    divisor = 1 + acceleration * z
    return z / divisor if divisor > 0 else math.copysign(math.inf, z)


# --- slopes and families -------------------------------------------------------------------------


def slope(x: Sequence[float] | Floats, y: Sequence[float] | Floats, confidence: float) -> Slope:
    """Theil-Sen slope with Sen's (1968) interval, which assumes independent residuals.

    Needs two different x. Where neighbours are alike, see :func:`slope_of_series`.
    """
    fit = stats.theilslopes(y, x, alpha=confidence)
    return Slope(
        float(fit.slope), Interval(float(fit.low_slope), float(fit.high_slope), confidence)
    )


def slope_of_series(x: Floats, y: Floats, confidence: float) -> Slope:
    """As :func:`slope`, for a series in time whose neighbours are alike; ten points at least.

    Of the medians of 5 to 20 blocks of consecutive points: what makes neighbours alike is within a
    block, unless it lasts longer.
    """
    blocks = min(20, max(5, len(x) // 10))
    of_blocks = [
        [float(np.median(part)) for part in np.array_split(side, blocks)] for side in (x, y)
    ]
    return slope(of_blocks[0], of_blocks[1], confidence)


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """P-values adjusted by Holm (1979): each <= alpha keeps P(any false one) <= alpha.

    Valid whatever the dependence between the claims.
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return tuple(float(value) for value in adjusted)
