from __future__ import annotations

import gc
import itertools
import signal
import sys
import weakref

import pytest

from harness.clock import (
    NS_PER_S,
    RealWorld,
    VirtualWorld,
    collect_garbage,
    frozen_gc,
    resolution_ns,
)


def test_actions_run_in_order_of_time_then_of_asking(world: VirtualWorld) -> None:
    timeline = world.timeline("one")
    seen: list[tuple[str, int]] = []
    for name, due in (("late", 30), ("early", 10), ("first of two", 20), ("second of two", 20)):
        timeline.call_at(due, lambda name=name: seen.append((name, world.now_ns())))
    timeline.run()
    assert seen == [("early", 10), ("first of two", 20), ("second of two", 20), ("late", 30)]


def test_a_busy_timeline_holds_back_itself_and_no_other(world: VirtualWorld) -> None:
    engine, driver = world.timeline("engine"), world.timeline("driver")
    seen: list[tuple[str, int]] = []

    def compute() -> None:
        world.sleep_until_ns(world.now_ns() + 100)
        seen.append(("computed", world.now_ns()))

    engine.call_at(0, compute)
    engine.call_at(10, lambda: seen.append(("next job", world.now_ns())))
    driver.call_at(50, lambda: seen.append(("frame", world.now_ns())))
    driver.run()
    assert seen == [("computed", 100), ("frame", 50), ("next job", 100)]


@pytest.mark.parametrize(("scale", "now_ns"), [(0, 5), (0.5, 5 + 400), (1, 5 + 800)])
def test_compute_costs_virtual_time_in_proportion(
    monkeypatch: pytest.MonkeyPatch, scale: float, now_ns: int
) -> None:
    """The work takes 800 ns of a clock that only the work moves on."""
    real_ns = 10**9
    monkeypatch.setattr("harness.clock.time.perf_counter_ns", lambda: real_ns)
    world = VirtualWorld(compute_scale=scale)
    timeline = world.timeline("engine")
    stamps: list[int] = []

    def work() -> None:
        nonlocal real_ns
        real_ns += 800
        stamps.append(world.now_ns())

    timeline.call_at(5, work)
    timeline.run()
    assert stamps == [now_ns]


def test_stop_drops_what_is_queued(world: VirtualWorld) -> None:
    driver, engine = world.timeline("driver"), world.timeline("engine")
    seen: list[str] = []
    driver.call_at(1, engine.stop)
    engine.call_at(2, lambda: seen.append("engine"))
    driver.call_at(3, driver.stop)
    driver.call_at(4, lambda: seen.append("driver"))
    driver.run()
    assert seen == []


@pytest.mark.parametrize("world", [RealWorld(), VirtualWorld()], ids=["real", "virtual"])
def test_no_action_runs_before_it_is_due(world: RealWorld | VirtualWorld) -> None:
    driver, worker = world.timeline("driver"), world.timeline("worker")
    worker.start()
    begin = world.now_ns()
    late: list[int] = []
    for step in range(5):
        due = begin + (step + 1) * 1_000_000
        worker.call_at(due, lambda due=due: late.append(world.now_ns() - due))
    worker.call_at(begin + 6_000_000, driver.stop)
    driver.run()
    worker.stop()
    assert len(late) == 5
    assert min(late) >= 0


def test_an_earlier_action_overtakes_one_that_is_waited_for() -> None:
    world = RealWorld()
    timeline = world.timeline("worker")
    seen: list[str] = []
    driver = world.timeline("driver")
    timeline.start()
    timeline.call_at(world.now_ns() + 60_000_000_000, lambda: seen.append("in a minute"))
    timeline.call_soon(lambda: (seen.append("now"), driver.stop()))  # type: ignore[func-returns-value]
    driver.run()
    timeline.stop()
    assert seen == ["now"]


def test_sleep_until_never_returns_early() -> None:
    world = RealWorld()
    due = world.now_ns() + 2_000_000
    world.sleep_until_ns(due)
    assert world.now_ns() >= due


def test_the_collector_is_still_and_its_pauses_are_recorded() -> None:
    before = gc.isenabled()
    with frozen_gc() as pauses:
        assert not gc.isenabled()
        assert pauses == []
        collect_garbage()
        assert len(pauses) == 1
        assert pauses[0].end_ns >= pauses[0].start_ns
    assert gc.isenabled() == before


def test_a_timeline_may_be_stopped_before_its_thread_has_begun() -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(500):
            timeline = RealWorld().timeline("short-lived")
            timeline.start()
            timeline.stop()
    finally:
        sys.setswitchinterval(before)


@pytest.mark.parametrize("world", [RealWorld(), VirtualWorld()], ids=["real", "virtual"])
def test_draining_runs_what_is_queued_in_order(world: RealWorld | VirtualWorld) -> None:
    timeline = world.timeline("store")
    timeline.start()
    seen: list[int] = []
    for due in (3, 1, 2):
        in_an_hour = world.now_ns() + due * 3600 * 10**9
        timeline.call_at(in_an_hour, lambda due=due: seen.append(due))
    timeline.drain()
    assert seen == [1, 2, 3]


class _Cycle:
    def __init__(self) -> None:
        self.itself = self


def test_an_interrupt_during_a_collection_is_not_lost() -> None:
    """Python drops what a callback of a dying object raises, and Ctrl-C arrives as such."""
    dying = weakref.ref(_Cycle(), lambda _: signal.raise_signal(signal.SIGINT))
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        collect_garbage()
    assert dying() is None
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize(
    ("step_ns", "found"), [(100, 100), (15_625_000, 15_625_000), (10**12, NS_PER_S)]
)
def test_the_step_of_a_coarse_clock_is_seen(
    monkeypatch: pytest.MonkeyPatch, step_ns: int, found: int
) -> None:
    readings = itertools.count(0, 60)  # each takes 60 ns
    monkeypatch.setattr(
        "harness.clock.time.perf_counter_ns", lambda: next(readings) // step_ns * step_ns
    )
    assert resolution_ns() == found
