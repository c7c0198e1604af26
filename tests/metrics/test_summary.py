from __future__ import annotations

import pytest

from harness.metrics import ClipMetrics, Distribution, Ratio
from harness.metrics.accuracy import char_edits, word_edits
from harness.metrics.latency import clip_metrics
from harness.metrics.registry import all_metrics
from harness.metrics.summary import summarise
from tests.traces import make_trace


def make_clip(clip: str, repeat: int = 0, reference="a b", hypothesis="a b", **figures):
    return ClipMetrics(
        clip=clip,
        repeat=repeat,
        order=0,
        lane=0,
        session="turn",
        duration_s=2.0,
        reference=reference,
        hypothesis=hypothesis,
        word_edits=word_edits(reference, hypothesis, "de"),
        char_edits=char_edits(reference, hypothesis, "de"),
        **figures,
    )


def clips_with_ttft(n: int) -> list[ClipMetrics]:
    return [make_clip(f"c{i}", ttft_ms=float(i + 1)) for i in range(n)]


def test_percentiles_are_null_below_their_least_n():
    ttft = summarise(clips_with_ttft(27), seed=0)["ttft_ms"]

    assert (ttft.n, ttft.of, ttft.mean, ttft.max) == (27, 27, 14, 27)
    assert (ttft.p50, ttft.p90, ttft.p95, ttft.p99) == (14, 25, 26, None)
    assert ttft.why_null == {"p99": "n=27 < 459"}
    low, high = ttft.ci95["p50"]
    assert low < 14 < high
    low, high = ttft.ci95["p95"]
    assert low < 26
    assert high is None  # 27 samples bound a p95 on one side only


@pytest.mark.parametrize(
    ("n", "shown"),
    [(1, set()), (2, {"p50"}), (9, {"p50"}), (10, {"p50", "p90"}), (20, {"p50", "p90", "p95"}),
     (458, {"p50", "p90", "p95"}), (459, {"p50", "p90", "p95", "p99"})],
)  # fmt: skip
def test_each_percentile_appears_at_its_least_n(n, shown):
    ttft = summarise(clips_with_ttft(n), seed=0)["ttft_ms"]

    assert {p for p in ("p50", "p90", "p95", "p99") if getattr(ttft, p) is not None} == shown
    assert set(ttft.why_null) == {"p50", "p90", "p95", "p99"} - shown


def test_every_metric_is_there_and_says_why_it_is_null():
    metrics = summarise([make_clip("c", why_null={"ttft_ms": "no text"})], seed=0)

    assert {metric.name for metric in all_metrics()} <= set(metrics)
    assert metrics["ttft_ms"].n == 0
    assert metrics["ttft_ms"].of == 1
    assert metrics["ttft_ms"].why_null["p50"] == "no text"
    assert isinstance(metrics["wer"], Ratio)


def test_no_clips_at_all():
    metrics = summarise([], seed=0)

    assert metrics["ttft_ms"].why_null["mean"] == "no sample"
    assert metrics["wer"].value is None


def test_failed_clips_are_counted_in_of_not_in_n():
    clips = [*clips_with_ttft(3), make_clip("bad", failed="x", why_null={"ttft_ms": "failed: x"})]

    assert (summarise(clips, seed=0)["ttft_ms"].n, summarise(clips, seed=0)["ttft_ms"].of) == (3, 4)


def test_gaps_are_pooled_and_the_median_of_clip_p95s_is_told_beside():
    clips = [make_clip(f"c{i}", gap_ms=(1.0,) * 19 + (float(i),)) for i in range(5)]
    clips += [make_clip("long", gap_ms=(50.0,) * 200)]

    metrics = summarise(clips, seed=0)

    assert metrics["gap_ms"].n == metrics["gap_ms"].of == 300
    assert metrics["gap_ms"].p50 == 50
    assert metrics["gap_p95_median_ms"].p50 == 1
    assert metrics["gap_p95_median_ms"].mean is None


def test_intervals_count_clips_not_repeats():
    once = summarise(clips_with_ttft(12), seed=0)["ttft_ms"]
    thrice = summarise(
        [make_clip(f"c{i}", r, ttft_ms=float(i + 1)) for i in range(12) for r in range(3)], seed=0
    )["ttft_ms"]

    assert thrice.n == 36
    assert thrice.ci95["mean"] == pytest.approx(once.ci95["mean"])
    assert thrice.ci95["p50"] == pytest.approx(once.ci95["p50"])


def test_wer_is_a_ratio_of_sums_with_its_edits():
    clips = [make_clip("a", reference="a b c", hypothesis="a x c d"), make_clip("b")]

    wer = summarise(clips, seed=0)["wer"]

    assert wer.value == 2 / 5
    assert (wer.words, wer.substitutions, wer.deletions, wer.insertions) == (5, 1, 0, 1)
    assert wer.ci95[0] <= 2 / 5 <= wer.ci95[1]


def test_no_error_at_all_is_not_certainly_none():
    right = [make_clip(c, r) for c in "abc" for r in range(4)]  # six words, four times
    wrong = [make_clip(c, hypothesis="") for c in "abc"]

    assert summarise(right, seed=0)["wer"].ci95 == pytest.approx((0, 1 - 0.025 ** (1 / 6)))
    assert summarise(wrong, seed=0)["wer"].ci95 == pytest.approx((0.025 ** (1 / 6), 1))


def test_wer_without_reference_words_is_null_not_zero():
    wer = summarise([make_clip("a", reference="", hypothesis="x y")], seed=0)["wer"]

    assert (wer.value, wer.insertions) == (None, 2)
    assert "nothing to divide by" in wer.why_null


def test_rtf_comes_from_compute_never_from_the_paced_clock():
    clips = [make_clip("a", compute_ms=500.0), make_clip("b", compute_ms=1500.0), make_clip("c")]

    metrics = summarise(clips, seed=0)

    assert metrics["rtf"].value == 0.5
    assert metrics["rtfx"].value == 2
    assert [(metrics[name].n, metrics[name].of) for name in ("rtfx", "wer")] == [(2, 3), (3, 3)]


def test_flood_claims_only_speed_and_errors():
    spans = [("encoder", 2000, 2500)]
    trace = make_trace([("it", 2600), (" was", 2700)], spans=spans)
    clip = clip_metrics(trace, pace="flood")
    metrics = summarise([clip], seed=0)

    assert (clip.ttft_ms, clip.gap_ms, clip.budget_ms, clip.send_lateness_ms) == (
        None,
        (),
        None,
        (),
    )
    assert metrics["rtf"].value == 0.25
    assert metrics["wer"].value == 0
    assert metrics["compute_ms"].mean == 500
    for name, figure in metrics.items():
        if isinstance(figure, Distribution) and name not in (
            "compute_ms",
            "split_words",
            "mute_s",
        ):
            assert figure.n == 0
            assert figure.why_null["p50"] == "replay.pace=flood: no latency"
