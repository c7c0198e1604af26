"""One pure function per latency metric, and :func:`clip_metrics`, which calls all of them.

Each function's docstring is the metric's definition: formula, unit, when it is missing. Missing is
neither zero nor left out, and negative is not zero. ``R`` and ``A(s)`` are those of ``instants``.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any

import msgspec

from harness.clock import NS_PER_MS
from harness.events import Failed, SessionKind, Trace
from harness.languages.units import spoken_words, words_of
from harness.metrics import ClipMetrics, EditsThen, live, lost, revision, turns
from harness.metrics.accuracy import char_edits, told_as_cer, word_edits
from harness.metrics.budget import budget_ms
from harness.metrics.corpus import AFTER_MS, NO_SPANS
from harness.metrics.counted import first_word
from harness.metrics.instants import (
    CENSORED,
    CUT_OFF,
    FLOOD,
    NO_TEXT,
    NO_WORD,
    ONLY_TURN,
    Arrivals,
    Missing,
    audio_ns,
    covered,
    cut_off,
    is_compute,
    is_delivery,
    ms,
    planned_ns,
    request_ns,
    text_chunks,
    text_tokens,
)
from harness.metrics.metric import metric_function
from harness.metrics.registry import all_metrics, is_ours
from harness.metrics.shown import displayed_text, takes_back, texts_at

PASSED_ON = Missing("what may be taken back is passed on as it comes")


@metric_function(
    unit="ms",
    label="TTFT",
    from_request=True,
    infinite=True,
    summarised=True,
    headline=("p50", "p95"),
)
def ttft_ms(trace: Trace) -> float | Missing:
    """First chunk that shows a letter of a counted word - R: what the person waits for.

    Counted words survive the normaliser of error rates: no punctuation, filler, annotation such as
    `[BLANK_AUDIO]`, special token or invisible character. Missing: no text; no counted word.
    """
    if not text_chunks(trace):
        return NO_TEXT
    word = first_word(trace)
    return NO_WORD if word is None else ms(word.chunk_ns - request_ns(trace))


@metric_function(unit="ms", label="First text", from_request=True, infinite=True)
def first_text_ms(trace: Trace) -> float | Missing:
    """First chunk whose text is not blank, of any kind - R. Missing: no text."""
    chunks = text_chunks(trace)
    return ms(chunks[0].at_ns - request_ns(trace)) if chunks else NO_TEXT


@metric_function(
    unit="ms",
    label="First token",
    from_request=True,
    infinite=True,
    summarised=True,
    headline=("p50",),
)
def first_token_ms(trace: Trace) -> float | Missing:
    """First token whose text is not blank - R: what the model did. Missing: no text."""
    tokens = text_tokens(trace)
    return ms(tokens[0].at_ns - request_ns(trace)) if tokens else NO_TEXT


@metric_function(unit="ms", label="Response", infinite=True, summarised=True, headline=("p50",))
def response_ms(trace: Trace) -> float | Missing:
    """Last chunk - R, the whole response. Missing: no text; in live sessions."""
    if trace.session.kind is not SessionKind.TURN:
        return ONLY_TURN
    return ms(trace.chunks[-1].at_ns - request_ns(trace)) if text_chunks(trace) else NO_TEXT


@metric_function(
    unit="ms",
    label="Final text",
    infinite=True,
    needs_end=True,
    summarised=True,
    headline=("p50",),
)
def final_ms(trace: Trace) -> float | Missing:
    """Last chunk whose text is not blank - A(speech end).

    Missing: no text; only our ending the audio brought it (`censored`).
    """
    chunks = text_chunks(trace)
    if chunks and turns.is_censored(trace):
        return CENSORED
    return ms(chunks[-1].at_ns - audio_ns(trace, trace.session.speech_end_s)) if chunks else NO_TEXT


@metric_function(unit="ms", label="Flush", infinite=True)
def flush_ms(trace: Trace) -> float | Missing:
    """End of the stream - the actual sending of the end of audio. Missing: it was never sent."""
    if trace.finish is None:
        return Missing("the end of audio was never sent")
    return ms(trace.outcome.at_ns - trace.finish.sent_ns)


@metric_function(unit="ms", label="Set-up")
def setup_ms(trace: Trace) -> float | Missing:
    """Sum of the `setup` spans: connect and handshake, before t0. Missing: nothing to set up."""
    spans = [span for span in trace.spans if span.name == "setup"]
    if not spans:
        return Missing("the engine has nothing to connect to")
    return ms(sum(span.end_ns - span.start_ns for span in spans))


@metric_function(unit="ms", label="Compute", unpaced=True)
def compute_ms(trace: Trace) -> float | Missing:
    """Time covered by spans in which the engine computes, overlaps once.

    Of a step that several sessions took together, this session's share. Missing: no such spans.
    """
    spans = [span for span in trace.spans if is_compute(span)]
    if not spans:
        return NO_SPANS
    first, last = min(s.start_ns for s in spans), max(s.end_ns for s in spans)
    return ms(sum(own_ns / span.shared_by for span, own_ns in covered(spans, first, last)))


@metric_function(unit="ms", label="Delivery", scope="series")
def delivery_ms(trace: Trace) -> tuple[float, ...] | Missing:
    """The way to the server and back: text's arrival - sending, less the server's own time.

    Sending of the end of the audio (turn) or of the first audio (live). Missing: in-process; a
    server that does not tell its time.
    """
    found = tuple(ms(span.end_ns - span.start_ns) for span in trace.spans if is_delivery(span))
    return found or Missing("the server did not report its times")


@metric_function(
    unit="ms", label="Gap", scope="series", summarised=True, headline=("p50", "p95"), clip_p95=True
)
def gap_ms(trace: Trace) -> tuple[float, ...]:
    """Differences of consecutive non-blank chunks, raw: never spread over a chunk's words."""
    return tuple(ms(b.at_ns - a.at_ns) for a, b in pairwise(text_chunks(trace)))


