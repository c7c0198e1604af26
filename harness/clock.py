"""The only room that reads a clock or sleeps.

Everything that happens at a time happens on a ``Timeline``: an ordered queue of actions, each with
the instant it is due. The replay driver is one timeline, every local engine has one of its own.
A ``World`` makes timelines and says what time it is:

* ``RealWorld``: ``time.perf_counter_ns``; a timeline is a thread that sleeps *until* the next
  action is due.
* ``VirtualWorld``: a discrete-event simulation in one thread. Time jumps to the next action. An
  action on a timeline costs what it took to compute, times ``compute_scale`` (1: as measured,
  0: nothing, which makes every instant exact), and holds back only its own timeline.

Code that is given a world does not know which one it has; that is how the measuring loop is tested
on exact integers and how an hour of audio is examined in the time its compute needs.
"""

from __future__ import annotations

import gc
import heapq
import itertools
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import FrameType
from typing import Protocol

from harness.events import GcPause

Action = Callable[[], None]

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
SWITCH_NS = 500_000  # what one thread may cost another, while something is timed


class Timeline(Protocol):
    """An ordered queue of actions, run one after the other; safe to call from any thread."""

    def call_at(self, due_ns: int, action: Action) -> None:
        """Run ``action`` at ``due_ns``, or as soon after as this timeline is free."""

    def call_soon(self, action: Action) -> None:
        """Run ``action`` as soon as this timeline is free."""

    def run(self) -> None:
        """Run actions on the calling thread until ``stop``; in a virtual world, everyone's."""

    def start(self) -> None:
        """Run actions on a thread of the timeline's own, until ``stop``."""

    def stop(self) -> None:
        """End for good, after the action in hand; what is still queued is dropped."""

    def drain(self) -> None:
        """Run what is queued, due or not, then ``stop``."""


class World(Protocol):
    """Where time comes from."""

    simulated: bool

    def now_ns(self) -> int:
        """Nanoseconds on one monotonic clock; only differences mean anything."""

    def sleep_until_ns(self, due_ns: int) -> None:
        """Hold the calling action until ``due_ns``; returns at once when it has passed."""

    def timeline(self, name: str, *, costs: bool = True) -> Timeline:
        """A new timeline; ``costs=False``: its actions take no virtual time (the driver)."""


class RealWorld:
    """``time.perf_counter_ns`` and threads."""

    simulated = False

    def now_ns(self) -> int:
        return time.perf_counter_ns()

    def sleep_until_ns(self, due_ns: int) -> None:
        while (remaining_ns := due_ns - time.perf_counter_ns()) > 0:
            time.sleep(remaining_ns / NS_PER_S)

    def timeline(self, name: str, *, costs: bool = True) -> Timeline:
        return _ThreadTimeline(name)


class _ThreadTimeline:
    """A heap of due actions; the running thread sleeps on a condition until the first is due.

    No spinning: a spin holds the interpreter lock away from the engine it is meant to measure.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._changed = threading.Condition()
        self._heap: list[tuple[int, int, Action]] = []
        self._order = itertools.count()  # equal instants run in the order they were asked for
        self._stopped = False
        self._thread: threading.Thread | None = None

    def call_at(self, due_ns: int, action: Action) -> None:
        with self._changed:
            heapq.heappush(self._heap, (due_ns, next(self._order), action))
            self._changed.notify()

    def call_soon(self, action: Action) -> None:
        self.call_at(time.perf_counter_ns(), action)

    def run(self) -> None:
        while (action := self._next()) is not None:
            action()

    def _next(self) -> Action | None:
        with self._changed:
            while not self._stopped:
                if not self._heap:
                    self._changed.wait()
                    continue
                remaining_ns = self._heap[0][0] - time.perf_counter_ns()
                if remaining_ns <= 0:
                    return heapq.heappop(self._heap)[2]
                self._changed.wait(remaining_ns / NS_PER_S)
        return None

    def start(self) -> None:
        self._thread = threading.Thread(target=self.run, name=self._name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._heap.clear()
            self._changed.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def drain(self) -> None:
        done = threading.Event()
        with self._changed:
            in_order = [action for _, _, action in sorted(self._heap)]
            self._heap = [(0, place, action) for place, action in enumerate([*in_order, done.set])]
            self._changed.notify()
        done.wait()
        self.stop()


class VirtualWorld:
    """A simulated clock: ``now_ns`` starts at zero and jumps from action to action."""

    simulated = True

    def __init__(self, compute_scale: float = 0.0) -> None:
        self._compute_scale = compute_scale
        self._heap: list[tuple[int, int, _VirtualTimeline, Action]] = []
        self._order = itertools.count()
        self._now_ns = 0
        self._action_began_ns: int | None = None  # real instant; None: compute costs nothing now
        self._stopped = False

    def now_ns(self) -> int:
        if self._action_began_ns is None:
            return self._now_ns
        took_ns = time.perf_counter_ns() - self._action_began_ns
        return self._now_ns + round(took_ns * self._compute_scale)

    def sleep_until_ns(self, due_ns: int) -> None:
        self._now_ns += max(0, due_ns - self.now_ns())

    def timeline(self, name: str, *, costs: bool = True) -> Timeline:
        return _VirtualTimeline(self, costs=costs and self._compute_scale > 0)

    def push(self, due_ns: int, timeline: _VirtualTimeline, action: Action) -> None:
        heapq.heappush(self._heap, (due_ns, next(self._order), timeline, action))

    def run(self) -> None:
        """Run every timeline's actions in order of time until one calls ``stop``."""
        self._stopped = False
        while self._heap and not self._stopped:
            due_ns, _, timeline, action = heapq.heappop(self._heap)
            if timeline.stopped:
                continue
            if due_ns < timeline.free_at_ns:  # its earlier action still runs: queue behind it
                self.push(timeline.free_at_ns, timeline, action)
                continue
            self._now_ns = due_ns
            self._action_began_ns = time.perf_counter_ns() if timeline.costs else None
            action()
            timeline.free_at_ns = self.now_ns()
            self._now_ns = timeline.free_at_ns
            self._action_began_ns = None

    def halt(self) -> None:
        self._stopped = True

    def take(self, timeline: _VirtualTimeline) -> list[Action]:
        """Take a timeline's actions out of the queue, in order of time."""
        taken = [entry for entry in sorted(self._heap) if entry[2] is timeline]
        self._heap = [entry for entry in sorted(self._heap) if entry[2] is not timeline]
        return [action for _, _, _, action in taken]


