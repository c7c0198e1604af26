"""One client's socket: a reader, a writer with a bounded queue, and a reported end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from starlette.websockets import WebSocket, WebSocketDisconnect

from harness.chunking import Strategy, parse_strategy
from harness.chunking.messages import ChunkMessage
from harness.clock import World
from harness.config import ServeConfig
from harness.engines import Engine, Reference
from harness.errors import HarnessError
from harness.events import ServerTiming, SessionKind
from harness.serve.budget import Bucket
from harness.serve.protocol import (
    Action,
    Audio,
    Begin,
    Finish,
    Reply,
    ServeProtocol,
    State,
)
from harness.serve.telemetry import ServerCounters
from harness.serve.utterance import Utterance

_log = logging.getLogger("harness.serve")

_LEAVING_S = 2.0  # for a session that was asked to end
_BAD_MESSAGES = (64, 1)  # that are answered: at once, and a second after that


class Service(NamedTuple):
    """What all connections of a server share."""

    engine: Engine
    config: ServeConfig
    world: World
    kind: SessionKind
    telemetry: ServerCounters
    references: Mapping[str, Reference]  # by the id of a dataset clip


class _Message(NamedTuple):
    text: str
    token_ns: int | None  # of the token that released it; None: it is no chunk


class _Close(NamedTuple):
    code: int


class Connection:
    def __init__(
        self,
        service: Service,
        socket: WebSocket,
        protocol: ServeProtocol,
        default_lanes: dict[str, Strategy],
        name: str,
    ) -> None:
        self._service = service
        self._socket = socket
        self._protocol = protocol
        self._default_lanes = default_lanes
        self._name = name
        self._outgoing: asyncio.Queue[_Message | _Close] = asyncio.Queue(service.config.max_pending)
        self._bad_messages = Bucket(*_BAD_MESSAGES, service.world.now_ns())
        self._utterance: Utterance | None = None
        self._utterances = 0
        self._between = asyncio.Event()  # no utterance is under way
        self._between.set()
        self._left = asyncio.Event()  # the socket is done with
        self._ending = False
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Serve the accepted socket until it is closed, by whichever side."""
        self._task = asyncio.create_task(self._read())
        writer = asyncio.create_task(self._write())
        try:
            await asyncio.wait({self._task, writer}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (self._task, writer):
                task.cancel()
            self._drop_utterance("abandoned")
            with suppress(asyncio.CancelledError, WebSocketDisconnect):
                await writer
            self._left.set()
            with suppress(asyncio.CancelledError, WebSocketDisconnect):
                await self._task

    async def wind_up(self) -> None:
        """Shutdown: let the utterance under way be answered, then say so and close."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._service.config.grace_s):
                await self._between.wait()
        self._end("the server is shutting down", "shutting_down", 1001)
        with suppress(TimeoutError):  # of a client that does not read
            async with asyncio.timeout(_LEAVING_S):
                await self._left.wait()

    # --- reading ---------------------------------------------------------------------------------

    async def _read(self) -> None:
        config = self._service.config
        await self._outgoing.put(_Message(self._protocol.greeting(self._name), None))
        while not self._ending:
            answering = self._protocol.state is State.ANSWERING
            try:
                async with asyncio.timeout(
                    config.answer_timeout_s if answering else config.idle_timeout_s
                ):
                    message = await self._socket.receive()
            except TimeoutError:
                self._end(*self._explain_timeout())
                break
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            for action in self._protocol.receive(message["bytes"] if text is None else text):
                await self._do(action)
        await asyncio.Event().wait()  # the writer closes

    def _explain_timeout(self) -> tuple[str, str, int]:
        config = self._service.config
        if self._protocol.state is State.ANSWERING:
            return f"no answer within {config.answer_timeout_s:g} s", "answer_timeout", 1011
        return f"nothing was sent for {config.idle_timeout_s:g} s", "idle_timeout", 1001

    async def _do(self, action: Action) -> None:
        match action:
            case Begin():
                self._begin(action)
            case Audio() if self._utterance is not None:
                self._utterance.feed(action.samples)
            case Finish() if self._utterance is not None:
                self._utterance.finish()
            case Reply():
                # Waits while the queue is full: who sends nonsense and reads nothing is not read.
                self._service.telemetry.errors[action.code] += 1
                await self._outgoing.put(_Message(action.message, None))
                if self._bad_messages.take(1, self._service.world.now_ns()):
                    self._end("too many messages with errors", "too_many_errors", 1008)

    def _begin(self, begin: Begin) -> None:
        self._utterances += 1
        lanes = {name: parse_strategy(name) for name in begin.chunking} or self._default_lanes
        self._utterance = Utterance(
            f"{self._name}-{self._utterances}",
            self,
            lanes,
            self._service.kind,
            self._service.world,
            self._service.telemetry,
            asyncio.get_running_loop(),
        )
        self._between.clear()
        try:
            reference = self._service.references.get(begin.clip or "")
            self._utterance.begin(self._service.engine, reference)
        except HarnessError as error:
            self._service.telemetry.utterances["failed"] += 1
            self.failed(str(error))

    # --- the utterance's client ------------------------------------------------------------------

    def chunk(
        self, lane: str, text: str, message: ChunkMessage, token_ns: int, timing: ServerTiming
    ) -> None:
        if (sent := self._protocol.chunk(lane, text, message, timing)) is not None:
            self._post(_Message(sent, token_ns))

    def blank_token(self, token_ns: int, timing: ServerTiming) -> None:
        if (sent := self._protocol.blank(timing)) is not None:
            self._post(_Message(sent, token_ns))

    def ended(self, text: str, tokens: int, timing: ServerTiming) -> None:
        self._utterance = None
        if (message := self._protocol.done(text, tokens, timing)) is not None:
            self._post(_Message(message, None))
        self._between.set()

    def failed(self, error: str) -> None:
        self._utterance = None
        self._protocol.abandon()
        self._service.telemetry.errors["engine_failed"] += 1
        self._post(_Message(self._protocol.error(error, "engine_failed"), None))
        self._between.set()

    def _drop_utterance(self, outcome: str) -> None:
        if self._utterance is not None:
            self._service.telemetry.utterances[outcome] += 1
            self._utterance.close()
            self._utterance = None
        self._between.set()

    # --- writing ---------------------------------------------------------------------------------

    def _post(self, message: _Message | _Close) -> None:
        try:
            self._outgoing.put_nowait(message)
        except asyncio.QueueFull:
            _log.warning(
                "session %s dropped: %d messages wait for it (serve.max_pending)",
                self._name,
                self._outgoing.qsize(),
            )
            self._service.telemetry.errors["slow_reader"] += 1
            self._drop_utterance("abandoned")
            self._ending = True
            if self._task is not None:
                self._task.cancel()

    def _end(self, text: str, code: str, close_code: int) -> None:
        """Tell the client why, after what is still on its way to it, and close."""
        if self._ending:
            return
        self._ending = True
        self._drop_utterance("abandoned")
        self._service.telemetry.errors[code] += 1
        self._post(_Message(self._protocol.error(text, code), None))
        self._post(_Close(close_code))

    async def _write(self) -> None:
        telemetry, now_ns = self._service.telemetry, self._service.world.now_ns
        while True:
            item = await self._outgoing.get()
            if isinstance(item, _Close):
                await self._socket.close(item.code)
                return
            await self._socket.send_text(item.text)
            if item.token_ns is not None:
                telemetry.delivery.observe_ns(now_ns() - item.token_ns)
