"""Traces that cannot be are refused, with the session and the reason."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from harness.errors import StorageError
from harness.events import FrameLost, FrameSent, Trace
from harness.runs.impossible import refuse_impossible
from tests.traces import make_trace

TRACE = make_trace([("a ", 2100), ("b ", 2200)])
replace = msgspec.structs.replace


def session(**fields: object) -> Callable[[Trace], Trace]:
    return lambda trace: replace(trace, session=replace(trace.session, **fields))


def asked(instant: Callable[[FrameSent], int]) -> Callable[[Trace], Trace]:
    """A network makes every frame late, until ``instant``."""
    return lambda trace: replace(
        trace, frames=tuple(replace(f, asked_ns=instant(f)) for f in trace.frames)
    )


def test_what_a_network_did_can_be_where_there_is_one() -> None:
    late = asked(lambda frame: frame.due_ns + 1)(TRACE)
    overtaken = replace(late, frames=(late.frames[1], late.frames[0], *late.frames[2:]))
    gone = FrameLost(5, TRACE.frames[5].due_ns)
    lost = replace(TRACE, frames=(*TRACE.frames[:5], *TRACE.frames[6:]), lost=(gone,))
    for trace in (late, overtaken, lost, replace(TRACE, lost=(gone,))):
        refuse_impossible("events", [trace])
        with pytest.raises(StorageError, match="whose conditions are clean"):
            refuse_impossible("events", [trace], network=False)


def test_what_can_be_is_taken() -> None:
    later = session(t0_ns=TRACE.outcome.at_ns, repeat=0)(make_trace(clip="next"))
    later = replace(later, frames=(), outcome=replace(later.outcome, at_ns=10**11))
    refuse_impossible("events", [TRACE, make_trace([("no", 2100)], failed="gone", repeat=1), later])


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (session(duration_s=-1.0), "its audio lasts -1 s"),
        (session(duration_s=1e7), "its audio lasts 1e+07 s"),
        (lambda t: replace(t, tokens=t.tokens[::-1], chunks=t.chunks), "run backwards"),
        (lambda t: replace(t, outcome=replace(t.outcome, at_ns=0)), "outside the session"),
        (lambda t: replace(t, chunks=t.chunks[1:]), "not numbered 0, 1, 2"),
        (lambda t: replace(t, tokens=t.tokens[:1]), "text that no token brought"),
        (lambda t: replace(t, frames=t.frames[1:]), "frames are not numbered"),
        (lambda t: replace(t, frames=t.frames[:50]), "100 frames make up its audio, and 50"),
        (lambda t: replace(t, frames=(*t.frames[:1], *t.frames[:-1])), "frames are not numbered"),
        (lambda t: replace(t, frames=(t.frames[1], t.frames[0], *t.frames[2:])), "another order"),
        (asked(lambda frame: frame.due_ns - 1), "to be sent before it was due"),
    ],
)
def test_what_cannot_be_is_named(edit: Callable[[Trace], Trace], says: str) -> None:
    with pytest.raises(StorageError) as refused:
        refuse_impossible("events.jsonl", [edit(TRACE)])
    assert refused.value.what.startswith("events.jsonl: session clip#0 cannot be: ")
    assert says in refused.value.what


def test_sessions_of_one_stream_do_not_overlap() -> None:
    other = make_trace([("a ", 2100), ("b ", 2200)], clip="other")
    with pytest.raises(StorageError, match=r"session other#0 begins before .* on stream 0"):
        refuse_impossible("events.jsonl", [TRACE, other])
    refuse_impossible("events.jsonl", [TRACE, session(lane=1)(other)])
    refuse_impossible("events.jsonl", [TRACE, session(repeat=1)(other)])
