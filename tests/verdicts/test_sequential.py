from __future__ import annotations

import pytest
from verdicts.clips import ARM, make_clips, spread

from harness.config import GateConfig
from harness.verdicts.gates import judge
from harness.verdicts.sequential import SequentialPlan, confirm, to_confirm

RULES = ["failed = 0", "ttft_ms p50 vs baseline: at most +5 % and +10 ms"]
OLD = make_clips(spread())


def ask(slower, **more):
    gate = GateConfig(name="test", rules=RULES)
    return judge(make_clips(spread(slower=slower)), gate, arm=ARM, baseline=OLD, **more)


def test_all_looks_together_spend_what_one_may():
    plan = SequentialPlan(first=2, most=6)
    looks = [repeats for repeats in range(10) if plan.looks(repeats)]
    assert looks == [2, 3, 4, 5, 6]
    assert plan.share * len(looks) == pytest.approx(1)
    assert SequentialPlan(first=3, most=3).share == 1


def test_it_stops_when_every_rule_is_decided_or_the_budget_is_spent():
    plan = SequentialPlan(first=2, most=6)
    unclear = [[v * (1.03, 1.07)[i % 2] for v in clip] for i, clip in enumerate(spread())]
    gate = GateConfig(name="test", rules=RULES)
    decided, undecided = ask(1.1), judge(make_clips(unclear), gate, arm=ARM, baseline=OLD)
    assert (decided.status, undecided.status) == ("fail", "inconclusive")
    assert plan.stops(2, decided)
    assert not plan.stops(5, undecided)
    assert plan.stops(6, undecided)


def test_only_a_regression_is_confirmed():
    assert to_confirm(ask(1.1)) == (RULES[1],)
    assert to_confirm(ask(1.0)) == ()
    assert to_confirm(ask(1.1, validity=["late"])) == ()


def test_a_regression_that_repeats_is_one():
    verdict = confirm(ask(1.12), ask(1.1))
    assert verdict.status == "fail"
    assert "confirmed by an interleaved re-run; at first:" in verdict.rules[1].why
    assert verdict.rules[1].observed == pytest.approx(35.1)  # what the re-run saw


def test_a_regression_that_does_not_repeat_is_none():
    verdict = confirm(ask(1.12), ask(1.0))
    assert verdict.status == "pass"
    assert "not confirmed by an interleaved re-run" in verdict.rules[1].why


def test_other_rules_keep_their_first_answer():
    first = judge(
        make_clips(spread(slower=1.1), chunks=1), GateConfig(rules=[*RULES, "chunks >= 2"]),
        arm=ARM, baseline=OLD,
    )  # fmt: skip
    assert confirm(first, ask(1.0)).status == "fail"
