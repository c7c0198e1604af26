"""Statistics against scipy and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from harness.stats.bootstrap import Bootstrap, mean_of, percentile_of, ratio_of_sums
from harness.stats.estimates import (
    Interval,
    Quantile,
    Share,
    Slope,
    _mean_ranks,
    binomial_interval,
    design_effect,
    holm,
    least_n,
    p_percentile_above,
    p_percentile_below,
    percentile,
    percentile_interval,
    simes,
    slope,
    slope_of_series,
)

METHODS = ("bca", "percentile", "smoothed")
samples = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)


def singles(values):
    return [[value] for value in values]


# --- percentiles ---------------------------------------------------------------------------------


@given(samples, st.sampled_from([0.05, 0.1, 0.25, 0.5, 0.9, 0.95, 0.99, 1.0]))
def test_a_percentile_is_numpys_inverted_cdf(values, q):
    assert percentile(values, q) == np.quantile(values, q, method="inverted_cdf")


def test_a_percentile_is_a_value_that_was_measured():
    assert percentile([10.0, 20.0], 0.5) == 10.0
    assert percentile([10.0, 20.0, 30.0], 0.95) == 30.0
    assert percentile(list(range(1, 21)), 0.95) == 19  # 0.95 * 20 is 19.000000000000004 in floats


@pytest.mark.parametrize(("values", "q"), [([], 0.5), ([1.0], 0.0), ([1.0], 1.5)])
def test_a_percentile_of_nothing_is_an_error(values, q):
    with pytest.raises(ValueError, match="percentile of"):
        percentile(values, q)


@pytest.mark.parametrize(
    ("q", "confidence", "n"),
    [(0.9, 0.95, 29), (0.95, 0.95, 59), (0.99, 0.95, 299), (0.9, 0.99, 44), (0.95, 0.99, 90),
     (0.99, 0.99, 459), (0.5, 0.95, 5)],
)  # fmt: skip
def test_least_n_is_where_the_binomial_says_so(q, confidence, n):
    assert least_n(q, confidence) == n
    assert 1 - q**n >= confidence > 1 - q ** (n - 1)


def test_an_interval_of_order_statistics_lies_within_the_ranks_of_the_binomial():
    n, q = 100, 0.5
    interval = percentile_interval(singles(range(1, n + 1)), q, 0.95)
    assert 40 < interval.low < 41  # the textbook's whole ranks, 40 and 61, cover 96.5 %
    assert 60 < interval.high < 61
    # Beta(j, n + 1 - j) is the distribution of what lies below the j-th sample.
    for rank, tail in ((interval.low, 0.025), (interval.high, 0.975)):
        assert stats.beta(rank, n + 1 - rank).sf(q) == pytest.approx(tail)


def test_a_side_that_does_not_exist_is_none():
    interval = percentile_interval(singles(range(27)), 0.95, 0.95)
    assert interval.high is None
    assert interval.low is not None
    assert percentile_interval(singles([1.0, 2.0]), 0.5, 0.95).low is None
    assert percentile_interval([[1.0, 2.0, 3.0] * 20], 0.5, 0.95).high is None  # one clip


@pytest.mark.parametrize("q", [0.5, 0.9, 0.95])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_a_side_exists_from_the_least_n_on(q, confidence):
    least = least_n(q, (1 + confidence) / 2)
    highs = [percentile_interval(singles(range(n)), q, confidence).high for n in (least - 1, least)]
    assert highs[0] is None
    assert highs[1] == pytest.approx(least - 1, abs=1)


def test_a_bound_beside_sessions_that_never_answered_claims_no_figure_for_them():
    groups = [*singles(range(10)), *singles([math.inf] * 10)]
    interval = percentile_interval(groups, 0.5, 0.95)
    assert 4 < interval.low < 6
    assert interval.high == math.inf
    just_below = percentile_interval(groups, 0.72, 0.95)  # between the 10th and the 11th sample
    assert just_below.low == 9.0


@given(st.integers(1, 80), st.integers(0, 80), st.sampled_from([0.5, 0.9, 0.95]))
def test_p_values_of_percentiles_are_binomial_tails(n, beyond, q):
    beyond = min(beyond, n)
    above = stats.binom.sf(beyond - 1, n, 1 - q)
    below = stats.binom.cdf(beyond, n, 1 - q)
    assert p_percentile_above(n, beyond, q) == pytest.approx(above, abs=1e-12)
    assert p_percentile_below(n, beyond, q) == pytest.approx(below, abs=1e-12)


@given(samples, st.sampled_from([0.5, 0.9]), st.sampled_from([0.8, 0.9, 0.95]))
def test_what_a_test_of_a_percentile_decides_its_interval_shows(values, q, confidence):
    quantile, alpha = Quantile(singles(values), q), (1 - confidence) / 2
    interval = quantile.interval(confidence)
    for limit in values:
        if quantile.p_below(limit, inclusive=True) <= alpha:
            assert interval.high <= limit or interval.high == pytest.approx(limit)
        if quantile.p_above(limit, inclusive=True) <= alpha:
            assert interval.low >= limit or interval.low == pytest.approx(limit)


def test_an_interval_holds_its_percentile():
    one_long_clip = [100 + i * 0.01 for i in range(496)] + [1e4] * 4
    interval = percentile_interval([one_long_clip], 0.99, 0.95)
    assert interval.low <= percentile(one_long_clip, 0.99)


@pytest.mark.parametrize("repeats", [2, 5])
def test_repeats_of_a_clip_at_a_tied_maximum_count_once(repeats):
    once = [1.0] * 3 + [0.5 + i / 30 for i in range(9)]
    interval = percentile_interval([[value] * repeats for value in once], 0.9, 0.95)
    assert interval.low == pytest.approx(percentile_interval(singles(once), 0.9, 0.95).low)
    assert interval.high is None


# --- shares --------------------------------------------------------------------------------------


@given(st.integers(0, 40), st.integers(0, 40), st.floats(0.001, 0.4))
def test_the_interval_of_a_share_is_that_of_clopper_and_pearson(good, bad, alpha):
    assume(good + bad)
    low, high = binomial_interval(good, good + bad, alpha)
    exact = stats.binomtest(good, good + bad).proportion_ci(1 - 2 * alpha, "exact")
    assert (low, high) == pytest.approx((exact.low, exact.high))


@given(st.lists(st.booleans(), min_size=1, max_size=80), st.floats(0.02, 0.98))
def test_what_a_test_of_a_share_decides_its_interval_shows(good, limit):
    share = Share(singles(good))
    low, high = share.interval(0.9).low, share.interval(0.9).high
    assert (share.p_above(limit) <= 0.05) == (low >= limit)
    assert (share.p_below(limit) <= 0.05) == (high <= limit)
    assert low <= share.value <= high


def test_all_sessions_of_a_clip_count_as_one():
    once = [True] * 9 + [False]
    many, few = Share([[met] * 4 for met in once]), Share(singles(once))
    assert (many.value, many.clusters) == (few.value, few.clusters) == (0.9, 10)
    for limit in (0.5, 0.8, 0.95):
        assert many.p_above(limit) == pytest.approx(few.p_above(limit))
        assert many.p_below(limit, times=3) == pytest.approx(few.p_below(limit, times=3))


# --- samples of one clip -------------------------------------------------------------------------


def test_single_samples_are_independent():
    assert design_effect(singles([3.0, 1.0, 2.0])) == 1.0


def test_repeats_that_agree_count_once():
    groups = [[float(clip)] * 3 for clip in range(20)]
    assert design_effect(groups) == 3.0
    repeated = Quantile(groups, 0.5).interval(0.95)
    once = Quantile(singles(range(20)), 0.5).interval(0.95)
    assert repeated.low == pytest.approx(once.low)
    assert repeated.high == pytest.approx(once.high)


def test_repeats_as_different_as_clips_count_in_full():
    rng = np.random.default_rng(0)
    effects = [design_effect(rng.normal(size=(200, 3)).tolist()) for _ in range(5)]
    assert np.mean(effects) == pytest.approx(1.0, abs=0.1)


def test_a_clip_that_alone_is_beyond_the_limit_shows_in_the_effect():
    rng = np.random.default_rng(0)
    groups = rng.normal(size=(20, 3)).tolist()
    groups[0] = [9.0, 9.1, 9.2]
    assert design_effect(groups, limit=5.0) > design_effect(groups)


# --- bootstrap -----------------------------------------------------------------------------------


def test_weights_of_one_give_the_plain_statistics():
    groups = [[1.0, 2.0], [3.0], [10.0, 11.0, 12.0]]
    pooled = [1.0, 2.0, 3.0, 10.0, 11.0, 12.0]
    once = np.ones((1, 3))
    assert mean_of(groups)(once)[0] == pytest.approx(np.mean(pooled))
    for q in (0.2, 0.5, 0.9):
        assert percentile_of(groups, q)(once)[0] == percentile(pooled, q)


@given(st.lists(st.integers(0, 4), min_size=3, max_size=3).filter(any))
def test_weights_are_copies_of_clips(copies):
    groups = [[1.0, 2.0], [3.0], [10.0, 11.0, 12.0]]
    pooled = [v for group, count in zip(groups, copies, strict=True) for v in group * count]
    weights = np.array([copies], float)
    assert mean_of(groups)(weights)[0] == pytest.approx(np.mean(pooled))
    assert percentile_of(groups, 0.5)(weights)[0] == percentile(pooled, 0.5)


def test_the_interval_of_a_mean_is_students_where_data_are_normal():
    values = np.random.default_rng(3).normal(100, 10, 15)
    interval = Bootstrap(mean_of(singles(values)), 15, "percentile").interval(0.95)
    students = stats.t.interval(0.95, 14, values.mean(), values.std(ddof=1) / math.sqrt(15))
    width = students[1] - students[0]
    assert interval.low == pytest.approx(students[0], abs=0.04 * width)
    assert interval.high == pytest.approx(students[1], abs=0.04 * width)


def test_bca_is_scipys_where_many_clips_make_the_widening_vanish():
    values = np.random.default_rng(5).lognormal(0, 1, 400)
    ours = Bootstrap(mean_of(singles(values)), 400, "bca").interval(0.95)
    scipys = stats.bootstrap(
        (values,), np.mean, method="BCa", n_resamples=4000, rng=np.random.default_rng(0)
    ).confidence_interval
    width = scipys.high - scipys.low
    assert ours.low == pytest.approx(scipys.low, abs=0.05 * width)
    assert ours.high == pytest.approx(scipys.high, abs=0.05 * width)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("level", [0.001, 0.05, 0.5, 0.95, 0.999])
def test_bounds_and_p_values_are_inverses(method, level):
    values = np.random.default_rng(7).lognormal(0, 0.5, 12)
    bootstrap = Bootstrap(mean_of(singles(values)), 12, method)
    side = bootstrap.p_above if level < 0.5 else bootstrap.p_below
    found = side(bootstrap.bound(level))
    assert found == pytest.approx(min(level, 1 - level), rel=0.15, abs=0.003)


def test_bca_is_never_narrower_than_what_needs_no_skewness():
    for seed in range(20):
        values = singles(np.random.default_rng(seed).lognormal(0, 1, 12))
        bca, plain = (Bootstrap(mean_of(values), 12, m).interval(0.95) for m in METHODS[:2])
        assert bca.low <= plain.low
        assert bca.high >= plain.high


def test_a_smoothed_ratio_of_tails_is_narrower_and_holds_its_value():
    rng = np.random.default_rng(4)
    old = rng.lognormal(5, 0.3, (60, 1)) * rng.normal(1, 0.05, (60, 3))
    new = 1.1 * old * rng.normal(1, 0.05, (60, 3))
    of_old, of_new = (percentile_of(arm.tolist(), 0.95) for arm in (old, new))
    jumpy, smoothed = (Bootstrap(lambda w: of_new(w) / of_old(w), 60, m) for m in METHODS[1:])
    assert smoothed.value == jumpy.value
    wide, narrow = jumpy.interval(0.95), smoothed.interval(0.95)
    assert narrow.high - narrow.low < 0.9 * (wide.high - wide.low)
    assert narrow.low <= smoothed.value <= narrow.high
    assert narrow.low < 1.1 < narrow.high


def test_the_error_of_a_smoothed_mean_is_the_means():
    values = np.random.default_rng(6).normal(100, 10, 40)
    smoothed, plain = (
        Bootstrap(mean_of(singles(values)), 40, m).interval(0.95) for m in METHODS[1:]
    )
    assert smoothed.low == pytest.approx(plain.low, abs=0.3)
    assert smoothed.high == pytest.approx(plain.high, abs=0.3)


@pytest.mark.parametrize("method", METHODS)
def test_p_values_rise_and_fall_with_the_limit(method):
    skewed = singles([297, 299, 300, 301, 303, 305, 298, 900])
    bootstrap = Bootstrap(mean_of(skewed), 8, method)
    above = [bootstrap.p_above(limit) for limit in range(100, 1200, 5)]
    below = [bootstrap.p_below(limit) for limit in range(100, 1200, 5)]
    assert above == sorted(above)
    assert below == sorted(below, reverse=True)


@pytest.mark.parametrize("limit", [-1e9, -10.0, 10.0, 1e9])
def test_a_limit_far_away_is_never_in_doubt(limit):
    skewed = singles([0.0] * 11 + [1.0])
    bootstrap = Bootstrap(mean_of(skewed), 12, "bca")
    assert bootstrap.p_above(limit) == pytest.approx(float(limit > 0), abs=1e-4)


def test_what_cannot_vary_is_certain():
    bootstrap = Bootstrap(ratio_of_sums([1.0] * 6, [10.0] * 6), 6, "bca")
    assert bootstrap.certain
    assert bootstrap.p_above(0.05) == 0.0
    assert bootstrap.p_below(0.05) == 1.0
    assert (bootstrap.p_above(0.1), bootstrap.p_below(0.1)) == (1.0, 1.0)
    assert (bootstrap.p_above(0.1, inclusive=True), bootstrap.p_below(0.1, inclusive=True)) == (
        0.0,
        0.0,
    )


def test_a_pair_that_shares_clips_is_compared_clip_by_clip():
    rng = np.random.default_rng(1)
    old = rng.lognormal(5, 0.5, 12)
    new = 1.1 * old * rng.normal(1, 0.01, 12)
    of_old, of_new = mean_of(singles(old)), mean_of(singles(new))
    paired = Bootstrap(lambda w: of_new(w) / of_old(w), 12, "percentile").interval(0.95)
    assert paired.high - paired.low < 0.05  # the clips themselves differ by half
    assert paired.low < 1.1 < paired.high


def test_the_same_seed_gives_the_same_interval():
    statistic = mean_of(singles([1.0, 5.0, 2.0, 8.0, 3.0]))
    first, second, other = (
        Bootstrap(statistic, 5, "percentile", seed=seed).interval(0.9) for seed in (1, 1, 2)
    )
    assert first == second != other


def test_more_clips_would_make_a_p_value_smaller():
    values = np.random.default_rng(2).normal(10, 1, 8)
    bootstrap = Bootstrap(mean_of(singles(values)), 8, "percentile")
    p_values = [bootstrap.p_below(10.5, times=times) for times in (1.0, 2.0, 4.0)]
    assert p_values == sorted(p_values, reverse=True)


def test_one_clip_is_no_sample():
    with pytest.raises(ValueError, match="1 clips"):
        Bootstrap(mean_of([[1.0]]), 1, "percentile")


# --- slopes and families -------------------------------------------------------------------------


# Few different values, so that many are equal.
tied = st.lists(st.integers(-3, 3) | st.floats(-1e3, 1e3), min_size=2, max_size=40)


@given(tied)
def test_equal_values_share_the_mean_of_their_ranks_as_in_scipy(values):
    np.testing.assert_array_equal(_mean_ranks(np.asarray(values, float)), stats.rankdata(values))


@given(st.data(), tied, st.sampled_from([0.8, 0.95, 0.99]))
def test_a_slope_and_its_interval_are_scipys(data, y, confidence):
    x = data.draw(st.lists(st.integers(-9, 9), min_size=len(y), max_size=len(y)))
    assume(len(set(x)) > 1)
    assume(len(set(y)) > 1)  # else scipy's variance may be below zero, and its interval NaN
    found, scipys = slope(x, y, confidence), stats.theilslopes(y, x, alpha=confidence)
    ours = found.slope, found.interval.low, found.interval.high
    theirs = scipys.slope, scipys.low_slope, scipys.high_slope
    assert ours == pytest.approx(theirs, rel=1e-12, abs=1e-12)


def test_what_never_changes_has_no_slope_and_no_doubt():
    assert slope([0, 0, 1, 1], [5.0] * 4, 0.95) == Slope(0.0, Interval(0.0, 0.0, 0.95))


def test_a_slope_is_not_moved_by_an_outlier():
    x = list(range(20))
    y = [3.0 * v + 1 for v in x]
    y[7] = 1e6
    fit = slope(x, y, 0.95)
    assert fit.slope == pytest.approx(3.0)
    assert fit.interval.low <= 3.0 <= fit.interval.high


def test_the_slope_of_a_series_allows_for_neighbours_that_are_alike():
    minutes = np.arange(300) / 30
    covered = {slope: 0, slope_of_series: 0}
    for seed in range(60):
        late = np.zeros(300)
        for i, fresh in enumerate(np.random.default_rng(seed).standard_normal(300)):
            late[i] = 0.8 * late[i - 1] + fresh
        for found in covered:
            interval = found(minutes, late, 0.95).interval
            covered[found] += interval.low <= 0 <= interval.high
    assert covered[slope] < 45
    assert covered[slope_of_series] >= 52


def test_holm_by_hand():
    # sorted .01 .02 .03 .04, times 4 3 2 1, then never less than the one before
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx((0.06, 0.04, 0.06, 0.06))
    assert holm([]) == ()


@given(st.lists(st.floats(0, 1), max_size=20))
def test_holm_never_helps_a_claim_and_keeps_the_order(p_values):
    adjusted = holm(p_values)
    assert all(a >= p for a, p in zip(adjusted, p_values, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert sorted(adjusted) == [adjusted[i] for i in order]


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=12))
def test_simes_is_between_the_least_p_value_and_bonferroni(p_values):
    assert min(p_values) <= simes(p_values) + 1e-12
    assert simes(p_values) <= min(1.0, len(p_values) * min(p_values)) + 1e-12


def test_many_claims_that_are_nearly_decided_decide_together():
    assert simes([0.02] * 44) == pytest.approx(0.02)
    assert simes([0.02] + [1.0] * 43) == pytest.approx(0.88)


@pytest.mark.parametrize(("clips", "most"), [(2, 1), (11, 40), (60, 3), (300, 12)])
@pytest.mark.parametrize("q", [0.05, 0.5, 0.95, 1.0])
def test_a_percentile_of_resamples_is_what_counting_every_sample_finds(
    clips: int, most: int, q: float
) -> None:
    rng = np.random.default_rng(clips)
    groups = [rng.normal(size=rng.integers(1, most + 1)).round(1) for _ in range(clips)]
    drawn = rng.multinomial(clips, np.full(clips, 1 / clips), size=50).astype(float)
    found = percentile_of(groups, q)(drawn)
    for weights, value in zip(drawn, found, strict=True):
        counted = np.concatenate([np.tile(g, int(w)) for g, w in zip(groups, weights, strict=True)])
        assert value == percentile(counted, q)
