"""YAAL and LongYAAL (Polák et al. 2025, arXiv 2509.17349), as OmniSTEval 0.1.10 computes them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from harness.events import SessionKind, Trace
from harness.languages.units import words_of
from harness.metrics.instants import NO_TEXT, NO_WORDS, ONLY_LIVE, Missing
from harness.metrics.live import AudioUsed
from harness.metrics.lost import phrases
from harness.metrics.metric import metric_function
from harness.metrics.shown import shown_words
from harness.metrics.words import align_bare

_NOTHING_IN_TIME = Missing("no word came before the audio was over")


@metric_function(unit="ms", label="YAAL")
def yaal_ms(trace: Trace) -> float | Missing:
    """As `laal_ms`, but only over words that came before all of the audio was used.

    Words of the end wait for nothing but the end; an engine that says all of them there would
    look fast. Missing: in turn sessions; no text; no word came before the end of the audio.
    """
    if trace.session.kind is not SessionKind.LIVE:
        return ONLY_LIVE
    audio, shown = AudioUsed(trace), shown_words(trace)
    if not shown:
        return NO_TEXT
    delays = [audio.until(word.shown_ns) for word in shown]
    said = sum(1 for _ in words_of(trace.session.reference))
    found = yaal(delays, trace.session.duration_s * 1000, said)
    return _NOTHING_IN_TIME if found is None else found


@metric_function(unit="ms", label="LongYAAL")
def long_yaal_ms(trace: Trace) -> float | Missing:
    """Mean of YAAL over stretches of speech between pauses of at least 1 s, each from its start.

    A word belongs to the stretch of the word that it is aligned with, an added one to that of the
    word before; words count until the last stretch is over. Missing: as `yaal_ms`; no word timings.
    """
    session = trace.session
    if session.kind is not SessionKind.LIVE:
        return ONLY_LIVE
    stretches = list(phrases(session.words))
    if not stretches:
        return NO_WORDS
    audio, shown = AudioUsed(trace), shown_words(trace)
    if not shown:
        return NO_TEXT
    stretch_of = {word: k for k, stretch in enumerate(stretches) for word in stretch}
    delays: list[list[float]] = [[] for _ in stretches]
    current = 0
    steps = align_bare([word.text for word in session.words], [word.text for word in shown])
    for i, j in steps:
        current = current if i is None else stretch_of[i]
        if j is not None:
            delays[current].append(audio.until(shown[j].shown_ns))
    over_ms = 1000 * session.words[stretches[-1][-1]].end_s
    scores = []
    for stretch, late in zip(stretches, delays, strict=True):
        start_ms = 1000 * session.words[stretch[0]].start_s
        length_ms = 1000 * session.words[stretch[-1]].end_s - start_ms
        own = [at_ms - start_ms for at_ms in late]
        scores.append(yaal(own, length_ms, len(stretch), recording_ms=over_ms - start_ms))
    found = [score for score in scores if score is not None]
    return sum(found) / len(found) if found else _NOTHING_IN_TIME


def yaal(
    delays: Sequence[float],
    source_ms: float,
    reference_words: int,
    *,
    recording_ms: float | None = None,
) -> float | None:
    """Mean over words of ``delay - index * source / max(words, reference words)``.

    Up to the first word that came with or after the end of the source, without it.

    Args:
        delays: of each word, from the start of the source, in its order.
        recording_ms: LongYAAL: the source is a part of a recording that is over then, and words
            count until then.

    Returns:
        None: no word counts.
    """
    end_ms = source_ms if recording_ms is None else recording_ms
    counted = next((i for i, delay in enumerate(delays) if delay >= end_ms), len(delays))
    if not counted or not source_ms > 0:
        return None
    ideal = source_ms / max(len(delays), reference_words)
    return math.fsum(delays[i] - i * ideal for i in range(counted)) / counted
