"""Metrics of live sessions: how late is each word, why, and does the engine fall behind?

As in ``latency``, each docstring is the metric's definition. Words are matched as in ``words``.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from itertools import accumulate, pairwise

import msgspec
import numpy as np

from harness.clock import NS_PER_MS
from harness.events import SessionKind, Trace
from harness.languages.units import words_of
from harness.metrics.counted import first_words
from harness.metrics.instants import (
    NO_TEXT,
    NO_WORD,
    NO_WORDS,
    ONLY_LIVE,
    Missing,
    audio_ns,
    deliveries_ns,
    is_compute,
    ms,
    once_a_trace,
    request_ns,
    text_chunks,
)
from harness.metrics.metric import metric_function
from harness.metrics.shown import shown_words
from harness.metrics.words import bare, match_words
from harness.stats.estimates import Slope, slope_of_series

# Without text for longer than this the display stands still. At 2.7 words a second six words take
# 2.2 s, so a batching strategy alone does not stall.
STALL_MS = 3_000.0
# A slope is told from this much on: over less, the sawtooth of an engine's steps is all there is.
LEAST_SLOPE_WORDS, LEAST_SLOPE_S = 10, 10.0
# Idle for longer than this, an engine was waiting for audio; for less, it was between two jobs.
_IDLE_NS = 1 * NS_PER_MS

NO_MATCH = Missing("no word of the text is one of the reference")


class WordDelay(msgspec.Struct, frozen=True):
    """How late one word of the reference reached the client, and why; the causes add up."""

    text: str  # as in the reference
    end_s: float  # when it had been spoken
    delay_ms: float  # shown - A(end); negative: shown before it was spoken
    first_ms: float  # the same of the first time it was shown in its place
    final_ms: float  # and of when it could not change any more
    floor_ms: float  # of the delay, what no engine of this model delay and chunking can beat
    wait_ms: float  # the engine waited for audio: its policy or model delay; negative: a guess
    compute_ms: float  # the engine was busy without a pause until it said the word
    hold_ms: float  # the chunking strategy
    delivery_ms: float  # the way to a server and back


@once_a_trace
def word_delays(trace: Trace) -> list[WordDelay] | Missing:
    """The delay of every reference word whose counterpart in the text is known, with its causes.

    An engine that tells no spans has no `compute_ms` of its own: it is part of `wait_ms`.
    """
    if not trace.session.words:
        return NO_WORDS
    if not text_chunks(trace):
        return NO_TEXT
    said, shown = trace.session.words, shown_words(trace)
    busy = _busy_stretches(trace)
    deliveries = deliveries_ns(trace)
    pairs = match_words([word.text for word in said], [word.text for word in shown])
    spoken_s = {shown[j].chunk: said[i].end_s for i, j in pairs}  # the last word of each chunk
    delays = []
    for i, j in pairs:
        spoken_ns, word = audio_ns(trace, said[i].end_s), shown[j]
        delivery_ns = deliveries.get(word.produced_ns, 0)
        made_ns = word.produced_ns - delivery_ns
        compute_ns = _busy_until(busy, spoken_ns, made_ns)
        delays.append(
            WordDelay(
                text=said[i].text,
                end_s=said[i].end_s,
                delay_ms=ms(word.shown_ns - spoken_ns),
                first_ms=ms(word.first_ns - spoken_ns),
                final_ms=ms(word.final_ns - spoken_ns),
                floor_ms=ms(audio_ns(trace, spoken_s[word.chunk]) - spoken_ns)
                + trace.session.model_delay_ms,
                wait_ms=ms(made_ns - spoken_ns - compute_ns),
                compute_ms=ms(compute_ns),
                hold_ms=ms(word.shown_ns - word.produced_ns),
                delivery_ms=ms(delivery_ns),
            )
        )
    return delays or NO_MATCH


def _busy_stretches(trace: Trace) -> list[tuple[int, int]]:
    """(start, end) in which the engine computed, or the session waited for it to be free."""
    stretches: list[tuple[int, int]] = []
    spans = [span for span in trace.spans if is_compute(span) or span.name in ("queue", "injected")]
    for span in sorted(spans, key=lambda span: span.start_ns):
        if stretches and span.start_ns - stretches[-1][1] <= _IDLE_NS:
            start, end = stretches[-1]
            stretches[-1] = (start, max(end, span.end_ns))
        else:
            stretches.append((span.start_ns, span.end_ns))
    return stretches


def _busy_until(stretches: Sequence[tuple[int, int]], from_ns: int, until_ns: int) -> int:
    """Length, after ``from_ns``, of the stretch that reaches up to ``until_ns``."""
    index = bisect.bisect_right(stretches, (until_ns, until_ns)) - 1
    if index < 0 or until_ns - stretches[index][1] > _IDLE_NS:
        return 0
    return max(0, until_ns - max(from_ns, stretches[index][0]))


@metric_function(
    unit="ms",
    label="Word delay",
    scope="series",
    only_live=True,
    summarised=True,
    headline=("p50", "mean"),
    clip_p95=True,
)
def word_delay_ms(trace: Trace) -> tuple[float, ...] | Missing:
    """The chunk since which a word stays shown - A(end of that word), of matched words.

    Negative values are kept: they are findings. Missing: no word timings, no text, no match.
    """
    delays = word_delays(trace)
    return delays if isinstance(delays, Missing) else tuple(word.delay_ms for word in delays)


@metric_function(
    unit="ms",
    label="Word shown",
    scope="series",
    only_live=True,
    if_taken_back=True,
    headline=("p50",),
)
def word_shown_ms(trace: Trace) -> tuple[float, ...] | Missing:
    """The chunk that first shows a word in its place - A(end of that word), of matched words.

    It may have been taken back meanwhile. Text that only grows: `word_delay_ms`. Missing: as it.
    """
    delays = word_delays(trace)
    return delays if isinstance(delays, Missing) else tuple(word.first_ms for word in delays)


@metric_function(
    unit="ms",
    label="Word final",
    scope="series",
    only_live=True,
    if_taken_back=True,
    headline=("p50",),
)
def word_final_ms(trace: Trace) -> tuple[float, ...] | Missing:
    """The chunk since which a word cannot change - A(end of that word), of matched words.

    Text that only grows: `word_delay_ms`. Missing: as it.
    """
    delays = word_delays(trace)
    return delays if isinstance(delays, Missing) else tuple(word.final_ms for word in delays)


@metric_function(
    unit="ms", label="Word delay floor", scope="series", only_live=True, headline=("mean",)
)
def word_delay_floor_ms(trace: Trace) -> tuple[float, ...] | Missing:
    """A(end of the last word of the same chunk) + configured model delay - A(end of that word).

    What no engine of this delay and chunking can beat without guessing, of matched words: between
    two strategies its mean differs by what the speech alone makes them differ.
    Missing: in turn sessions; as `word_delay_ms`.
    """
    if trace.session.kind is not SessionKind.LIVE:
        return ONLY_LIVE
    delays = word_delays(trace)
    return delays if isinstance(delays, Missing) else tuple(word.floor_ms for word in delays)


@metric_function(unit="1", label="Words matched", better="higher")
def match_rate(trace: Trace) -> float | Missing:
    """Matched words / words of the reference: how many delays are known. Missing: no timings."""
    words = [word for word in trace.session.words if bare(word.text)]
    if not words:
        return NO_WORDS
    delays = word_delays(trace)
    return 0.0 if isinstance(delays, Missing) else len(delays) / len(words)


def delay_causes_ms(trace: Trace) -> dict[str, float] | Missing:
    """Mean of every cause over the matched words; the causes add up to the mean word delay."""
    delays = word_delays(trace)
    if isinstance(delays, Missing):
        return delays
    return {
        cause: sum(getattr(word, f"{cause}_ms") for word in delays) / len(delays)
        for cause in ("wait", "compute", "hold", "delivery")
    }


@metric_function(unit="ms", label="TTFT floor", only_live=True, headline=("p50",))
def ttft_floor_ms(trace: Trace) -> float | Missing:
    """A(end of the k-th word) + configured model delay - R, k = counted words when `ttft_ms` ends.

    What no engine of this delay and chunking can beat without guessing; `ttft_ms` less this is
    the engine's. Missing: in turn sessions; no word timings, no text, no counted word.
    """
    session, chunks = trace.session, text_chunks(trace)
    if session.kind is not SessionKind.LIVE:
        return ONLY_LIVE
    if not session.words:
        return NO_WORDS
    if not chunks:
        return NO_TEXT
    said = [word for word in session.words if bare(word.text)]
    k = min(first_words(trace), len(said))
    if k == 0:
        return NO_WORD
    spoken_ns = audio_ns(trace, said[k - 1].end_s)
    return ms(spoken_ns - request_ns(trace)) + session.model_delay_ms


@metric_function(unit="1", label="Stalls")
def stall_ratio(trace: Trace) -> float | Missing:
    """Share of speech time at which the newest text was older than 3 s; unit 1.

    Speech time is from speech onset to speech end, and counts as text at its onset.
    Missing: in turn sessions; nothing is said.
    """
    session = trace.session
    if session.kind is not SessionKind.LIVE:
        return ONLY_LIVE
    onset_ns = audio_ns(trace, session.speech_onset_s)
    end_ns = audio_ns(trace, session.speech_end_s)
    if end_ns <= onset_ns:
        return Missing("nothing is said")
    news = [onset_ns, *(min(max(c.at_ns, onset_ns), end_ns) for c in text_chunks(trace)), end_ns]
    patience_ns = round(STALL_MS * NS_PER_MS)
    stalled_ns = sum(max(0, later - news_ns - patience_ns) for news_ns, later in pairwise(news))
    return stalled_ns / (end_ns - onset_ns)


def lag_slope(trace: Trace) -> Slope | Missing:
    """Theil-Sen slope of word delay [ms] against audio time [min], with its 95 % interval.

    A word's lateness resembles its neighbour's: it is that of the medians of blocks of words.

    Missing: in turn sessions; fewer than 10 matched words, or less than 10 s between them.
    """
    if trace.session.kind is not SessionKind.LIVE:
        return ONLY_LIVE
    delays = word_delays(trace)
    if isinstance(delays, Missing):
        return delays
    span_s = delays[-1].end_s - delays[0].end_s
    if len(delays) < LEAST_SLOPE_WORDS or span_s < LEAST_SLOPE_S:
        return Missing(
            f"{len(delays)} words in {span_s:.1f} s;"
            f" a slope needs {LEAST_SLOPE_WORDS} in {LEAST_SLOPE_S:g} s"
        )
    minutes, late = [w.end_s / 60 for w in delays], [w.delay_ms for w in delays]
    return slope_of_series(np.array(minutes), np.array(late), 0.95)


@metric_function(unit="ms/min", label="Lag slope")
def lag_slope_ms_per_min(trace: Trace) -> float | Missing:
    """Theil-Sen slope of word delay against audio time: above zero, the engine falls behind.

    Of the medians of 5 to 20 blocks of consecutive words, since neighbours are late alike.

    Missing: in turn sessions; fewer than 10 matched words, or less than 10 s between them.
    """
    found = lag_slope(trace)
    return found if isinstance(found, Missing) else found.slope


def lag_slope_ci95(trace: Trace) -> tuple[float | None, float | None] | Missing:
    """The 95 % interval of `lag_slope_ms_per_min`."""
    found = lag_slope(trace)
    return found if isinstance(found, Missing) else (found.interval.low, found.interval.high)


@metric_function(unit="ms", label="LAAL")
def laal_ms(trace: Trace) -> float | Missing:
    """Length-adaptive average lagging of SimulEval, in words, by the audio used for each word.

    That audio is what had been sent when the pass that released the word was asked for (its
    `queue` span, or else its `features` span; without them: when the word was released).
    Missing: in turn sessions; no text.
    """
    return _laal_of(trace, computation_aware=False)


@metric_function(unit="ms", label="LAAL, compute-aware")
def laal_ca_ms(trace: Trace) -> float | Missing:
    """Computation-aware LAAL: as `laal_ms`, by the instant each word was shown, from t0.

    Missing: in turn sessions; no text.
    """
    return _laal_of(trace, computation_aware=True)


def _laal_of(trace: Trace, *, computation_aware: bool) -> float | Missing:
    if trace.session.kind is not SessionKind.LIVE:
        return ONLY_LIVE
    shown = shown_words(trace)
    if not shown:
        return NO_TEXT
    if computation_aware:
        delays = [ms(word.shown_ns - trace.session.t0_ns) for word in shown]
    else:
        audio_ms = AudioUsed(trace)
        delays = [audio_ms.until(word.shown_ns) for word in shown]
    reference_words = sum(1 for _ in words_of(trace.session.reference))
    return laal(delays, trace.session.duration_s * 1000, reference_words)


def laal(delays: Sequence[float], source_length: float, reference_words: int) -> float:
    """LAAL as SimulEval computes it (Papi et al. 2022, Polák et al. 2022).

    Mean over words of ``delay - index * source_length / max(words, reference words)``, up to and
    including the first word that had all of the source; the first delay if that is longer.

    Args:
        delays: of each word, in the unit of ``source_length``; one or more.
    """
    if delays[0] > source_length:
        return delays[0]
    last = next((i for i, delay in enumerate(delays) if delay >= source_length), len(delays) - 1)
    ideal = source_length / max(len(delays), reference_words)
    return sum(delays[i] - i * ideal for i in range(last + 1)) / (last + 1)


class AudioUsed:
    """How much audio the engine can have used for what was shown at some instant."""

    def __init__(self, trace: Trace) -> None:
        queued = {span.end_ns: span.start_ns for span in trace.spans if span.name == "queue"}
        passes = sorted(span.start_ns for span in trace.spans if span.name == "features")
        self._passes_ns = passes
        # The latest asking of any pass up to each: one that queued for long was asked for early.
        self._asked_ns = list(accumulate((queued.get(start, start) for start in passes), max))
        sent = sorted(trace.frames, key=lambda frame: frame.sent_ns)  # one may overtake another
        self._sent_ns = [frame.sent_ns for frame in sent]
        self._reached = list(accumulate((frame.index + 1 for frame in sent), max, initial=0))
        self._session = trace.session

    def until(self, shown_ns: int) -> float:
        """In milliseconds."""
        begun = bisect.bisect_right(self._passes_ns, shown_ns)
        used_ns = self._asked_ns[begun - 1] if begun else shown_ns
        frames = self._reached[bisect.bisect_right(self._sent_ns, used_ns)]  # with those lost
        return min(frames * self._session.frame_ms, self._session.duration_s * 1000)