class _VirtualTimeline:
    def __init__(self, world: VirtualWorld, *, costs: bool) -> None:
        self._world = world
        self._runs = False
        self.costs = costs
        self.free_at_ns = 0
        self.stopped = False

    def call_at(self, due_ns: int, action: Action) -> None:
        self._world.push(max(due_ns, self.free_at_ns), self, action)

    def call_soon(self, action: Action) -> None:
        self.call_at(self._world.now_ns(), action)

    def run(self) -> None:
        self._runs = True
        self._world.run()

    def start(self) -> None:
        pass  # the caller of `run` runs this timeline too

    def stop(self) -> None:
        if self._runs:
            self._world.halt()
        else:
            self.stopped = True

    def drain(self) -> None:
        for action in self._world.take(self):
            action()
        self.stop()


def wall_time() -> datetime:
    """The time of day, UTC: a label for people, never a measurement."""
    return datetime.now(UTC)


def cpu_ns() -> int:
    """CPU time that this process has used, all threads together; only differences mean anything."""
    return time.process_time_ns()


def asleep_ns() -> int:
    """For how long the machine was suspended; ``now_ns`` stands still meanwhile. Differences only.

    Always 0 where the system has no clock that goes on.
    """
    if hasattr(time, "CLOCK_BOOTTIME"):  # Linux
        awake, always = time.CLOCK_MONOTONIC, time.CLOCK_BOOTTIME
    elif hasattr(time, "CLOCK_UPTIME_RAW"):  # macOS
        awake, always = time.CLOCK_UPTIME_RAW, time.CLOCK_MONOTONIC_RAW
    else:
        return 0
    return time.clock_gettime_ns(always) - time.clock_gettime_ns(awake)


def resolution_ns(steps: int = 1000, most_readings: int = 1_000_000) -> int:
    """The smallest step of the clock that was seen; a second where none was seen at all."""
    seen: list[int] = []
    last_ns = time.perf_counter_ns()
    for _ in range(most_readings):  # a coarse clock answers the same many times
        now_ns = time.perf_counter_ns()
        if now_ns > last_ns:
            seen.append(now_ns - last_ns)
            if len(seen) == steps:
                break
        last_ns = now_ns
    return min(seen, default=NS_PER_S)


def collect_garbage() -> None:
    """Collect now, at a moment when nothing is being timed.

    Python drops what is raised while objects are torn down, Ctrl-C too; so that one waits.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        gc.collect()
        return
    asked: list[tuple[int, FrameType | None]] = []
    signal.signal(signal.SIGINT, lambda *how: asked.append(how))
    try:
        gc.collect()
    finally:
        signal.signal(signal.SIGINT, handler)
    if asked:
        handler(*asked[0])


@contextmanager
def prompt_threads() -> Iterator[None]:
    """Let no thread wait longer than ``SWITCH_NS`` for another that runs Python; restored after.

    The interpreter's default is 5 ms: by so much a busy engine or driver delayed every stamp.
    """
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_NS / NS_PER_S)
    try:
        yield
    finally:
        sys.setswitchinterval(before_s)


@contextmanager
def frozen_gc(*, collect_first: bool = True) -> Iterator[list[GcPause]]:
    """Keep the garbage collector still; yields the pauses seen all the same, as they happen.

    What is alive is moved out of the collector's sight and automatic collection is off, so that a
    pause can only come from an explicit ``gc.collect()``. The state before is restored.
    """
    pauses: list[GcPause] = []
    began_ns = 0

    def watch(phase: str, _info: dict[str, int]) -> None:
        nonlocal began_ns
        if phase == "start":
            began_ns = time.perf_counter_ns()
        else:
            pauses.append(GcPause(began_ns, time.perf_counter_ns()))

    was_enabled = gc.isenabled()
    if collect_first:
        collect_garbage()
    gc.freeze()
    gc.disable()
    gc.callbacks.append(watch)
    try:
        yield pauses
    finally:
        gc.callbacks.remove(watch)
        gc.unfreeze()
        if was_enabled:
            gc.enable()
