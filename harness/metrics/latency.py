"""One pure function per latency metric, and :data:`METRICS`, the one list of what is measured.

Each function's docstring is the metric's definition: formula, unit, when it is missing. Missing is
neither zero nor left out, and negative is not zero. ``R`` and ``A(s)`` are those of ``instants``.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable
from itertools import accumulate, pairwise
from typing import Any, Literal, NamedTuple

import msgspec

from harness.events import Failed, SessionKind, Span, Trace
from harness.metrics import ClipMetrics, Edits, live
from harness.metrics.accuracy import char_edits, word_edits
from harness.metrics.instants import (
    FLOOD,
    NO_TEXT,
    ONLY_TURN,
    Arrivals,
    Missing,
    audio_ns,
    covered,
    deliveries_ns,
    is_compute,
    is_delivery,
    ms,
    request_ns,
    text_chunks,
    text_tokens,
    words_of,
)

NO_SPANS = Missing("the engine tells no compute spans")


def ttft_ms(trace: Trace) -> float | Missing:
    """First chunk whose text is not blank - R: what the client sees. Missing: no text."""
    chunks = text_chunks(trace)
    return ms(chunks[0].at_ns - request_ns(trace)) if chunks else NO_TEXT


def first_token_ms(trace: Trace) -> float | Missing:
    """First token whose text is not blank - R: what the model did. Missing: no text."""
    tokens = text_tokens(trace)
    return ms(tokens[0].at_ns - request_ns(trace)) if tokens else NO_TEXT


def response_ms(trace: Trace) -> float | Missing:
    """Last chunk - R, the whole response. Missing: no text; in live sessions."""
    if trace.session.kind is not SessionKind.TURN:
        return ONLY_TURN
    return ms(trace.chunks[-1].at_ns - request_ns(trace)) if text_chunks(trace) else NO_TEXT


def final_ms(trace: Trace) -> float | Missing:
    """Last chunk whose text is not blank - A(speech end). Missing: no text."""
    chunks = text_chunks(trace)
    return ms(chunks[-1].at_ns - audio_ns(trace, trace.session.speech_end_s)) if chunks else NO_TEXT


def flush_ms(trace: Trace) -> float | Missing:
    """End of the stream - the actual sending of the end of audio. Missing: it was never sent."""
    if trace.finish is None:
        return Missing("the end of audio was never sent")
    return ms(trace.outcome.at_ns - trace.finish.sent_ns)


def setup_ms(trace: Trace) -> float | Missing:
    """Sum of the `setup` spans: connect and handshake, before t0. Missing: nothing to set up."""
    spans = [span for span in trace.spans if span.name == "setup"]
    if not spans:
        return Missing("the engine has nothing to connect to")
    return ms(sum(span.end_ns - span.start_ns for span in spans))


def compute_ms(trace: Trace) -> float | Missing:
    """Time covered by spans in which the engine computes, overlaps once.

    Of a step that several sessions took together, this session's share. Missing: no such spans.
    """
    spans = [span for span in trace.spans if is_compute(span)]
    if not spans:
        return NO_SPANS
    first, last = min(s.start_ns for s in spans), max(s.end_ns for s in spans)
    return ms(sum(own_ns / span.shared_by for span, own_ns in covered(spans, first, last)))


def delivery_ms(trace: Trace) -> tuple[float, ...] | Missing:
    """The way to the server and back: text's arrival - sending, less the server's own time.

    Sending of the end of the audio (turn) or of the first audio (live). Missing: in-process; a
    server that does not tell its time.
    """
    found = tuple(ms(span.end_ns - span.start_ns) for span in trace.spans if is_delivery(span))
    return found or Missing("no server told its time")


def gap_ms(trace: Trace) -> tuple[float, ...]:
    """Differences of consecutive non-blank chunks, raw: never spread over a chunk's words."""
    return tuple(ms(b.at_ns - a.at_ns) for a, b in pairwise(text_chunks(trace)))


def gap_per_word_ms(trace: Trace) -> float | Missing:
    """(Last - first chunk) / (words of the text - words of the first chunk), non-blank chunks.

    Chunks that bring parts of one word bring one word. Missing: no word after the first chunk.
    """
    chunks = text_chunks(trace)
    words = len("".join(chunk.text for chunk in trace.chunks).split())
    later_words = words - len(chunks[0].text.split()) if chunks else 0
    if later_words == 0:
        return Missing("no word after the first chunk")
    return ms(chunks[-1].at_ns - chunks[0].at_ns) / later_words


