"""A WebSocket that stamps its messages as early as can be."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.frames import DATA_OPCODES, Frame
from websockets.protocol import Event

from harness.engines.remote.loop_watch import Receipt


class StampedConnection(ClientConnection):
    """Stamps a message when its last byte is taken from the socket, before anybody looks at it."""

    def __init__(self, stamp: Callable[[], Receipt], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stamp = stamp
        self._now = stamp()
        self._receipts: deque[Receipt] = deque()  # of whole messages that nobody has taken yet

    def data_received(self, data: bytes) -> None:
        self._now = self._stamp()
        super().data_received(data)

    def process_event(self, event: Event) -> None:
        if isinstance(event, Frame) and event.opcode in DATA_OPCODES and event.fin:
            self._receipts.append(self._now)
        super().process_event(event)

    async def take(self) -> tuple[str | bytes, Receipt]:
        """The next message and when it came.

        Raises:
            ConnectionClosed: there is none.
        """
        return await self.recv(), self._receipts.popleft()
