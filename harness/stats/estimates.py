"""Percentiles, intervals, tests: pure functions of numbers, seeded, vectorised.

Three questions:

* *Which value do q of the samples not exceed?* :func:`percentile`, with
  :func:`percentile_interval` from the binomial distribution of order statistics: no assumption on
  the shape of the latencies. Samples of one clip are correlated, so they count for less than their
  number: :func:`design_effect` says how much less.
* *Does a session fall behind?* :func:`slope_of_series`.
* *Which of several claims stand?* :func:`holm`.

How certain a mean, a ratio or a difference is: ``harness.stats.bootstrap``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
Groups = Sequence[Sequence[float]]  # one group per clip: its samples, over repeats

_ROUNDING = 1 + 1e-9
_FEW_TAIL = 0.025  # at which Student's t is compared with the normal distribution


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
    were independent. Ranks, because the share beyond a far limit is too rare to estimate it; with
    ``limit`` also that share, the larger of the two. Counts divided by it go into the exact
    binomial, as by Korn and Graubard (1998). One sample per clip: exactly 1; at most what it is
    when all samples of a clip are the same.
    """
    groups = [group for group in groups if len(group)]
    values = np.concatenate([np.asarray(group, float) for group in groups])
    scores = [_mean_ranks(values)]
    if limit is not None:
        scores.append((values > limit).astype(float))
    return max(_effect_of(score, groups) for score in scores)


def _mean_ranks(values: Floats) -> Floats:
    """1-based rank of each value; equal values share the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    mean_ranks = np.cumsum(counts) - (counts - 1) / 2
    ranks: Floats = mean_ranks[place]
    return ranks


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
    (1998), if there is any variance. At most what it is when all samples of a clip are the
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


def _most_effect(groups: Sequence[Sequence[object]]) -> float:
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


def binomial_interval(good: float, n: float, alpha: float) -> tuple[float, float]:
    """Clopper and Pearson (1934) of a share, each side wrong with probability ``alpha`` at most.

    ``good`` and ``n`` may be fractions (counts divided by a design effect).
    """
    bad = n - good
    low = float(special.betaincinv(good, bad + 1, alpha)) if good > 0 else 0.0
    high = float(special.betaincinv(good + 1, bad, 1 - alpha)) if bad > 0 else 1.0
    return low, high


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


class Share:
    """What sessions say about the share of good ones; the same questions as ``Bootstrap``.

    All sessions of a clip count as one, as if they were the same: rare events are too few to
    estimate their correlation.
    """

    def __init__(self, groups: Sequence[Sequence[bool]]) -> None:
        """``groups``: one a clip, True: a session that is good."""
        good = [met for group in groups for met in group]
        effect = _most_effect(groups)
        self.value = sum(good) / len(good)
        self.clusters = len(groups)
        self._n, self._bad = len(good) / effect, (len(good) - sum(good)) / effect

    def interval(self, confidence: float) -> Interval:
        tail = (1 - confidence) / 2
        low, high = binomial_interval(self._n - self._bad, self._n, tail)
        return Interval(low, high, confidence)

    def p_above(self, limit: float, *, inclusive: bool = False, times: float = 1.0) -> float:
        """P-value against "below ``limit``", the binomial's; see :meth:`Bootstrap.p_above`."""
        # A share of good ones is a quantile: that of 0 (good) and 1 (bad) at the limit is 0.
        return p_percentile_below(self._n * times, self._bad * times, limit)

    def p_below(self, limit: float, *, inclusive: bool = False, times: float = 1.0) -> float:
        """P-value against "above ``limit``"; see :meth:`p_above`."""
        return p_percentile_above(self._n * times, self._bad * times, limit)


# --- slopes and families -------------------------------------------------------------------------


def slope(x: Sequence[float] | Floats, y: Sequence[float] | Floats, confidence: float) -> Slope:
    """Theil-Sen slope with Sen's (1968) interval, which assumes independent residuals.

    Needs two different x. Where neighbours are correlated, see :func:`slope_of_series`. The values
    are those of ``scipy.stats.theilslopes``, which alone would take a second to import.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    run, rise = np.subtract.outer(x, x), np.subtract.outer(y, y)
    forward = run > 0
    slopes = np.sort(rise[forward] / run[forward])
    pairs, n = len(slopes), len(y)
    # The variance of Kendall's S, less what ties take of it: too much where both sides have some.
    variance = max(0.0, (_kendall_term(n) - _ties(x) - _ties(y)) / 18)
    half_width = -float(special.ndtri((1 - confidence) / 2)) * math.sqrt(variance)
    high = min(round((pairs + half_width) / 2), pairs - 1)
    low = max(round((pairs - half_width) / 2) - 1, 0)
    interval = Interval(float(slopes[low]), float(slopes[high]), confidence)
    return Slope(float(np.median(slopes)), interval)


def _ties(values: Floats) -> int:
    """What groups of equal values take of the variance of Kendall's S, times 18."""
    _, counts = np.unique(values, return_counts=True)
    return sum(_kendall_term(int(count)) for count in counts)


def _kendall_term(count: int) -> int:
    return count * (count - 1) * (2 * count + 5)


def slope_of_series(x: Floats, y: Floats, confidence: float) -> Slope:
    """As :func:`slope`, for a series in time whose neighbours are correlated; ten points at least.

    Of the medians of 5 to 20 blocks of consecutive points: the correlation of neighbours is within
    a block, unless it lasts longer.
    """
    blocks = blocks_of(len(x))
    of_blocks = [
        [float(np.median(part)) for part in np.array_split(side, blocks)] for side in (x, y)
    ]
    return slope(of_blocks[0], of_blocks[1], confidence)


def simes(p_values: Sequence[float]) -> float:
    """P-value against "all of these claims are false" (Simes 1986): some of them is true.

    Valid where the tests are independent or positively dependent; many small effects add up.
    """
    ordered = sorted(p_values)
    return min(1.0, *(len(ordered) * p / rank for rank, p in enumerate(ordered, start=1)))


def blocks_of(points: int) -> int:
    """How many blocks :func:`slope_of_series` makes of so many points."""
    return min(20, max(5, points // 10))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """P-values adjusted by Holm (1979): each <= alpha keeps P(any false one) <= alpha.

    Valid whatever the dependence between the claims.
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)))
    return tuple(float(value) for value in adjusted)
