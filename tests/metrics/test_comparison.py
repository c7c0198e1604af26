from __future__ import annotations

import msgspec
import pytest

from harness.metrics.comparison import compare_arms
from harness.metrics.latency import clip_metrics
from harness.metrics.summary import summarise
from tests.traces import make_trace

WORDS = ("it", " was", " the", " best", " of", " times", " it", " was")


def arm(delay_ms: float = 0, hypothesis=WORDS, clips: int = 6):
    """Clip i answers 10 i ms later than clip 0: far more than what the arms differ by."""
    return [
        clip_metrics(
            make_trace(
                [(text, 2100 + 10 * i + delay_ms + 5 * k) for k, text in enumerate(hypothesis)],
                reference="".join(WORDS),
                clip=f"c{i}",
                repeat=repeat,
            )
        )
        for i in range(clips)
        for repeat in range(2)
    ]


def find(comparison, metric, statistic="mean"):
    (found,) = (d for d in comparison.differences if (d.metric, d.statistic) == (metric, statistic))
    return found


def test_a_constant_delay_is_found_exactly_whatever_the_clips_differ_by():
    ttft = find(compare_arms(arm(), arm(7), seed=0), "ttft_ms")

    assert ttft.difference == pytest.approx(7)
    assert ttft.difference_ci95 == pytest.approx((7, 7))
    assert ttft.ratio == pytest.approx((ttft.a + 7) / ttft.a)
    assert (ttft.clips, ttft.of) == (6, 6)


def test_an_arm_does_not_differ_from_itself():
    comparison = compare_arms(arm(), arm(), seed=0)

    for difference in comparison.differences:
        assert difference.difference in (0, None)
    assert (comparison.sessions, comparison.same_text, comparison.texts) == (12, 12, ())


def test_swapping_the_arms_turns_the_sign():
    forth = find(compare_arms(arm(), arm(7), seed=0), "response_ms")
    back = find(compare_arms(arm(7), arm(), seed=0), "response_ms")

    assert back.difference == pytest.approx(-forth.difference)
    assert back.ratio == pytest.approx(1 / forth.ratio)


def test_the_text_of_a_failed_session_is_like_no_other():
    failed = [msgspec.structs.replace(clip, failed="timed out") for clip in arm(clips=1)]
    assert compare_arms(arm(clips=1), failed, seed=0).same_text == 0
    assert compare_arms(failed, failed, seed=0).same_text == 0


def test_texts_that_differ_are_named():
    heard = ("it", " was", " a", " best", " of", " times", " it", " was")
    comparison = compare_arms(arm(), arm(hypothesis=heard), seed=0)

    assert comparison.same_text == 0
    assert comparison.texts[0].clip == "c0"
    assert comparison.texts[0].b == "".join(heard)
    wer = find(comparison, "wer", "value")
    assert (wer.a, wer.b, wer.difference) == (0, 1 / 8, 1 / 8)
    assert wer.difference_ci95 == pytest.approx((1 / 8, 1 / 8))
    assert wer.ratio is None  # of zero


def test_only_clips_that_both_arms_have_count():
    comparison = compare_arms(arm(clips=6), arm(7, clips=4), seed=0)

    ttft = find(comparison, "ttft_ms")
    assert (ttft.clips, ttft.of) == (4, 6)
    assert ttft.difference == pytest.approx(7)
    assert comparison.sessions == 8


def test_what_does_not_exist_says_why():
    rtf = find(compare_arms(arm(), arm(), seed=0), "rtf", "value")
    p95 = find(compare_arms(arm(), arm(), seed=0), "ttft_ms", "p95")

    assert (rtf.a, rtf.why_null) == (None, "no clip in which both arms have it")
    assert p95.why_null == "n=12 < 20"


def test_a_single_clip_has_a_difference_but_no_interval():
    ttft = find(compare_arms(arm(clips=1), arm(3, clips=1), seed=0), "ttft_ms")

    assert (ttft.difference, ttft.difference_ci95) == (3, None)


def test_a_comparison_is_json():
    comparison = compare_arms(arm(), arm(7), seed=0)

    again = msgspec.json.decode(msgspec.json.encode(comparison), type=type(comparison))

    assert again == comparison


def test_means_agree_with_the_summary():
    a = arm()
    assert find(compare_arms(a, arm(7), seed=0), "gap_ms").a == summarise(a, seed=0)["gap_ms"].mean


def test_what_counts_from_another_instant_is_not_compared():
    live = [msgspec.structs.replace(clip, session="live") for clip in arm(7)]
    comparison = compare_arms(arm(), live, seed=0)

    for name in ("ttft_ms", "first_token_ms"):
        found = find(comparison, name)
        assert (found.a, found.difference) == (None, None)
        assert "end of the audio in turn sessions" in found.why_null
    assert find(comparison, "final_ms").difference == pytest.approx(7)


def test_clips_that_are_called_alike_and_are_not_the_same_are_not_compared():
    comparison = compare_arms(arm(), arm(7), seed=0, why_not="other sound")

    assert {d.why_null for d in comparison.differences} == {"other sound"}
    assert (comparison.sessions, comparison.texts) == (0, ())


def test_the_streaming_penalty_is_live_less_turn_whichever_comes_first():
    turn = arm()
    live = [
        msgspec.structs.replace(clip, session="live", hypothesis="it was")
        for clip in arm(hypothesis=WORDS[:-2])
    ]
    for arms in ((turn, live), (live, turn)):
        comparison = compare_arms(*arms, seed=0)
        wer, cer = comparison.streaming_penalty
        assert (wer.metric, wer.difference, wer.clips) == ("wer", pytest.approx(2 / 8), 6)
        assert wer.difference_ci95 == pytest.approx((2 / 8, 2 / 8))
        assert cer.metric == "cer"
        assert cer.difference > 0
        assert find(comparison, "ttft_ms").why_null is not None
    assert compare_arms(turn, turn, seed=0).streaming_penalty == ()
    assert compare_arms(turn, live, seed=0, why_not="other clips").streaming_penalty == ()
