"""Traces written by hand, in whole milliseconds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from harness.chunking import Interim, Strategy, Words, rechunk
from harness.events import (
    Chunk,
    Ended,
    Failed,
    FinishSent,
    FrameSent,
    Hypothesis,
    Session,
    SessionKind,
    Span,
    Ticks,
    Token,
    Trace,
    TurnEnded,
    Word,
)
from harness.machine.gpu import GpuSample, GpuTelemetry

MS = 1_000_000
T0_MS = 1_000  # audio time zero
DURATION_MS = 2_000
R_MS = T0_MS + DURATION_MS  # of a turn session


def make_trace(
    tokens: Sequence[tuple[str, float]] = (),
    *,
    chunks: Sequence[tuple[str, float]] | None = None,
    chunking: Strategy | None = None,
    spans: Iterable[tuple[str, float, float]] = (),
    ended_ms: float | None = None,
    failed: str | None = None,
    reference: str = "",
    words: Sequence[tuple[str, float]] = (),
    kind: SessionKind = SessionKind.TURN,
    late_ms: float = 0,
    frame_ms: int = 20,
    clip: str = "clip",
    repeat: int = 0,
    order: int = 0,
    loop_lag_ms: Sequence[float] = (),
    watchdog_late_ms: Sequence[float] = (),
    cpu_ms: dict[int, float] | None = None,
) -> Trace:
    """A session of 2 s, spoken from 0.1 to 1.9 s; instants are ms after audio time zero.

    Args:
        tokens, chunks: (text, instant); chunks are those of ``chunking`` (1word) where not given.
        words: (text, end); each begins 200 ms before its end.
        loop_lag_ms, watchdog_late_ms: of ticks due every 20 ms from the beginning of the audio.
        cpu_ms: watchdog's tick -> what the process computed since the tick before.
    """

    def at(instant_ms: float) -> int:
        return round((T0_MS + instant_ms) * MS)

    told = tuple(Token(text, at(instant)) for text, instant in tokens)
    last_ms = max([DURATION_MS + late_ms, *(instant for _, instant in tokens)])
    end_ns = at(last_ms if ended_ms is None else ended_ms)
    if chunks is None:
        released = rechunk(told, end_ns, chunking or Words())
    else:
        released = tuple(
            Chunk(i, text, at(instant), i + 1 == len(chunks))
            for i, (text, instant) in enumerate(chunks)
        )
    frames = tuple(
        FrameSent(i, at(due), at(due + late_ms))
        for i, due in enumerate(range(frame_ms, DURATION_MS + 1, frame_ms))
    )
    return Trace(
        session=Session(
            clip=clip,
            repeat=repeat,
            order=order,
            lane=0,
            kind=kind,
            t0_ns=at(0),
            duration_s=DURATION_MS / 1000,
            speech_onset_s=0.1,
            speech_end_s=1.9,
            frame_ms=frame_ms,
            reference=reference or "".join(text for text, _ in tokens),
            words=tuple(Word(text, (end - 200) / 1000, end / 1000) for text, end in words),
        ),
        frames=frames,
        finish=FinishSent(at(DURATION_MS), at(DURATION_MS + late_ms)),
        tokens=told,
        chunks=released,
        spans=tuple(Span(name, at(start), at(end)) for name, start, end in spans),
        outcome=Failed(end_ns, failed) if failed else Ended(end_ns),
        ticks=tuple(
            Ticks(
                by,
                at(0),
                20 * MS,
                tuple(round(late * 1000) for late in late_ms),
                {i: round(used * 1000) for i, used in used_ms.items()},
            )
            for by, late_ms, used_ms in (
                ("watchdog", watchdog_late_ms, cpu_ms or {}),
                ("loop", loop_lag_ms, {}),
            )
            if late_ms
        ),
    )


Step = tuple[float, int, str, bool]  # at ms after audio time zero, segment, text, final


def interim(
    steps: Sequence[Step],
    *,
    chunking: Strategy | None = None,
    endpointer: str = "none",
    turns: Sequence[float] = (),
    tail_ms: float = 0,
    ended_ms: float = 2500,
    **more: Any,
) -> Trace:
    """A session whose engine takes text back; its client is shown it.

    Args:
        chunking: in place of ``interim``: what the client is shown.
        turns: when it was said that the turn is over.
        tail_ms: for how long after the clip the microphone stayed open.
    """

    def at(instant_ms: float) -> int:
        return round((T0_MS + instant_ms) * MS)

    trace = make_trace([], ended_ms=ended_ms, **more)
    sent_ns = at(DURATION_MS + tail_ms)
    trace = msgspec.structs.replace(
        trace,
        session=msgspec.structs.replace(trace.session, endpointer=endpointer),
        hypotheses=tuple(
            Hypothesis(segment, text, final, at(when)) for when, segment, text, final in steps
        ),
        turns_ended=tuple(TurnEnded(at(when), "endpointer") for when in turns),
        finish=FinishSent(sent_ns, sent_ns),
    )
    chunks = rechunk(trace.updates, trace.outcome.at_ns, chunking or Interim())
    return msgspec.structs.replace(trace, chunks=chunks)


def figures(trace: Trace, **options: Any) -> Any:
    """The trace's ClipMetrics."""
    from harness.metrics.latency import clip_metrics

    return clip_metrics(trace, **options)


def gpu_that_said(*throttle: tuple[str, ...]) -> GpuTelemetry:
    """One sample for each of ``throttle``: why the clocks were lower then."""
    samples = tuple(
        GpuSample(
            at_ns=at, sm_mhz=1980, memory_mhz=2619, temperature_c=60, power_w=300.0,
            memory_used_bytes=(1 + 2 * at) << 30, utilisation_percent=90, throttle=reasons,
        )
        for at, reasons in enumerate(throttle)
    )  # fmt: skip
    return GpuTelemetry(name="a GPU", driver="1", every_ms=100, samples=samples)