def hold_ms(trace: Trace) -> tuple[float, ...]:
    """Chunk release - the token that completed its first word: what batching costs, per chunk.

    That token brought the white space after the word, or was followed by the end of the stream.
    Where a strategy released the word before it was complete: - the token of its last character.
    """
    arrivals = Arrivals(trace)
    holds, offset = [], 0
    for chunk in trace.chunks:
        word = next(words_of(chunk.text), None)
        if word is not None:
            whole_ns = arrivals.brought_ns(offset + word.end)
            if whole_ns > chunk.at_ns:
                whole_ns = arrivals.brought_ns(offset + word.end - 1)
            holds.append(ms(chunk.at_ns - whole_ns))
        offset += len(chunk.text)
    return tuple(holds)


def send_lateness_ms(trace: Trace) -> tuple[float, ...]:
    """Actual - due sending, of every frame and of the end of audio: the harness itself."""
    finish = () if trace.finish is None else (trace.finish,)
    return tuple(ms(sent.sent_ns - sent.due_ns) for sent in (*trace.frames, *finish))


def rewrites(trace: Trace) -> int:
    """Words that changed after they were shown: a chunk ended inside them, the next went on.

    Text is only ever added to; engines commit before they speak, so no word is taken back.
    """
    ends = list(accumulate(len(chunk.text) for chunk in trace.chunks))
    return sum(
        bisect.bisect_right(ends, word.start) < bisect.bisect_right(ends, word.end - 1)
        for word in words_of("".join(chunk.text for chunk in trace.chunks))
    )


def budget_ms(trace: Trace) -> dict[str, float] | Missing:
    """Where `ttft_ms` went; the parts add up to it.

    Until the first token: `send_late` (the harness), then the spans the engine told, overlaps to
    the one that began first; in live sessions `wait` for what lies between them (audio to come);
    `delivery`, the way to a server and back. Then `hold` (the chunking strategy). `unattributed`:
    time no span covers; the budget closes when it is at most max(1 %, 0.5 ms).
    Missing: no text, no spans, text before R.
    """
    chunks, tokens = text_chunks(trace), text_tokens(trace)
    if not chunks:
        return NO_TEXT
    if isinstance(compute_ms(trace), Missing):
        return NO_SPANS
    asked_ns, token_ns, chunk_ns = request_ns(trace), tokens[0].at_ns, chunks[0].at_ns
    if token_ns < asked_ns:
        return Missing("text came before R")
    on_the_way = [s for s in trace.spans if s.name != "setup" and not is_delivery(s)]
    delivery_ns = deliveries_ns(trace).get(token_ns, 0)
    live = trace.session.kind is SessionKind.LIVE
    if not live and trace.finish is not None:
        on_the_way.append(Span("send_late", trace.finish.due_ns, trace.finish.sent_ns))
    parts: dict[str, int] = {}
    for span, own_ns in covered(on_the_way, asked_ns, token_ns - delivery_ns):
        parts[span.name] = parts.get(span.name, 0) + own_ns
    uncovered_ns = token_ns - delivery_ns - asked_ns - sum(parts.values())
    parts |= {"wait": uncovered_ns} if live else {}
    parts |= {"hold": chunk_ns - token_ns, "delivery": delivery_ns}
    parts |= {"unattributed": 0 if live else uncovered_ns}
    return {name: ms(part_ns) for name, part_ns in parts.items()}


# --- over a run: one clip's share of a ratio of sums ---------------------------------------------


def wer(clip: ClipMetrics) -> tuple[float, float] | Missing:
    """Sum of word substitutions, deletions, insertions / sum of reference words.

    After the normaliser of ``accuracy``; a failed clip is all deletions. Missing: random weights;
    no reference words.
    """
    return _error_share(clip, clip.word_edits, "wer")


def cer(clip: ClipMetrics) -> tuple[float, float] | Missing:
    """Sum of character substitutions, deletions, insertions / sum of reference characters.

    As for `wer`, spaces included.
    """
    return _error_share(clip, clip.char_edits, "cer")


def _error_share(
    clip: ClipMetrics, edits: Edits | None, name: str
) -> tuple[float, float] | Missing:
    if edits is None:
        return Missing(clip.why_null.get(name, "not measured"))
    return edits.errors, edits.reference


def rtf(clip: ClipMetrics) -> tuple[float, float] | Missing:
    """Sum of compute time / sum of audio: never from a paced wall clock. Missing: no spans."""
    if clip.compute_ms is None:
        return Missing(clip.why_null.get("compute_ms", NO_SPANS.reason))
    return clip.compute_ms, clip.duration_s * 1000


