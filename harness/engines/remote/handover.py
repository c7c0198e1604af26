"""From other threads to the sockets' event loop: one wake-up for all calls that wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any


class Handover:
    """As ``loop.call_soon_threadsafe``, in order, without a system call for each.

    A wake-up writes to a socket, and whoever does so lets the other thread run: with hundreds of
    sessions whose frames are due at the same time the driver waited longer than it worked.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._calls: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._asked = False  # the loop will come and look

    def call(self, function: Callable[..., None], *arguments: Any) -> None:
        """Have the loop call this; from any thread."""
        self._calls.append((function, arguments))  # before the question: nothing is left behind
        if not self._asked:
            self._asked = True
            self._loop.call_soon_threadsafe(self._take)

    def _take(self) -> None:
        self._asked = False
        while self._calls:
            function, arguments = self._calls.popleft()
            self._loop.call_soon(function, *arguments)
