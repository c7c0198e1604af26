"""What happened, stamped: the raw events of one replay, and nothing derived from them.

All instants are nanoseconds of one monotonic clock (``World.now_ns``); only differences mean
anything. ``A(s) = t0_ns + s`` is the instant at which audio up to second ``s`` exists.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from harness.display import Display, TakenBack
from harness.languages.tags import language_of

_LOOP_TICK_NS = 50_000_000  # between two ``LoopTick``s


class SessionKind(enum.StrEnum):
    """When the engine may start: after the utterance (turn) or while audio arrives (live)."""

    TURN = "turn"
    LIVE = "live"


class Word(msgspec.Struct, frozen=True):
    """A reference word and when it was spoken, in seconds from the start of the clip."""

    text: str
    start_s: float
    end_s: float


class FrameSent(
    msgspec.Struct, frozen=True, omit_defaults=True, tag_field="event", tag="frame_sent"
):
    index: int
    due_ns: int  # A(end of the frame): when its last sample was spoken
    sent_ns: int  # when the driver handed it over
    asked_ns: int | None = None  # later than due, by the network of `conditions`; None: when due


class FrameLost(msgspec.Struct, frozen=True, tag_field="event", tag="frame_lost"):
    """The network of `conditions` lost it; where it was sent all the same, it was silence."""

    index: int
    due_ns: int


class FinishSent(
    msgspec.Struct, frozen=True, omit_defaults=True, tag_field="event", tag="finish_sent"
):
    due_ns: int  # A(duration)
    sent_ns: int
    asked_ns: int | None = None  # as a frame's


class Token(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="event", tag="token"):
    text: str  # may be empty: a special token, or part of a character
    at_ns: int  # first statement of the receiver, after the id is on the host
    after_ns: int | None = None  # sockets: the message came after this instant; None: not known


class Hypothesis(
    msgspec.Struct, frozen=True, omit_defaults=True, tag_field="event", tag="hypothesis"
):
    """A segment's text as the engine has it now; shown in place of what it was before."""

    segment: int  # segments are shown in the order of their numbers, after what tokens brought
    text: str  # exact, white space included; may be empty
    final: bool  # it never changes again
    at_ns: int
    after_ns: int | None = None  # as a token's


class SpeechStarted(msgspec.Struct, frozen=True, tag_field="event", tag="speech_started"):
    at_ns: int


class TurnEnded(msgspec.Struct, frozen=True, tag_field="event", tag="turn_ended"):
    """Somebody decided that the speaker is done."""

    at_ns: int
    by: Literal["engine", "endpointer"]


class Chunk(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="event", tag="chunk"):
    index: int
    text: str  # exact, white space included: all chunks joined are the committed text
    at_ns: int  # when the chunking strategy released it to the client
    is_final: bool  # the last chunk of the session
    segment: int | None = None  # interim: this text replaces the segment's; None: it is appended
    closes: bool = False  # interim: the segment's text is final


class Span(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="event", tag="span"):
    name: str  # features, upload, encoder, prefill, decode, host_read, injected, ...
    start_ns: int
    end_ns: int
    shared_by: int = 1  # sessions that this work was done for at once, each of which is told of it


class ServerSpan(msgspec.Struct, frozen=True, array_like=True):
    """A span as it is told; servers before metrics version 3 leave ``shared_by`` out."""

    name: str
    start_ms: float
    end_ms: float
    shared_by: int = 1


class ServerTiming(msgspec.Struct, frozen=True):
    """What our own server says of its time, beside a piece of text; all from its request instant.

    That instant is when it had the end of the audio (turn) or the first of it (live): no clock is
    shared, so what the way there and back took is what is left of the client's own time.
    """

    kind: SessionKind
    at_ms: float  # the text was released
    spans: list[ServerSpan]  # not told before


class ServedEngine(msgspec.Struct, frozen=True):
    """What our own server says of its engine in its greeting; other clients pass over it."""

    random_weights: bool = False  # its text means nothing: no error rates are made of it
    weights_sha256: str | None = None
    model_delay_ms: float = 0.0  # live: by how much the model is set to lag behind the audio


class LoopTick(msgspec.Struct, frozen=True, tag_field="event", tag="loop_tick"):
    """A tick of the sockets' event loop, as version 0.1 kept it; read as :class:`Ticks`."""

    due_ns: int
    ran_ns: int


class Ticks(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="event", tag="ticks"):
    """The harness watching itself: calls that were due on a fixed schedule, and how late each was.

    Tick *i* was due at ``began_ns + i * every_ns``. A process that is stopped, suspended or starved
    is late for every tick that was due meanwhile, and so is whatever it stamped meanwhile.
    """

    by: Literal["watchdog", "loop"]  # a thread of its own; the event loop that sockets share
    began_ns: int
    every_ns: int
    late_us: tuple[int, ...]  # per tick, in microseconds
    # Watchdog, for ticks that were late: tick -> CPU time that this process used since the tick
    # before. A process that worked was not stopped: its own engine held the interpreter.
    cpu_us: dict[int, int] = {}
    asleep_us: dict[int, int] = {}  # watchdog: tick -> time that the machine slept before it


class Ended(msgspec.Struct, frozen=True, tag_field="event", tag="ended"):
    at_ns: int


class Failed(msgspec.Struct, frozen=True, tag_field="event", tag="failed"):
    at_ns: int
    error: str


