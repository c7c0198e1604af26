"""Ticks of the watchdog: what is late, what explains it, and what has not run yet."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from harness.clock import RealWorld, VirtualWorld, asleep_ns, cpu_ns
from harness.events import LoopTick, Token, build_traces, trace_events
from harness.ticks import EVERY_NS, TickLog, watched
from tests.traces import make_trace

MS = 1_000_000


def late_ms(log: TickLog, start_ms: float, end_ms: float, now_ms: float) -> list[float]:
    (ticks,) = log.between(round(start_ms * MS), round(end_ms * MS), round(now_ms * MS))
    return [us / 1000 for us in ticks.late_us]


def test_a_blocked_watch_is_late_for_every_tick_that_was_due_meanwhile() -> None:
    log = TickLog("watchdog", 0)
    for now_ms in (0, 20.5, 101, 120):
        log.ran(round(now_ms * MS))
    assert late_ms(log, 0, 120, 121) == [0, 0.5, 61, 41, 21, 1, 0]


def test_a_tick_that_has_not_run_yet_is_late_until_now() -> None:
    log = TickLog("watchdog", 0)
    log.ran(0)
    (ticks,) = log.between(0, 200 * MS, 190 * MS, cpu_us=33)
    assert [us // 1000 for us in ticks.late_us] == [0, 170, 150, 130, 110, 90, 70, 50, 30, 10]
    assert set(ticks.cpu_us) == set(range(1, 10))
    assert set(ticks.cpu_us.values()) == {33}


def test_only_ticks_of_the_interval_are_handed_out_and_counted_from_its_first() -> None:
    log = TickLog("watchdog", 0)
    for index in range(10):
        log.ran(index * EVERY_NS)
    log.ran(10 * EVERY_NS + 50 * MS, cpu_us=7, asleep_us=9000)
    (ticks,) = log.between(9 * EVERY_NS - 1, 11 * EVERY_NS, 20 * EVERY_NS)
    assert ticks.began_ns == 9 * EVERY_NS
    assert ticks.late_us == (0, 50_000, 30_000)
    assert (ticks.cpu_us, ticks.asleep_us) == ({1: 7, 2: 7}, {1: 9000})


@given(
    waits_ms=st.lists(st.integers(0, 100), min_size=1),
    start_ms=st.integers(-100, 500),
    lasts_ms=st.integers(0, 500),
)
def test_every_tick_due_in_the_interval_is_there(
    waits_ms: list[int], start_ms: int, lasts_ms: int
) -> None:
    log, now_ms = TickLog("loop", 0), 0
    for wait_ms in waits_ms:
        now_ms += wait_ms
        log.ran(now_ms * MS)
    end_ms = start_ms + lasts_ms
    due = [i for i in range(1000) if start_ms <= i * 20 <= min(end_ms, now_ms)]
    assert len(late_ms(log, start_ms, end_ms, now_ms)) == len(due)


def test_the_watchdog_sees_the_time_it_could_not_run() -> None:
    world = RealWorld()
    with watched(world) as watch:
        began_ns = world.now_ns()
        world.sleep_until_ns(began_ns + 60 * MS)
        (ticks,) = watch.between(began_ns, world.now_ns())
    assert ticks.by == "watchdog"
    assert len(ticks.late_us) >= 3
    with watched(VirtualWorld()) as nobody:
        assert nobody.between(0, 10**9) == ()


def test_the_clocks_of_the_watchdog_go_forward() -> None:
    used, slept = cpu_ns(), asleep_ns()
    sum(range(200_000))
    assert cpu_ns() > used
    assert abs(asleep_ns() - slept) < 10**9  # nobody suspends a machine in a test


def test_ticks_and_receipts_are_kept_and_those_of_version_0_1_read() -> None:
    trace = make_trace(
        [("one ", 2100)], loop_lag_ms=[1, 2], watchdog_late_ms=[0, 30], cpu_ms={1: 25}
    )
    token = Token("one ", trace.tokens[0].at_ns, after_ns=5)
    trace = msgspec.structs.replace(trace, tokens=(token,))
    assert build_traces(trace_events(trace)) == [trace]
    events = trace_events(msgspec.structs.replace(trace, ticks=()))
    before = [LoopTick(10 * MS, 11 * MS), LoopTick(60 * MS, 65 * MS)]
    (read,) = build_traces([*events[:-1], *before, events[-1]])
    (ticks,) = read.ticks
    assert (ticks.by, ticks.began_ns, ticks.every_ns) == ("loop", 10 * MS, 50 * MS)
    assert ticks.late_us == (1000, 5000)