@metric_function(unit="ms", label="Gap per word")
def gap_per_word_ms(trace: Trace) -> float | Missing:
    """(Last - first chunk) / (words of the text - words of the first chunk), non-blank chunks.

    Words hold a letter or digit; chunks that bring parts of one word bring one word. Missing: no
    word after the first chunk.
    """
    chunks = text_chunks(trace)
    words = len(spoken_words(displayed_text(trace)))
    later_words = words - len(spoken_words(chunks[0].text)) if chunks else 0
    if later_words == 0:
        return Missing("no word after the first chunk")
    return ms(chunks[-1].at_ns - chunks[0].at_ns) / later_words


@metric_function(unit="ms", label="Hold", scope="series", summarised=True)
def hold_ms(trace: Trace) -> tuple[float, ...] | Missing:
    """Chunk release - the token that completed its first word: what batching costs, per chunk.

    That token brought the white space or unit after the word; of the last, its last character.
    Where a strategy released the word before it was complete: - the token of its last character.
    Missing: the client is shown text that may be taken back.
    """
    if takes_back(trace):
        return PASSED_ON
    arrivals = Arrivals(trace)
    holds, offset = [], 0
    length = len(trace.text.rstrip())
    for chunk in trace.chunks:
        word = next(words_of(chunk.text), None)
        if word is not None:
            last = offset + word.end == length  # nothing follows that could complete it
            whole_ns = arrivals.brought_ns(offset + word.end - last)
            if whole_ns > chunk.at_ns:
                whole_ns = arrivals.brought_ns(offset + word.end - 1)
            holds.append(ms(chunk.at_ns - whole_ns))
        offset += len(chunk.text)
    return tuple(holds)


@metric_function(unit="ms", label="Send lateness", scope="series", kept=False)
def send_lateness_ms(trace: Trace) -> tuple[float, ...]:
    """Actual - planned sending, of every frame and of the end of audio: the harness itself.

    Planned is when it is due, or as late as the network of `conditions` makes it.
    """
    finish = () if trace.finish is None else (trace.finish,)
    return tuple(ms(sent.sent_ns - planned_ns(sent)) for sent in (*trace.frames, *finish))


@metric_function(unit="1", label="Split words", unpaced=True)
def split_words(trace: Trace) -> int | Missing:
    """Words over whose inside two chunks met: they changed after they were shown.

    Text is only ever added to; engines commit before they speak, so no word is taken back.
    """
    if takes_back(trace):
        return PASSED_ON
    ends = list(accumulate(len(chunk.text) for chunk in trace.chunks))
    return sum(
        bisect.bisect_right(ends, word.start) < bisect.bisect_right(ends, word.end - 1)
        for word in words_of("".join(chunk.text for chunk in trace.chunks))
    )


# --- all of them ---------------------------------------------------------------------------------

_BESIDES: dict[str, Callable[[Trace], Any]] = {  # what explains the metrics
    "budget_ms": budget_ms,
    "delay_causes_ms": live.delay_causes_ms,
    "lag_slope_ci95": live.lag_slope_ci95,
    # What corpus ratios are made of.
    "revised": revision.revised,
    "false_cutoffs": turns.cutoffs,
    "censored": turns.censored_or_not,
    "lost_after_pause": lost.after_pauses,
}
_OF_TEXT = {"revised", "lost_after_pause"}  # besides; as ``Metric.unpaced``
_ACCURACY = ("wer", "cer", "mute_s", "lost_after_pause")


