"""What ``/metrics`` shows: counters and histograms in Prometheus' text format, version 0.0.4."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter

_BOUNDS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip


class Histogram:
    """Seconds, in buckets up to and including their bound."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._text = text
        self._counts = [0] * (len(_BOUNDS_S) + 1)
        self._sum_s = 0.0

    def observe_ns(self, duration_ns: int) -> None:
        seconds = duration_ns / 1e9
        self._counts[bisect_left(_BOUNDS_S, seconds)] += 1
        self._sum_s += seconds

    def lines(self) -> list[str]:
        lines = _head(self._name, self._text, "histogram")
        below = 0
        for bound, count in zip((*map(str, _BOUNDS_S), "+Inf"), self._counts, strict=True):
            below += count
            lines.append(f'{self._name}_bucket{{le="{bound}"}} {below}')
        return [*lines, f"{self._name}_sum {self._sum_s:.6f}", f"{self._name}_count {below}"]


class ServerCounters:
    """What a server counts from its start; only its asyncio thread writes."""

    def __init__(self) -> None:
        self.sessions = 0  # open now
        self.accepted: Counter[str] = Counter()  # by endpoint
        self.refused: Counter[str] = Counter()  # by reason
        self.utterances: Counter[str] = Counter()  # by outcome
        self.errors: Counter[str] = Counter()  # error events, by code
        self.ttft = Histogram(
            "stt_ttft_seconds",
            "End of the audio (turn) or its first frame (live) to the first chunk of text.",
        )
        self.first_token = Histogram(
            "stt_first_token_seconds", "The same to the first token of text."
        )
        self.gap = Histogram("stt_gap_seconds", "From each chunk of text to the next.")
        self.queueing = Histogram(
            "stt_queueing_seconds", "From the end of the audio until the engine takes it up."
        )
        self.delivery = Histogram(
            "stt_delivery_seconds", "From a chunk's last token to the hand-over to its socket."
        )

    def exposition(self) -> str:
        lines = [*_head("stt_sessions", "Open sessions.", "gauge"), f"stt_sessions {self.sessions}"]
        for name, text, label, counter in (
            ("stt_sessions_total", "Sessions accepted.", "endpoint", self.accepted),
            ("stt_refused_total", "Refused, or closed for what it did.", "reason", self.refused),
            ("stt_utterances_total", "Utterances over.", "outcome", self.utterances),
            ("stt_errors_total", "Error events sent.", "code", self.errors),
        ):
            lines += _head(name, text, "counter")
            lines += [f'{name}{{{label}="{k}"}} {v}' for k, v in sorted(counter.items())]
        for histogram in (self.ttft, self.first_token, self.gap, self.queueing, self.delivery):
            lines += histogram.lines()
        return "\n".join(lines) + "\n"


def _head(name: str, text: str, kind: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
