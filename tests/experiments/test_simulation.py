"""The verdicts' error rates, at fixed seeds; ``docs/simulation.md`` has them with more tries."""

from __future__ import annotations

import numpy as np
import pytest

from harness.experiments.simulation import (
    Judging,
    Noise,
    coverages,
    gate_outcomes,
    report,
    sessions,
)
from harness.verdicts.sequential import SequentialPlan


def test_nothing_changed_raises_no_alarm():
    outcomes = gate_outcomes(1.0, 60)
    assert outcomes.failed == 0
    assert outcomes.passed >= 95


def test_ten_per_cent_are_found():
    outcomes = gate_outcomes(1.10, 60)
    assert outcomes.failed >= 90  # of 1000 tries: 95 %, below
    assert outcomes.passed == 0


@pytest.mark.slow
def test_looking_often_raises_no_more_alarms():
    assert gate_outcomes(1.0, 60, Judging(plan=SequentialPlan(2, 6))).failed == 0


def test_a_tail_that_is_a_third_longer_is_found():
    rules = ["ttft_ms p95 vs baseline: at most +5 % and +10 ms"]
    assert gate_outcomes(1.30, 15, Judging(rules=rules), clips=40).failed >= 90


def test_sessions_are_as_described():
    noise = Noise(clip_sd=0.3, sd=0.04, lingers=0.5, spike_share=0.0)
    old, new = sessions(np.random.default_rng(0), noise, 500, 8, (1.0, 1.1))
    level = old.mean(axis=1)
    assert np.median(level) == pytest.approx(300, rel=0.05)
    assert np.std(np.log(level)) == pytest.approx(0.3, rel=0.1)
    assert np.std(old / level[:, None]) == pytest.approx(0.04, rel=0.15)
    assert np.mean(new / old) == pytest.approx(1.1, rel=0.01)


@pytest.mark.slow
def test_error_rates_with_many_tries():
    assert gate_outcomes(1.0, 1000).failed <= 1
    assert gate_outcomes(1.10, 1000).failed >= 95
    on_the_limit = gate_outcomes(1.05, 1000)
    assert on_the_limit.failed <= 5
    often = gate_outcomes(1.05, 300, Judging(plan=SequentialPlan(2, 6)))
    assert often.failed <= 5
    for found in coverages(2000):
        most = 98.5 if "pooled, factor, 11" in found.what else 97
        assert 93 <= found.covers <= most, found


@pytest.mark.slow
def test_the_page_is_made():
    page = report(10)
    assert page.startswith("# How often the verdicts are right")
    assert "| nothing changed (A/A) | 0.0 % |" in page
