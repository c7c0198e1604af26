"""``trace.json``: streams, spans, tokens and chunks on one time line, for a trace viewer.

Chrome's Trace Event Format, which https://ui.perfetto.dev and chrome://tracing open. One process an
arm; of each concurrent stream four tracks. Instants are microseconds with three decimals, so no
nanosecond is lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from harness.events import Trace
from harness.metrics.instants import request_ns
from harness.report.arms import Arm
from harness.text import visible

_TRACKS = ("stream", "engine", "tokens", "chunks")


def trace_json(arms: Sequence[Arm]) -> str:
    events: list[dict[str, Any]] = []
    for arm, base_ns in zip(arms, _bases_ns(arms), strict=True):
        events += _name("process_name", arm.index, 0, arm.label)
        for lane in sorted({trace.session.lane for trace in arm.traces.values()}):
            for number, track in enumerate(_TRACKS):
                events += _name("thread_name", arm.index, _tid(lane, number), f"{track} {lane}")
        for trace in arm.traces.values():
            events += _events(arm, trace, base_ns)
    lines = ",\n".join(msgspec.json.encode(event).decode() for event in events)
    return f'{{"displayTimeUnit":"ms","traceEvents":[\n{lines}\n]}}\n'


def _bases_ns(arms: Sequence[Arm]) -> list[int]:
    """Where each arm's time begins: together for arms of one comparison, else each at its own zero.

    Monotonic clocks of different processes share no zero; arms of one comparison overlap in time.
    """
    ranges = [
        (
            min((t.session.t0_ns for t in arm.traces.values()), default=0),
            max((t.outcome.at_ns for t in arm.traces.values()), default=0),
        )
        for arm in arms
    ]
    first = min(begin for begin, _ in ranges)
    together = all(begin <= ranges[0][1] and ranges[0][0] <= end for begin, end in ranges)
    return [first if together else begin for begin, _ in ranges]


def _tid(lane: int, track: int) -> int:
    return lane * len(_TRACKS) + track + 1


def _name(kind: str, pid: int, tid: int, name: str) -> list[dict[str, Any]]:
    return [{"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": {"name": name}}]


def _events(arm: Arm, trace: Trace, base_ns: int) -> Iterator[dict[str, Any]]:
    session = trace.session

    def us(instant_ns: int) -> float:
        return (instant_ns - base_ns) / 1000

    def slice_(track: int, name: str, start_ns: int, end_ns: int, **args: Any) -> dict[str, Any]:
        return {
            "ph": "X", "name": visible(name), "pid": arm.index, "tid": _tid(session.lane, track),
            "ts": us(start_ns), "dur": (end_ns - start_ns) / 1000, "args": args,
        }  # fmt: skip

    def instant(track: int, name: str, at_ns: int, **args: Any) -> dict[str, Any]:
        return {
            "ph": "i", "s": "t", "name": visible(name), "pid": arm.index,
            "tid": _tid(session.lane, track), "ts": us(at_ns), "args": args,
        }  # fmt: skip

    title = f"{session.clip} #{session.repeat}"
    yield slice_(
        0, title, session.t0_ns, trace.outcome.at_ns,
        reference=visible(session.reference), failed=trace.failed,
    )  # fmt: skip
    yield slice_(0, "audio", session.t0_ns, session.t0_ns + round(session.duration_s * 1e9))
    yield instant(0, "request", request_ns(trace))
    for span in trace.spans:
        yield slice_(1, span.name, span.start_ns, span.end_ns)
    for token in trace.tokens:
        yield instant(2, token.text or "(no text)", token.at_ns)
    for chunk in trace.chunks:
        if chunk.text:
            yield instant(3, chunk.text, chunk.at_ns, index=chunk.index, is_final=chunk.is_final)