def rtfx(clip: ClipMetrics) -> tuple[float, float] | Missing:
    """Sum of audio / sum of compute time, the inverse of `rtf`. Missing: no spans."""
    share = rtf(clip)
    return share if isinstance(share, Missing) else (share[1], share[0])


# --- the list ------------------------------------------------------------------------------------


class Metric(NamedTuple):
    """What can be measured, reported and judged."""

    name: str
    unit: str
    scope: Literal["clip", "series", "corpus"]  # one figure a clip, several, or one a run
    better: Literal["lower", "higher"]
    function: Callable[..., Any]  # clip, series: of a trace; corpus: of a ClipMetrics

    @property
    def definition(self) -> str:
        """Formula, unit and missing rule, for people."""
        return " ".join((self.function.__doc__ or "").split())


METRICS: tuple[Metric, ...] = (
    Metric("ttft_ms", "ms", "clip", "lower", ttft_ms),
    Metric("first_token_ms", "ms", "clip", "lower", first_token_ms),
    Metric("hold_ms", "ms", "series", "lower", hold_ms),
    Metric("gap_ms", "ms", "series", "lower", gap_ms),
    Metric("gap_per_word_ms", "ms", "clip", "lower", gap_per_word_ms),
    Metric("response_ms", "ms", "clip", "lower", response_ms),
    Metric("final_ms", "ms", "clip", "lower", final_ms),
    Metric("flush_ms", "ms", "clip", "lower", flush_ms),
    Metric("setup_ms", "ms", "clip", "lower", setup_ms),
    Metric("delivery_ms", "ms", "series", "lower", delivery_ms),
    Metric("compute_ms", "ms", "clip", "lower", compute_ms),
    Metric("rewrites", "1", "clip", "lower", rewrites),
    Metric("word_delay_ms", "ms", "series", "lower", live.word_delay_ms),
    Metric("word_delay_floor_ms", "ms", "series", "lower", live.word_delay_floor_ms),
    Metric("match_rate", "1", "clip", "higher", live.match_rate),
    Metric("ttft_floor_ms", "ms", "clip", "lower", live.ttft_floor_ms),
    Metric("lag_slope_ms_per_min", "ms/min", "clip", "lower", live.lag_slope_ms_per_min),
    Metric("stall_ratio", "1", "clip", "lower", live.stall_ratio),
    Metric("laal_ms", "ms", "clip", "lower", live.laal_ms),
    Metric("laal_ca_ms", "ms", "clip", "lower", live.laal_ca_ms),
    Metric("send_lateness_ms", "ms", "series", "lower", send_lateness_ms),
    Metric("rtf", "1", "corpus", "lower", rtf),
    Metric("rtfx", "1", "corpus", "higher", rtfx),
    Metric("wer", "1", "corpus", "lower", wer),
    Metric("cer", "1", "corpus", "lower", cer),
)


_BESIDES: dict[str, Callable[[Trace], Any]] = {  # what explains the metrics
    "budget_ms": budget_ms,
    "delay_causes_ms": live.delay_causes_ms,
    "lag_slope_ci95": live.lag_slope_ci95,
}


# What audio that came faster than anyone speaks still tells.
_UNPACED = ("compute_ms", "rewrites")


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
    functions = {m.name: m.function for m in METRICS if m.scope != "corpus"} | _BESIDES
    figures: dict[str, Any] = {}
    for name, function in functions.items():
        if pace == "flood" and name not in _UNPACED:
            figures[name] = Missing(FLOOD)
        elif failed is None or name == "send_lateness_ms":
            figures[name] = function(trace)
        else:
            figures[name] = Missing(f"failed: {failed}")
    figures |= _error_figures(trace, random_weights=random_weights)
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
        failed=failed,
        chunks=len(text_chunks(trace)),
        why_null={n: v.reason for n, v in figures.items() if isinstance(v, Missing)},
        **{name: value for name, value in figures.items() if not isinstance(value, Missing)},
    )


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


def _error_figures(trace: Trace, *, random_weights: bool) -> dict[str, Any]:
    if random_weights:
        no_errors = Missing("random weights: the text means nothing")
        return {"wer": no_errors, "cer": no_errors}
    heard = "" if trace.failed else trace.text
    texts = (trace.session.reference, heard, trace.session.language)
    figures: dict[str, Any] = {"word_edits": word_edits(*texts), "char_edits": char_edits(*texts)}
    for name, edits in (("wer", figures["word_edits"]), ("cer", figures["char_edits"])):
        share = edits.errors / edits.reference if edits.reference else None
        figures[name] = Missing("the reference has no words") if share is None else share
    return figures
