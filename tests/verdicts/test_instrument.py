"""Rules whose margin is smaller than what the instrument leaves open."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from verdicts.clips import make_clips, spread
from verdicts.test_gates import ask

from harness.metrics import ClipMetrics

NO_WORSE = "ttft_ms p50 vs baseline: at most +5 % and +20 ms"


def clips(**instrument: tuple[float, ...]) -> list[ClipMetrics]:
    return [msgspec.structs.replace(clip, **instrument) for clip in make_clips(spread())]


def only(verdict: Any) -> Any:
    (rule,) = verdict.rules
    return rule


@pytest.mark.parametrize("limit", [451, 251])  # the median is 351 ms
def test_a_limit_nearer_than_the_error_of_receipts_decides_nothing(limit: int) -> None:
    rule = f"ttft_ms p50 <= {limit} ms"
    decided = only(ask(clips(receipt_error_ms=(99.0,)), rule))
    assert decided.status == ("pass" if limit > 351 else "fail")
    undecided = only(ask(clips(receipt_error_ms=(101.0,)), rule))
    assert undecided.status == "inconclusive"
    assert undecided.why.endswith(
        "the instrument itself may be off by 101.0 ms (receipt_error_ms p50 101.0,"
        " send_lateness_ms p50 0.0), more than the margin of 100.0 ms"
    )
    assert "fewer streams" in undecided.next


def test_the_error_is_that_of_the_statistic() -> None:
    rarely = clips(receipt_error_ms=(1.0,) * 9 + (800.0,))
    assert only(ask(rarely, "ttft_ms p50 <= 451 ms")).status == "pass"
    often = make_clips([[100.0 + i] for i in range(59)])
    often = [msgspec.structs.replace(c, receipt_error_ms=(1.0,) * 9 + (800.0,)) for c in often]
    assert only(ask(often, "ttft_ms p95 <= 900 ms")).status == "inconclusive"
    assert only(ask(often, "ttft_ms p95 <= 1000 ms")).status == "pass"


def test_late_sending_counts_in_full_against_a_limit_and_by_its_difference_in_a_comparison() -> (
    None
):
    late = clips(send_lateness_ms=(13.0,))
    assert only(ask(late, "ttft_ms p50 <= 363 ms")).status == "inconclusive"
    assert only(ask(late, NO_WORSE, baseline=late)).status == "pass"
    assert only(ask(late, NO_WORSE, baseline=clips())).status == "pass"  # 13 of 20 ms
    later = clips(send_lateness_ms=(21.0,))
    assert only(ask(later, NO_WORSE, baseline=clips())).status == "inconclusive"


@pytest.mark.parametrize("worse", ["here", "there"])
def test_in_a_comparison_the_worse_receipts_of_both_count(worse: str) -> None:
    good, bad = clips(receipt_error_ms=(0.1,)), clips(receipt_error_ms=(21.0,))
    new, old = (bad, good) if worse == "here" else (good, bad)
    assert only(ask(new, NO_WORSE, baseline=old)).status == "inconclusive"
    assert only(ask(good, NO_WORSE, baseline=good)).status == "pass"


def test_a_factor_has_a_margin_in_milliseconds_too() -> None:
    rule = "ttft_ms p50 vs baseline: at least 3 times faster"
    slow = make_clips([[3.5 * ttft for ttft in of_clip if ttft] for of_clip in spread()])
    assert only(ask(clips(receipt_error_ms=(50.0,)), rule, baseline=slow)).status == "pass"
    assert only(ask(clips(receipt_error_ms=(60.0,)), rule, baseline=slow)).status == "inconclusive"


def test_what_is_no_latency_is_not_touched() -> None:
    off = clips(receipt_error_ms=(500.0,), send_lateness_ms=(500.0,))
    for rule in ("failed = 0", "wer <= 0.10", "receipt_error_ms p50 <= 600 ms"):
        assert only(ask(off, rule)).status == "pass"
