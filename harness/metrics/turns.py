"""Metrics of the end of a turn: how late it is said, how often too early, and whether at all.

An end of turn counts if it was said while the microphone was open: what came after the audio was
ended came because it was.
"""

from __future__ import annotations

import bisect
from itertools import pairwise

from harness.events import Trace
from harness.metrics import ClipMetrics
from harness.metrics.instants import (
    CENSORED,
    NO_ENDPOINTER,
    NO_WORDS,
    Missing,
    audio_ns,
    cut_off,
    ms,
)
from harness.metrics.metric import metric_function

LEAST_PAUSE_S = 0.1  # between two words, for an end of turn in it to be a false one (eot-bench)
_ROUNDING_S = 1e-6  # of word timings


def _turn_ends_ns(trace: Trace) -> list[int]:
    last_ns = trace.outcome.at_ns if trace.finish is None else trace.finish.sent_ns
    return [end.at_ns for end in trace.turns_ended if end.at_ns <= last_ns]


def _turn_end_ns(trace: Trace) -> int | None:
    """The first end of turn at or after the end of speech, said while the microphone was open."""
    spoken_ns = audio_ns(trace, trace.session.speech_end_s)
    return next((at_ns for at_ns in _turn_ends_ns(trace) if at_ns >= spoken_ns), None)


def is_censored(trace: Trace) -> bool:
    """Whether it ended only because we ended the audio: nobody said that the turn was over.

    Nor was it cut off: then somebody did say so, too early.
    """
    if trace.session.endpointer == "none" or cut_off(trace):
        return False
    return _turn_end_ns(trace) is None


@metric_function(
    unit="ms",
    label="End of turn",
    infinite=True,
    needs_end=True,
    summarised=True,
    headline=("p50", "p95"),
)
def eot_ms(trace: Trace) -> float | Missing:
    """End of turn - A(speech end); of several, the first at or after the end of speech.

    Never said while the microphone was open: beyond any limit. Missing: `endpointer=none`.
    """
    if trace.session.endpointer == "none":
        return NO_ENDPOINTER
    at_ns = _turn_end_ns(trace)
    if at_ns is None:
        return CENSORED
    return ms(at_ns - audio_ns(trace, trace.session.speech_end_s))


def cutoffs(trace: Trace) -> tuple[int, int] | Missing:
    """Pauses in which the turn was said to be over, and pauses."""
    session = trace.session
    if session.endpointer == "none":
        return NO_ENDPOINTER
    if not session.words:
        return NO_WORDS
    pauses = [
        audio_ns(trace, before.end_s)
        for before, after in pairwise(session.words)
        if after.start_s - before.end_s >= LEAST_PAUSE_S - _ROUNDING_S
    ]
    spoken_ns = audio_ns(trace, session.speech_end_s)
    # Said a little late, when the speaker went on already, it was for the pause before.
    cut = {bisect.bisect_right(pauses, at) for at in _turn_ends_ns(trace) if at < spoken_ns}
    return len(cut), len(pauses)


@metric_function(unit="1", label="False cut-offs", scope="corpus", of="pauses", headline=("value",))
def false_cutoffs(clip: ClipMetrics) -> tuple[float, float] | Missing:
    """Pauses of a turn in which it was said to be over / pauses of at least 100 ms between words.

    An end of turn that is said while a word is spoken belongs to the pause before it; every one
    before A(speech end) counts. Missing: `endpointer=none`; no word timings.
    """
    if clip.false_cutoffs is None:
        return Missing(clip.why_null.get("false_cutoffs", "not measured"))
    return float(clip.false_cutoffs[0]), float(clip.false_cutoffs[1])


def censored_or_not(trace: Trace) -> bool | Missing:
    """Whether the session is censored."""
    return NO_ENDPOINTER if trace.session.endpointer == "none" else is_censored(trace)


@metric_function(unit="1", label="Censored", scope="corpus", of="sessions", headline=("value",))
def censored(clip: ClipMetrics) -> tuple[float, float] | Missing:
    """Sessions that ended only because we ended the audio / sessions.

    Nobody said at or after A(speech end), with the microphone open, that the turn was over; turns
    that were cut off are in `false_cutoffs`.
    Missing: `endpointer=none`.
    """
    if clip.censored is None:
        return Missing(clip.why_null.get("censored", "not measured"))
    return float(clip.censored), 1.0