class Session(msgspec.Struct, frozen=True, tag_field="event", tag="started"):
    """One clip, replayed once: what was planned, and the instant of its audio time zero."""

    clip: str  # the clip's id in its manifest
    repeat: int  # 0 .. repeats-1; warm-up sessions are not traced
    order: int  # position in the run's plan, over all arms
    lane: int  # which of the concurrent streams it ran on, 0 .. streams-1
    kind: SessionKind
    t0_ns: int  # the scheduled instant of audio time zero
    duration_s: float
    speech_onset_s: float
    speech_end_s: float
    frame_ms: float
    reference: str
    words: tuple[Word, ...] = ()  # empty: the manifest has no word timings
    language: str = "en"  # any tag, kept as its primary subtag; decides the normaliser
    model_delay_ms: float = 0.0  # live: by how much the model is set to lag behind the audio
    endpointer: str = "none"  # who decides that the turn is over; none: it ends with the clip

    def __post_init__(self) -> None:
        """Raises ValueError: not the tag of a language."""
        msgspec.structs.force_setattr(self, "language", language_of(self.language))


class Trace(msgspec.Struct, frozen=True):
    """Everything that happened in one session, in the order in which it happened per kind."""

    session: Session
    frames: tuple[FrameSent, ...]
    finish: FinishSent | None  # None: failed before the end of the audio
    tokens: tuple[Token, ...]
    chunks: tuple[Chunk, ...]
    spans: tuple[Span, ...]
    outcome: Ended | Failed
    ticks: tuple[Ticks, ...] = ()  # empty: virtual time, or made by an older harness
    hypotheses: tuple[Hypothesis, ...] = ()  # empty: the engine only appends
    speech_started: tuple[SpeechStarted, ...] = ()
    turns_ended: tuple[TurnEnded, ...] = ()
    lost: tuple[FrameLost, ...] = ()

    @property
    def text(self) -> str:
        """The final text, exact: what is committed in the end."""
        return "".join(token.text for token in self.committed)

    @property
    def committed(self) -> tuple[Token, ...]:
        """The text as an engine that only appends would have brought it, piece by piece."""
        return self.tokens if not self.hypotheses else tuple(_committed(self))

    @property
    def updates(self) -> list[Token | Hypothesis]:
        """What changed the display, in order of time; at the same instant a token comes first.

        So an engine commits part of what is open in one step: a token and, with the same instant,
        what is left of the segment's text.
        """
        return sorted([*self.tokens, *self.hypotheses], key=lambda event: event.at_ns)

    @property
    def failed(self) -> bool:
        return isinstance(self.outcome, Failed)


def _committed(trace: Trace) -> Iterator[Token]:
    display = Display()
    for event in trace.updates:
        if isinstance(event, Token):
            yield event
            continue
        try:
            text = display.hypothesis(event.segment, event.text, final=event.final)
        except TakenBack:
            if trace.failed:  # by this
                return
            raise
        if text:
            yield Token(text, event.at_ns, event.after_ns)
    if (text := display.end()) and not trace.failed:
        yield Token(text, trace.outcome.at_ns)


class GcPause(msgspec.Struct, frozen=True, tag_field="event", tag="gc_pause"):
    """The harness watching itself; belongs to the run, not to a session."""

    start_ns: int
    end_ns: int


Event = (
    GcPause
    | Session
    | FrameSent
    | FrameLost
    | FinishSent
    | Token
    | Hypothesis
    | SpeechStarted
    | TurnEnded
    | Chunk
    | Span
    | Ticks
    | LoopTick
    | Ended
    | Failed
)


def trace_events(trace: Trace) -> list[Event]:
    """The trace as a flat list that starts with its ``Session`` and ends with its outcome."""
    finish = () if trace.finish is None else (trace.finish,)
    return [
        trace.session,
        *trace.frames,
        *trace.lost,
        *finish,
        *trace.spans,
        *trace.tokens,
        *trace.hypotheses,
        *trace.speech_started,
        *trace.turns_ended,
        *trace.chunks,
        *trace.ticks,
        trace.outcome,
    ]


def build_traces(events: list[Event]) -> list[Trace]:
    """Inverse of :func:`trace_events` for many traces; a last, unfinished one is dropped."""
    traces: list[Trace] = []
    block: list[Event] = []
    for event in events:
        if isinstance(event, Session):
            block = []
        block.append(event)
        if isinstance(event, Ended | Failed) and isinstance(block[0], Session):
            traces.append(
                Trace(
                    session=block[0],
                    frames=tuple(e for e in block if isinstance(e, FrameSent)),
                    finish=next((e for e in block if isinstance(e, FinishSent)), None),
                    tokens=tuple(e for e in block if isinstance(e, Token)),
                    chunks=tuple(e for e in block if isinstance(e, Chunk)),
                    spans=tuple(e for e in block if isinstance(e, Span)),
                    outcome=event,
                    hypotheses=tuple(e for e in block if isinstance(e, Hypothesis)),
                    speech_started=tuple(e for e in block if isinstance(e, SpeechStarted)),
                    turns_ended=tuple(e for e in block if isinstance(e, TurnEnded)),
                    ticks=(
                        *(e for e in block if isinstance(e, Ticks)),
                        *_of_loop_ticks([e for e in block if isinstance(e, LoopTick)]),
                    ),
                    lost=tuple(e for e in block if isinstance(e, FrameLost)),
                )
            )
            block = []
    return traces


def _of_loop_ticks(found: Sequence[LoopTick]) -> tuple[Ticks, ...]:
    """What version 0.1 kept: one event a tick, due every 50 ms."""
    if not found:
        return ()
    late_us = tuple((tick.ran_ns - tick.due_ns) // 1000 for tick in found)
    return (Ticks("loop", found[0].due_ns, _LOOP_TICK_NS, late_us),)
