"""The harness watching itself: ticks due on a fixed schedule, and a watchdog that keeps them.

What is late for a tick would have been as late for a message. A *watchdog* ticks on a thread of its
own through a whole replay, so a process that was stopped, suspended or starved is found in every
part of a session, also while it waits for the answer. The event loop that sockets share is watched
in the same way, from inside (``engines.remote.loop_watch``).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Protocol

from harness.clock import NS_PER_MS, World, asleep_ns, cpu_ns
from harness.events import Ticks

EVERY_NS = 20 * NS_PER_MS  # 50 times a second, some 20 microseconds each
LATE_US = 5000  # the interpreter's switch interval: what a busy thread of our own may cost
_ASLEEP_US = 1000  # two clocks that are not read at one instant differ by less


class Watch(Protocol):
    """Somebody who ticks."""

    def between(self, start_ns: int, end_ns: int) -> tuple[Ticks, ...]:
        """The ticks that were due in [start, end]; empty: nobody ticks here. From any thread."""


class TickLog:
    """Which ticks were due, and when they ran."""

    def __init__(self, by: Literal["watchdog", "loop"], began_ns: int) -> None:
        self._by = by
        self._began_ns = began_ns
        self._ran_ns = array("q")
        self._cpu_us: dict[int, int] = {}
        self._asleep_us: dict[int, int] = {}

    @property
    def next_due_ns(self) -> int:
        return self._due_ns(len(self._ran_ns))

    def ran(self, now_ns: int, cpu_us: int | None = None, asleep_us: int = 0) -> None:
        """Every tick that was due until now ran now.

        Args:
            cpu_us: CPU time of this process since the last call, in microseconds.
            asleep_us: for how long the machine slept since then.
        """
        first = len(self._ran_ns)
        while self.next_due_ns <= now_ns:
            index = len(self._ran_ns)
            if cpu_us is not None and now_ns - self.next_due_ns > LATE_US * 1000:
                self._cpu_us[index] = cpu_us
            self._ran_ns.append(now_ns)
        if asleep_us > _ASLEEP_US and len(self._ran_ns) > first:
            self._asleep_us[first] = asleep_us

    def between(
        self, start_ns: int, end_ns: int, now_ns: int, cpu_us: int | None = None
    ) -> tuple[Ticks, ...]:
        """The ticks that were due in [start, end]; one that has not run yet is late until now."""
        first = max(0, -((self._began_ns - start_ns) // EVERY_NS))
        after = max(first, (min(end_ns, now_ns) - self._began_ns) // EVERY_NS + 1)
        ran_ns = self._ran_ns[first:after]
        cpu = {i - first: self._cpu_us[i] for i in range(first, after) if i in self._cpu_us}
        for index in range(len(ran_ns), after - first):
            ran_ns.append(now_ns)
            if cpu_us is not None:
                cpu[index] = cpu_us
        late_us = (max(0, at - self._due_ns(i)) // 1000 for i, at in enumerate(ran_ns, start=first))
        slept = {i - first: us for i, us in list(self._asleep_us.items()) if first <= i < after}
        return (
            Ticks(
                by=self._by,
                began_ns=self._due_ns(first),
                every_ns=EVERY_NS,
                late_us=tuple(late_us),
                cpu_us=cpu,
                asleep_us=slept,
            ),
        )

    def _due_ns(self, index: int) -> int:
        return self._began_ns + index * EVERY_NS


class _Watchdog:
    """Ticks on a timeline of its own until it is stopped."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._timeline = world.timeline("watchdog")
        self._log = TickLog("watchdog", world.now_ns())
        self._cpu_ns, self._asleep_ns = cpu_ns(), asleep_ns()
        self._timeline.start()
        self._timeline.call_at(self._log.next_due_ns, self._tick)

    def _tick(self) -> None:
        now_ns, used_ns, slept_ns = self._world.now_ns(), cpu_ns(), asleep_ns()
        self._log.ran(
            now_ns,
            cpu_us=(used_ns - self._cpu_ns) // 1000,
            asleep_us=(slept_ns - self._asleep_ns) // 1000,
        )
        self._cpu_ns, self._asleep_ns = used_ns, slept_ns
        self._timeline.call_at(self._log.next_due_ns, self._tick)

    def between(self, start_ns: int, end_ns: int) -> tuple[Ticks, ...]:
        used_us = (cpu_ns() - self._cpu_ns) // 1000
        return self._log.between(start_ns, end_ns, self._world.now_ns(), used_us)

    def stop(self) -> None:
        self._timeline.stop()


class _Nobody:
    """Simulated time stands still while nothing happens: nobody can be late."""

    def between(self, start_ns: int, end_ns: int) -> tuple[Ticks, ...]:
        return ()


@contextmanager
def watched(world: World) -> Iterator[Watch]:
    """A watchdog meanwhile; in simulated time nobody."""
    if world.simulated:
        yield _Nobody()
        return
    dog = _Watchdog(world)
    try:
        yield dog
    finally:
        dog.stop()
