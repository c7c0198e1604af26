"""The instants and text that metrics are counted from: small readings of one trace.

``A(s)`` is the instant at which audio up to second ``s`` exists; ``R`` is the request instant:
``A(duration)`` in a turn session, or ``A(speech end)`` where an endpointer has to find out that it
is over; ``A(speech onset)`` in a live one.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import TypeVar

import msgspec

from harness.clock import NS_PER_MS, NS_PER_S
from harness.events import Chunk, FinishSent, FrameSent, SessionKind, Span, Token, Trace
from harness.languages.units import is_blank


class Missing(msgspec.Struct, frozen=True):
    """A figure that does not exist, and why."""

    reason: str


# Why such metrics of the two are not compared.
OTHER_REQUEST = "counts from the end of the audio in turn sessions, from speech onset in live ones"
CUT_OFF = Missing("the turn was cut off before its end: see false_cutoffs")
FLOOD = "replay.pace=flood: no latency"  # why audio that came too fast has none
NO_TEXT = Missing("no text")
NO_WORD = Missing("no word that is counted: punctuation, fillers or annotations only")
ONLY_TURN = Missing("only in turn sessions")
ONLY_LIVE = Missing("only in live sessions")
NO_WORDS = Missing("the clip has no word timings")
NO_ENDPOINTER = Missing("nobody was to say that the turn is over: endpointer=none")
CENSORED = Missing("nobody said that the turn was over until the audio was ended")

# Spans in which the engine does not compute for this session.
_NOT_COMPUTE = frozenset({"setup", "queue", "injected", "delivery"})


Figure = TypeVar("Figure")


def once_a_trace(function: Callable[[Trace], Figure]) -> Callable[[Trace], Figure]:
    """Decorator: of the trace asked about last, the figure is kept; several metrics ask in turn."""
    # One pair in one list, replaced at once: threads never see a trace beside another's figure.
    latest: list[tuple[Trace, Figure]] = []

    @functools.wraps(function)
    def asked(trace: Trace) -> Figure:
        for known, figure in latest:
            if known is trace:
                return figure
        found = function(trace)
        latest[:] = [(trace, found)]
        return found

    return asked


def audio_ns(trace: Trace, second: float) -> int:
    """A(second)."""
    return trace.session.t0_ns + round(second * NS_PER_S)


def request_ns(trace: Trace) -> int:
    """R."""
    session = trace.session
    if session.kind is SessionKind.LIVE:
        return audio_ns(trace, session.speech_onset_s)
    # Where somebody has to find out that the turn is over, the person waits from its last word on.
    open_end = session.endpointer != "none"
    return audio_ns(trace, session.speech_end_s if open_end else session.duration_s)


def cut_off(trace: Trace) -> bool:
    """Whether an endpointer ended a turn in the middle of the speech: what follows is not heard."""
    session, finish = trace.session, trace.finish
    return (
        session.kind is SessionKind.TURN
        and session.endpointer != "none"
        and finish is not None
        and finish.due_ns < audio_ns(trace, session.speech_end_s)
    )


def planned_ns(sent: FrameSent | FinishSent) -> int:
    """When it was to be sent: when it was due, unless a network made it late."""
    return sent.due_ns if sent.asked_ns is None else sent.asked_ns


def ms(duration_ns: float) -> float:
    return duration_ns / NS_PER_MS


def is_compute(span: Span) -> bool:
    """Whether the engine computed for this session meanwhile."""
    return span.name not in _NOT_COMPUTE


def covered(spans: Iterable[Span], start_ns: int, end_ns: int) -> Iterator[tuple[Span, int]]:
    """Each span and the nanoseconds of [start, end] that are its own: overlaps, the first one's."""
    covered_ns = start_ns
    for span in sorted(spans, key=lambda span: span.start_ns):
        begin_ns, until_ns = max(span.start_ns, covered_ns), min(span.end_ns, end_ns)
        if until_ns > begin_ns:
            yield span, until_ns - begin_ns
            covered_ns = until_ns


def is_delivery(span: Span) -> bool:
    return span.name == "delivery"


def deliveries_ns(trace: Trace) -> dict[int, int]:
    """Arrival of a server's message, and of the text in it -> how long it was on its way."""
    return {span.end_ns: span.end_ns - span.start_ns for span in trace.spans if is_delivery(span)}


def text_chunks(trace: Trace) -> list[Chunk]:
    """Chunks whose text is not blank: white space and invisible characters are."""
    return [chunk for chunk in trace.chunks if not is_blank(chunk.text)]


def text_tokens(trace: Trace) -> list[Token]:
    """Committed text, piece by piece, that is not blank: white space and invisible signs are."""
    return [token for token in trace.committed if not is_blank(token.text)]


class Arrivals:
    """Which token, or which final segment, brought each character of the committed text."""

    def __init__(self, trace: Trace) -> None:
        self._tokens = trace.committed
        self._ends = list(accumulate(len(token.text) for token in self._tokens))
        self._ended_ns = trace.outcome.at_ns

    def brought_ns(self, character: int) -> int:
        """When the character at this offset came; at the text's end: the end of the stream."""
        index = bisect.bisect_right(self._ends, character)
        return self._tokens[index].at_ns if index < len(self._tokens) else self._ended_ns
