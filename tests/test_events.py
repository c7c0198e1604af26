"""Events are the truth: what is written as lines is the trace that was recorded."""

from __future__ import annotations

import msgspec
from traces import make_trace

from harness.chunking import Words
from harness.events import Ended, Event, GcPause, LoopTick, Session, build_traces, trace_events

TRACE = make_trace(
    [("it was", 2100), (" the", 2150)], chunking=Words(2), spans=[("decode", 2000, 2100)],
    watchdog_late_ms=[0, 0.5], cpu_ms={1: 0.2}, words=[("it", 500)],
)  # fmt: skip


def lines(*events: Event) -> list[Event]:
    decoder = msgspec.json.Decoder(Event)
    return [decoder.decode(msgspec.json.encode(event)) for event in events]


def test_a_trace_survives_its_file() -> None:
    failed = make_trace([("no", 50)], failed="gone", repeat=1)
    stored = lines(*trace_events(TRACE), GcPause(1, 2), *trace_events(failed))
    assert build_traces(stored) == [TRACE, failed]


def test_the_first_event_is_the_session_and_the_last_its_outcome() -> None:
    first, *_, last = trace_events(TRACE)
    assert isinstance(first, Session)
    assert isinstance(last, Ended)


def test_a_session_that_was_cut_off_is_left_out() -> None:
    whole, begun = trace_events(TRACE), trace_events(TRACE)[:-1]
    assert build_traces([*whole, *begun]) == [TRACE]
    assert build_traces([*begun, *whole]) == [TRACE]
    assert build_traces(whole[1:]) == []  # without its beginning it is no session


def test_ticks_of_version_0_1_are_read() -> None:
    session, *rest = trace_events(make_trace([("a", 2100)]))
    ticks = [LoopTick(due_ns=0, ran_ns=3000), LoopTick(due_ns=50_000_000, ran_ns=50_000_000)]
    (trace,) = build_traces([session, *ticks, *rest])
    (found,) = trace.ticks
    assert (found.by, found.began_ns, found.late_us) == ("loop", 0, (3, 0))


def test_the_text_is_what_the_tokens_join_to() -> None:
    assert TRACE.text == "it was the"
    assert not TRACE.failed
