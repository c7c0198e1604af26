"""What the sockets' event loop costs a receipt: how late the loop is, and since when data may wait.

A message is stamped when the loop hands its bytes over. It may have lain in the socket before: the
loop looks at all sockets, then works through what it found, and looks again. :class:`LoopSelector`
keeps the instant of the look before which this message cannot have come.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import Any, NamedTuple

from harness.clock import NS_PER_S, SWITCH_NS, World
from harness.events import Ticks
from harness.ticks import TickLog


class Receipt(NamedTuple):
    """When bytes were taken from a socket."""

    at_ns: int
    after_ns: int  # they came after this instant, and waited for the loop since


class LoopSelector(selectors.DefaultSelector):
    """A selector that notes when what it returns can have come at the earliest."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._now_ns = world.now_ns
        self._looked_ns = self._now_ns()
        self.since_ns = self._looked_ns  # what is handed over now came after this instant

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, Any]]:
        """As any selector; looks without waiting first, so that it knows which of the two it was.

        What was there at once came after the look before. What was waited for came just now, or
        as long ago as another thread may have kept this one from running.
        """
        since_ns = self._looked_ns
        ready = super().select(0)
        self._looked_ns = self._now_ns()
        if not ready and (timeout is None or timeout > 0):
            since_ns = self._looked_ns
            ready = super().select(timeout)
            self._looked_ns = self._now_ns()
            since_ns = max(since_ns, self._looked_ns - SWITCH_NS)
        self.since_ns = since_ns
        return ready


class LoopWatch:
    """Asks to be called every 20 ms and notes when it was.

    Ticks are due on a fixed schedule: a loop that is blocked for long is late for every tick that
    was due meanwhile, as it was for every message.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._selector = LoopSelector(world)
        self.loop = asyncio.SelectorEventLoop(self._selector)
        self._log = TickLog("loop", world.now_ns())
        self.loop.call_soon(self._tick)

    def receipt(self) -> Receipt:
        """The stamp of what the loop hands over now; on the loop's thread."""
        return Receipt(self._world.now_ns(), self._selector.since_ns)

    def _tick(self) -> None:
        self._log.ran(self._world.now_ns())
        wait_ns = self._log.next_due_ns - self._world.now_ns()
        self.loop.call_later(wait_ns / NS_PER_S, self._tick)

    def between(self, start_ns: int, end_ns: int) -> tuple[Ticks, ...]:
        """The ticks that were due in [start, end]; from any thread."""
        return self._log.between(start_ns, end_ns, self._world.now_ns())
