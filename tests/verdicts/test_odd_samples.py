"""Comparisons and limits on samples that are few, missing, alike, or exactly on the limit."""

from __future__ import annotations

import numpy as np
import pytest
from verdicts.clips import ARM, make_clips

from harness.config import GateConfig
from harness.experiments.simulation import MEASURED, sessions
from harness.verdicts.gates import judge

P50 = "ttft_ms p50 vs baseline: at most +5 % and +10 ms"
P95 = "ttft_ms p95 vs baseline: at most +5 % and +10 ms"
FASTER = "ttft_ms p50 vs arm x: at least 3 times faster"


def ask(clips, rule, **more):
    return judge(clips, GateConfig(name="test", rules=[rule]), arm=ARM, **more).rules[0]


def test_sessions_that_never_answer_leave_no_tail_to_compare():
    rng = np.random.default_rng(1)
    old = 300 + 20 * rng.standard_normal((40, 1)) + 5 * rng.standard_normal((40, 4))
    new = old.tolist()
    new[0] = new[1] = [None] * 4  # 5 % of all: the p95 itself is still a figure
    found = ask(make_clips(new), P95, baseline=make_clips(old.tolist()))
    assert found.status == "inconclusive"
    assert "never got an answer" in found.why


@pytest.mark.parametrize("repeats", [(2, 3), (3, 2), (4, 5), (4, 3)])
def test_unequal_numbers_of_repeats_are_no_regression_and_hide_none(repeats):
    noise = MEASURED._replace(sd=0.1)
    statuses = []
    for seed in range(12):
        old, new = sessions(np.random.default_rng(seed), noise, 40, 5, (1.0, 1.05))
        clips = [make_clips(a[:, :n].tolist()) for a, n in zip((old, new), repeats, strict=True)]
        statuses.append(ask(clips[1], P50, baseline=clips[0]).status)
    assert statuses.count("inconclusive") >= 9  # the truth is on the limit


def test_a_tail_is_of_all_repeats_and_the_arm_that_is_short_is_named():
    rng = np.random.default_rng(2)
    old = 300 + 10 * rng.standard_normal((20, 5))
    new = np.hstack([old, np.full((20, 1), 900.0)])  # what came last is what is slow
    worse = ask(make_clips(new.tolist()), P95, baseline=make_clips(old.tolist()))
    assert worse.status == "fail"
    short = ask(make_clips(new.tolist()), P95, baseline=make_clips(old[:, :2].tolist()))
    assert short.status == "inconclusive"
    assert "n = 40 in the reference" in short.why
    assert "3 times as many clips or repeats in the reference" in short.next


def test_nothing_can_be_so_many_times_faster_than_what_takes_no_time():
    clips = make_clips([[0.0]] * 6), make_clips([[5.0]] * 6)
    found = ask(clips[0], FASTER, other_arms={"x": clips[1]})
    assert found.status == "inconclusive"
    assert "not above 0" in found.why


def test_exactly_on_the_limit_is_allowed_whatever_the_rounding():
    for value in (200.0, 201.0, 206.0, 211.0, 299.0, 699.0):
        old, new = ([[v]] * 11 for v in (value, 1.05 * value))
        assert ask(make_clips(new), P50, baseline=make_clips(old)).status == "pass", value


def test_a_stricter_limit_is_never_easier_to_keep():
    clips = make_clips([[x] for x in (297, 299, 300, 301, 303, 305, 298, 900)])
    statuses = [ask(clips, f"ttft_ms mean <= {limit} ms").status for limit in range(150, 1200, 10)]
    order = ["fail", "inconclusive", "pass"]
    assert statuses == sorted(statuses, key=order.index)


@pytest.mark.parametrize("rule", [P50, P95])
def test_the_interval_shown_decides_or_the_verdict_says_what_does(rule):
    for seed in range(15):
        rng = np.random.default_rng(seed)
        slower = rng.uniform(1.0, 1.15)
        old, new = sessions(rng, MEASURED, 40, 4, (1.0, slower))
        found = ask(make_clips(new.tolist()), rule, baseline=make_clips(old.tolist()))
        low, high = found.interval
        expected = (
            "fail" if low > found.limit else "pass" if high <= found.limit else "inconclusive"
        )
        assert (found.status == expected) != ("the test is of the rise minus it" in found.why)


def test_few_clips_of_many_repeats_do_not_show_a_tail():
    values = 300 + 30 * np.random.default_rng(1).standard_normal((6, 10))
    found = ask(make_clips(values.tolist()), "ttft_ms p95 <= 900 ms")
    assert found.status == "inconclusive"
    assert found.interval[1] is None