def clip_metrics(
    trace: Trace, *, random_weights: bool = False, pace: str = "realtime"
) -> ClipMetrics:
    """Every metric of one replayed clip.

    A failed clip has no latency and is all deletions, whatever it had said; its send lateness
    stays.

    Args:
        random_weights: the engine's text means nothing: no error rates.
        pace: ``flood`` claims no latency: audio came faster than anyone speaks.
    """
    failed = trace.outcome.error if isinstance(trace.outcome, Failed) else None
    measured = [one for one in all_metrics() if one.scope != "corpus"]
    functions = {one.name: one.function for one in measured} | _BESIDES
    unpaced = {one.name for one in measured if one.unpaced} | _OF_TEXT
    outside = {one.name for one in measured if not is_ours(one)}
    cut = failed is None and cut_off(trace)
    from_request = {one.name for one in measured if one.from_request or one.infinite}
    from_request |= {"budget_ms", "delay_causes_ms"}
    figures: dict[str, Any] = {}
    for name, function in functions.items():
        if pace == "flood" and name not in unpaced:
            figures[name] = Missing(FLOOD)
        elif cut and name in from_request:
            figures[name] = CUT_OFF
        elif failed is None or name == "send_lateness_ms":
            figures[name] = _foreign(function, trace) if name in outside else function(trace)
        else:
            figures[name] = Missing(f"failed: {failed}")
    figures |= _error_figures(trace, random_weights=random_weights)
    figures |= _error_figures_at(trace, random_weights=random_weights, paced=pace != "flood")
    there = {name: value for name, value in figures.items() if not isinstance(value, Missing)}
    session = trace.session
    return ClipMetrics(
        clip=session.clip,
        repeat=session.repeat,
        order=session.order,
        lane=session.lane,
        session=session.kind.value,
        duration_s=session.duration_s,
        speech_onset_s=session.speech_onset_s,
        reference=session.reference,
        hypothesis=trace.text,
        endpointer=session.endpointer,
        takes_back=takes_back(trace),
        failed=failed,
        chunks=len(text_chunks(trace)),
        why_null={n: v.reason for n, v in figures.items() if isinstance(v, Missing)},
        outside={name: value for name, value in there.items() if name in outside},
        **{name: value for name, value in there.items() if name not in outside},
    )


def _foreign(function: Callable[[Trace], Any], trace: Trace) -> Any:
    """What a metric from outside says; whatever is wrong with it costs no session."""
    try:
        figure = function(trace)
    except Exception as error:  # noqa: BLE001 foreign code may raise anything
        return Missing(f"the metric raised {type(error).__name__}: {error}")
    if isinstance(figure, Missing):
        return figure
    several = isinstance(figure, list | tuple)
    numbers = figure if several else (figure,)
    if not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers):
        return Missing(f"the metric returned no finite number: {str(figure)[:60]}")
    return tuple(map(float, numbers)) if several else float(figure)


def as_recorded(clip: ClipMetrics, version: str, streams: int) -> ClipMetrics:
    """Without what events of an older version do not tell.

    Args:
        version: of the metrics of the harness that recorded them; before 3, spans did not say how
            many sessions they served.
        streams: that were replayed at the same time.
    """
    if int(version) >= 3 or streams == 1:
        return clip
    why = f"recorded under metrics version {version}: who shared a step is not known"
    return msgspec.structs.replace(
        clip, compute_ms=None, why_null=clip.why_null | {"compute_ms": why}
    )


_RANDOM = Missing("random weights: the text means nothing")


def _error_figures(trace: Trace, *, random_weights: bool) -> dict[str, Any]:
    if random_weights:
        return dict.fromkeys(_ACCURACY, _RANDOM)
    heard = "" if trace.failed else trace.text
    texts = (trace.session.reference, heard, trace.session.language)
    figures: dict[str, Any] = {"word_edits": word_edits(*texts), "char_edits": char_edits(*texts)}
    for name, edits in (("wer", figures["word_edits"]), ("cer", figures["char_edits"])):
        share = edits.errors / edits.reference if edits.reference else None
        figures[name] = Missing("the reference has no words") if share is None else share
    return figures


def _error_figures_at(trace: Trace, *, random_weights: bool, paced: bool) -> dict[str, Any]:
    """Edits of what was shown some time after the end of speech."""
    if random_weights or not paced:
        missing = _RANDOM if random_weights else Missing(FLOOD)
        return {f"wer_at_{after_ms}ms": missing for after_ms in AFTER_MS}
    session = trace.session
    spoken_ns = audio_ns(trace, session.speech_end_s)
    texts = texts_at(trace, [spoken_ns + after_ms * NS_PER_MS for after_ms in AFTER_MS])
    edits_of = char_edits if told_as_cer([session.reference]) else word_edits
    figures: dict[str, Any] = {}
    for after_ms, text in zip(AFTER_MS, texts, strict=True):
        edits = edits_of(session.reference, "" if trace.failed else text, session.language)
        figures[f"edits_at_{after_ms}ms"] = EditsThen(*msgspec.structs.astuple(edits))
    return figures
