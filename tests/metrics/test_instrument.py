"""The harness watching itself: receipts, the loop, and stops."""

from __future__ import annotations

import msgspec

from harness.events import Token, Trace
from harness.metrics.instants import Missing
from harness.metrics.instrument import loop_lag_ms, receipt_error_ms, stops
from tests.traces import figures, make_trace

ON_TIME = [0.0] * 110  # ticks of 2.2 s


def late(**at: float) -> list[float]:
    """Ticks on time but for ``t<index>``."""
    return [at.get(f"t{index}", 0.0) for index in range(len(ON_TIME))]


def test_in_process_the_ticks_around_the_receipt_say_how_late_it_may_be() -> None:
    tokens = [("one ", 2045.0), (" ", 2050.0), ("two", 2105.0)]
    trace = make_trace(tokens, watchdog_late_ms=late(t102=1.5, t103=4.0, t104=9.0, t105=0.25))
    assert receipt_error_ms(trace) == (4.0, 0.25)  # ticks at 2040 and 2060; at 2100 and 2120


def test_what_the_process_computed_itself_is_no_error_of_a_receipt_in_it() -> None:
    tokens = [("one", 2045.0)]
    held = late(t102=80.0, t103=60.0)
    trace = make_trace(tokens, watchdog_late_ms=held, cpu_ms={102: 79.0, 103: 75.0})
    assert receipt_error_ms(trace) == (1.0,)


def behind_sockets(waited_ms: float) -> Trace:
    trace = make_trace([("one", 2045.0)], loop_lag_ms=late(t102=0.5), watchdog_late_ms=late(t102=7))
    (token,) = trace.tokens
    after_ns = token.at_ns - round(waited_ms * 1e6)
    return msgspec.structs.replace(trace, tokens=(Token(token.text, token.at_ns, after_ns),))


def test_behind_sockets_a_message_may_have_waited_for_the_loop() -> None:
    assert receipt_error_ms(behind_sockets(3.0)) == (3.5,)
    assert loop_lag_ms(behind_sockets(3.0)) == 0.5
    clip = figures(behind_sockets(3.0))
    assert (clip.receipt_error_ms, clip.loop_lag_ms) == ((3.5,), 0.5)


def test_runs_without_ticks_have_neither() -> None:
    trace = make_trace([("one", 2045.0)])
    assert isinstance(receipt_error_ms(trace), Missing)
    assert isinstance(loop_lag_ms(trace), Missing)
    assert list(stops(trace, 1)) == []


def test_a_stop_is_told_from_a_thread_that_holds_the_interpreter() -> None:
    held = make_trace([("one", 2045.0)], watchdog_late_ms=late(t50=300.0), cpu_ms={50: 290.0})
    stopped = make_trace([("one", 2045.0)], watchdog_late_ms=late(t50=300.0), cpu_ms={50: 20.0})
    assert list(stops(held, 100)) == []
    (stop,) = stops(stopped, 100)
    assert stop.lost_ms == 280.0
    assert stop.end_ns == stopped.session.t0_ns + (1000 + 300) * 1_000_000


def test_a_suspended_machine_is_found_though_the_clock_stood_still() -> None:
    trace = make_trace([("one", 2045.0)], watchdog_late_ms=ON_TIME)
    (ticks,) = trace.ticks
    slept = msgspec.structs.replace(ticks, asleep_us={50: 5_000_000})
    (stop,) = stops(msgspec.structs.replace(trace, ticks=(slept,)), 100)
    assert stop.lost_ms == 5000
