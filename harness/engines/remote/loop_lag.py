"""How late the sockets' event loop is: no receipt can be stamped before the loop comes to it."""

from __future__ import annotations

import asyncio
from array import array

from harness.clock import NS_PER_MS, NS_PER_S, World
from harness.events import LoopTick

EVERY_NS = 50 * NS_PER_MS  # 20 times a second, some microseconds each


class LoopWatch:
    """Asks to be called every 50 ms and notes when it was.

    Ticks are due on a fixed schedule: a loop that is blocked for long is late for every tick that
    was due meanwhile, as it was for every message.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, world: World) -> None:
        self._loop = loop
        self._world = world
        self._began_ns = world.now_ns()
        self._ran_ns = array("q")  # tick i was due i * EVERY_NS after the beginning

    def tick(self) -> None:
        """To be called once, on the loop's thread; goes on by itself."""
        now_ns = self._world.now_ns()
        while self._due_ns(len(self._ran_ns)) <= now_ns:
            self._ran_ns.append(now_ns)
        wait_ns = self._due_ns(len(self._ran_ns)) - self._world.now_ns()
        self._loop.call_later(wait_ns / NS_PER_S, self.tick)

    def _due_ns(self, index: int) -> int:
        return self._began_ns + index * EVERY_NS

    def between(self, start_ns: int, end_ns: int) -> tuple[LoopTick, ...]:
        """The ticks that were due in [start, end]; from any thread."""
        first = max(0, -((self._began_ns - start_ns) // EVERY_NS))
        after = max(first, (end_ns - self._began_ns) // EVERY_NS + 1)
        ran_ns = self._ran_ns[first:after]
        return tuple(LoopTick(self._due_ns(i), ran) for i, ran in enumerate(ran_ns, start=first))
