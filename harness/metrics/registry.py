"""The metrics, by name: ours, in the order in which tables show them, then those from outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.metrics.metric import Metric
from harness.registry import Registry

_LATENCY = "harness.metrics.latency"
_LIVE = "harness.metrics.live"
_CORPUS = "harness.metrics.corpus"
_REVISION = "harness.metrics.revision"
_TURNS = "harness.metrics.turns"
_OURS = (
    (_LATENCY, ("ttft_ms", "first_text_ms")),
    (_REVISION, ("first_stable_ms",)),
    (_LIVE, ("ttft_floor_ms",)),
    (
        _LATENCY,
        ("first_token_ms", "hold_ms", "gap_ms", "gap_per_word_ms", "response_ms", "final_ms"),
    ),
    (_REVISION, ("final_known_ms",)),
    (_TURNS, ("eot_ms", "false_cutoffs", "censored")),
    (_LATENCY, ("flush_ms", "setup_ms", "delivery_ms", "compute_ms", "split_words")),
    (
        _LIVE,
        (
            "word_shown_ms", "word_delay_ms", "word_final_ms", "word_delay_floor_ms", "match_rate",
            "lag_slope_ms_per_min", "stall_ratio", "laal_ms", "laal_ca_ms",
        ),
    ),
    ("harness.metrics.yaal", ("yaal_ms", "long_yaal_ms")),
    ("harness.metrics.lost", ("mute_s", "lost_after_pause")),
    (_REVISION, ("upwr", "erasure", "revisions_per_s")),
    (_LATENCY, ("send_lateness_ms",)),
    ("harness.metrics.instrument", ("receipt_error_ms", "loop_lag_ms")),
    (
        _CORPUS,
        (
            "messages_per_s", "rtf", "rtfx", "wer_at_0ms", "wer_at_250ms", "wer_at_500ms",
            "wer_at_1000ms", "wer", "cer",
        ),
    ),
)  # fmt: skip

FUNCTIONS: Registry[Callable[..., Any]] = Registry(
    "metric",
    {name: f"{module}:{name}" for module, names in _OURS for name in names},
    group="harness.metrics",
)


def all_metrics() -> tuple[Metric, ...]:
    """Every metric that can be loaded; a function from outside without ``@metric`` is left out."""
    found = (getattr(function, "metric", None) for _, function in FUNCTIONS.loaded())
    return tuple(one for one in found if isinstance(one, Metric))


def by_name() -> dict[str, Metric]:
    return {one.name: one for one in all_metrics()}


def is_ours(one: Metric) -> bool:
    """Whether its figures are fields of ``ClipMetrics``; others are kept in ``outside``."""
    return one.name not in FUNCTIONS.outside()
