"""No rule on how a session ends passes over sessions that only we ended."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from msgspec.structs import replace
from verdicts.clips import ARM, make_clips

from harness.config import GateConfig
from harness.errors import ConfigError
from harness.metrics import ClipMetrics
from harness.metrics.instants import CENSORED, NO_ENDPOINTER
from harness.metrics.registry import by_name
from harness.runs.records import RuleVerdict
from harness.verdicts.gates import judge
from harness.verdicts.rules.estimating import samples

CLIPS = [replace(clip, endpointer="silence", eot_ms=300.0, final_ms=100.0, final_known_ms=300.0,
                 censored=False, false_cutoffs=(0, 4)) for clip in
         make_clips([[300.0] for _ in range(100)])]  # fmt: skip
ENDS = ("final_ms", "eot_ms", "final_known_ms")


def with_censored(count: int, clips: Sequence[ClipMetrics] = CLIPS) -> list[ClipMetrics]:
    why = dict.fromkeys(ENDS, CENSORED.reason)
    lost = [
        replace(c, eot_ms=None, final_ms=None, final_known_ms=None, censored=True, why_null=why)
        for c in clips[:count]
    ]
    return [*lost, *clips[count:]]


def status(rule: str, clips: Sequence[ClipMetrics], **gate: float) -> RuleVerdict:
    configured = GateConfig(name="g", rules=[rule], **gate)  # type: ignore[arg-type]
    (verdict,) = judge(clips, configured, arm=ARM, baseline=CLIPS).rules
    return verdict


@pytest.mark.parametrize("metric", ENDS)
def test_a_good_median_hides_no_censored_session(metric: str) -> None:
    rule = f"{metric} p50 <= 400 ms"
    assert status(rule, CLIPS).status == "pass"
    assert status(rule, with_censored(5)).status == "pass"
    found = status(rule, with_censored(6))
    assert found.status == "inconclusive"
    assert "6 of 100 sessions ended only because the audio was ended (censored)" in found.why
    assert "allowed 0.05" in found.why
    assert "replay.tail_s" in found.next
    assert status(rule, with_censored(6), most_censored=0.1).status == "pass"
    assert status(rule, with_censored(1), most_censored=0.0).status == "inconclusive"
    assert status(rule, with_censored(60)).status == "fail"  # the median never ended


def test_what_does_not_need_the_end_is_judged_as_ever() -> None:
    assert status("ttft_ms p50 <= 400 ms", with_censored(60)).status == "pass"


def test_a_comparison_with_or_of_them_does_not_pass() -> None:
    rule = "eot_ms p50 vs baseline: at most +5 % and +20 ms"
    assert status(rule, CLIPS).status == "pass"
    assert status(rule, with_censored(40)).status == "inconclusive"


def test_each_is_beyond_any_limit_once() -> None:
    for name in ENDS:
        found = samples(by_name()[name], with_censored(1))
        assert [g for g in found.values() if math.inf in g] == [[math.inf]], name
    # A baseline does not keep reasons.
    plain = [replace(clip, why_null={}) for clip in with_censored(1)]
    assert math.inf in samples(by_name()["eot_ms"], plain)[plain[0].clip]


def test_nobody_is_late_who_was_not_asked() -> None:
    why = {"eot_ms": NO_ENDPOINTER.reason}
    failed = replace(
        CLIPS[0], endpointer="none", eot_ms=None, censored=None, failed="x", why_null=why
    )
    assert samples(by_name()["eot_ms"], [failed]) == {}
    assert samples(by_name()["eot_ms"], [replace(failed, endpointer="engine")]) != {}
    assert status("eot_ms p50 <= 400 ms", [failed]).why.startswith("eot_ms was not measured")


def test_cutoffs_and_the_censored_share_have_rules_of_their_own() -> None:
    # 400 pauses without a false end: a share of 5 % would show none with probability 0.95**400.
    found = status("false_cutoffs <= 0.05", CLIPS)
    assert (found.status, found.why) == ("pass", "no end of turn in 400 pauses, allowed 0.05")
    cut = [replace(clip, false_cutoffs=(1, 4)) for clip in CLIPS]
    assert status("false_cutoffs <= 0.05", cut).status == "fail"
    assert status("censored <= 0.05", CLIPS).status == "pass"
    assert status("censored <= 0.05", with_censored(20)).status == "fail"
    assert status("false_cutoffs <= 0.05", make_clips([[300.0]] * 9)).status == "inconclusive"


def test_the_share_is_one() -> None:
    with pytest.raises(ConfigError, match=r"gate\.most_censored"):
        GateConfig(most_censored=5)


def test_every_metric_has_rules() -> None:
    """Parsed, judged and worded: none needs to be known to the rules."""
    for name, metric in by_name().items():
        statistic = "" if metric.scope == "corpus" else " p50"
        unit = "" if metric.unit == "1" else f" {metric.unit}"
        found = status(f"{name}{statistic} <= 1{unit}", CLIPS)
        assert found.status in ("pass", "fail", "inconclusive")
        assert found.why
