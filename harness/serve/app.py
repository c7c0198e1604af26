"""The server: our engines behind vLLM's realtime protocol, the chunk messages, and a page.

=====================  =============================================================================
``/v1/realtime``       vLLM's protocol; ``?chunking=NAME``, by default a delta a token
``/ws/transcribe``     chunk messages; ``?chunking=NAME``, or per utterance in ``start``
``/``                  the page
``/clips``             the dataset's clips, ``/clips/ID.pcm`` the sound of one
``/health``            200 while sessions are taken, 503 while shutting down
``/metrics``           Prometheus
=====================  =============================================================================
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from harness.addresses import is_loopback
from harness.audio import RATE_HZ
from harness.chunking import Strategy, Tokens, offered, parse_strategy
from harness.clock import World, wall_time
from harness.config import ServeConfig
from harness.datasets.load import Clip
from harness.engines import Engine, Reference
from harness.engines.remote.adapter import pcm16
from harness.events import ServedEngine, SessionKind
from harness.keys import key_from_environment
from harness.serve.access import Access
from harness.serve.connection import Connection, Service
from harness.serve.protocol import Realtime, ServeProtocol, Transcribe, UtteranceLimits
from harness.serve.quiet import explain
from harness.serve.telemetry import ServerCounters

_log = logging.getLogger("harness.serve")

_PAGE = Path(__file__).parent / "page"
_SUBPROTOCOL = "stt"  # what the page offers in addition to the one that carries its token
_ASSETS = ("icon.svg", "page.js", "session.js", "worklet.js", "style.css")
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",  # with the next: the page's clock has 5 µs steps
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
}


def create_app(
    engine: Engine,
    config: ServeConfig,
    world: World,
    *,
    kind: SessionKind,
    chunking: Strategy,
    chunking_name: str,
    clips: Sequence[Clip] = (),
) -> Starlette:
    """The application; ``app.state.server`` is its :class:`Server`.

    Args:
        kind: the sessions that ``engine`` serves.
        chunking: of ``/ws/transcribe``, where the client does not choose.
        chunking_name: how the messages call it.
        clips: what the page offers to play.

    Raises:
        ConfigError: the environment variable with the token is not set.
    """
    server = Server(engine, config, world, kind, {chunking_name: chunking}, clips)
    app = Starlette(
        routes=[
            WebSocketRoute("/v1/realtime", server.realtime),
            WebSocketRoute("/ws/transcribe", server.transcribe),
            Route("/", server.page),
            Route("/static/{name}", server.asset),
            Route("/clips", server.list_clips),
            Route("/clips/{id}.pcm", server.clip),
            Route("/health", server.health),
            Route("/metrics", server.metrics),
        ]
    )
    app.state.server = server
    app.add_middleware(_Guard, server=server)
    return app


class _Guard:
    """Asks ``Access`` about every request, before anything else sees it."""

    def __init__(self, app: ASGIApp, server: Server) -> None:
        self._app = app
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        # The page itself says nothing of anybody; what it then asks for needs the token.
        is_public = scope["path"] in ("/", "/health") or scope["path"].startswith("/static/")
        refusal = self._server.access.refusal(
            connection.headers, scope.get("subprotocols", []), needs_token=not is_public
        )
        if refusal is None:
            await self._answer(scope, receive, _with_headers(send))
            return
        self._server.telemetry.refused[refusal.reason] += 1
        response = PlainTextResponse(refusal.text + "\n", refusal.status)
        if scope["type"] == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(response)
        else:
            await response(scope, receive, send)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A defect, of ours or of an engine, ends this connection and is one line in the log."""
        try:
            await self._app(scope, receive, send)
        except WebSocketDisconnect:
            pass  # the client has left: whatever was under way was given up
        except Exception as error:  # noqa: BLE001 uvicorn would write a traceback for every client
            self._server.telemetry.errors["defect"] += 1
            _log.error("a connection ended by a defect: %s", explain(error))
            with suppress(Exception):  # it may be answered, or gone
                if scope["type"] == "websocket":
                    await send({"type": "websocket.close", "code": 1011})
                else:
                    await PlainTextResponse("internal error\n", 500)(scope, receive, send)


def _with_headers(send: Send) -> Send:
    added = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *added]
        await send(message)

    return send_with_headers


class Server:
    """The engine, who may use it, and the sessions that are open on it."""

    def __init__(
        self,
        engine: Engine,
        config: ServeConfig,
        world: World,
        kind: SessionKind,
        lanes: dict[str, Strategy],
        clips: Sequence[Clip],
    ) -> None:
        self.config = config
        self.world = world
        self.telemetry = ServerCounters()
        self.access = Access(is_loopback(config.host), tuple(config.origins), read_token(config))
        self._engine = engine
        self._lanes = lanes
        self._clips = {clip.id: clip for clip in clips}
        references = {c.id: Reference(text=c.text, words=c.words) for c in clips}
        self._service = Service(engine, config, world, kind, self.telemetry, references)
        info = engine.info
        self._served = ServedEngine(info.random_weights, info.weights_sha256, info.model_delay_ms)
        self._limits = UtteranceLimits(
            config.max_message_bytes, round(config.max_audio_s * RATE_HZ)
        )
        self._connections: set[Connection] = set()
        self._names = (f"{wall_time():%H%M%S}-{n}" for n in itertools.count(1))
        self._winding_up = False
        # Some engines set memory aside for so many sessions, and have no place for one more.
        places = engine.info.details.get("max_streams")
        most = config.max_sessions
        self._most_sessions = most if not isinstance(places, int) else min(most, places)

    # --- sessions --------------------------------------------------------------------------------

    async def realtime(self, socket: WebSocket) -> None:
        protocol = Realtime(self._limits, self._engine.info.model, self._served)
        await self._serve(socket, protocol, {"token": Tokens()})

    async def transcribe(self, socket: WebSocket) -> None:
        kind, model = self._service.kind.value, self._engine.info.model
        protocol = Transcribe(self._limits, kind, model, self._served)
        await self._serve(socket, protocol, self._lanes)

    async def _serve(
        self, socket: WebSocket, protocol: ServeProtocol, lanes: dict[str, Strategy]
    ) -> None:
        await socket.accept(_SUBPROTOCOL if _SUBPROTOCOL in socket.scope["subprotocols"] else None)
        chosen = socket.query_params.get("chunking")
        try:
            lanes = lanes if chosen is None else {chosen: parse_strategy(chosen)}
        except ValueError as error:
            await self._refuse(socket, protocol, str(error), "unknown_chunking", 1008)
            return
        if self._winding_up:
            text = "the server is shutting down"
            await self._refuse(socket, protocol, text, "shutting_down", 1001)
            return
        if len(self._connections) >= self._most_sessions:
            text = f"{len(self._connections)} sessions are open, as many as this server takes"
            await self._refuse(socket, protocol, text, "too_many_sessions", 1013)
            return
        connection = Connection(self._service, socket, protocol, lanes, next(self._names))
        self._connections.add(connection)
        self.telemetry.accepted[socket.url.path] += 1
        self.telemetry.sessions += 1
        try:
            await connection.run()
        finally:
            self._connections.remove(connection)
            self.telemetry.sessions -= 1

    async def _refuse(
        self, socket: WebSocket, protocol: ServeProtocol, text: str, code: str, close_code: int
    ) -> None:
        self.telemetry.refused[code] += 1
        await socket.send_text(protocol.error(text, code))
        await socket.close(close_code)

    async def wind_up(self) -> None:
        """Take no more sessions; let utterances finish within ``grace_s``; end them."""
        self._winding_up = True
        await asyncio.gather(*(connection.wind_up() for connection in self._connections))

    # --- everything else -------------------------------------------------------------------------

    async def page(self, request: Request) -> Response:
        return FileResponse(_PAGE / "index.html")

    async def asset(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _ASSETS:
            return PlainTextResponse("no such file\n", 404)
        return FileResponse(_PAGE / name)

    async def list_clips(self, request: Request) -> Response:
        return JSONResponse(
            [
                {
                    "id": clip.id,
                    "text": clip.text,
                    "duration_s": clip.duration_s,
                    "speech_onset_s": clip.speech_onset_s,
                    "speech_end_s": clip.speech_end_s,
                    "words": [[w.text, w.start_s, w.end_s] for w in clip.words],
                }
                for clip in self._clips.values()
            ]
        )

    async def clip(self, request: Request) -> Response:
        clip = self._clips.get(request.path_params["id"])
        if clip is None:
            return PlainTextResponse("no such clip\n", 404)
        return Response(pcm16(clip.samples), media_type="application/octet-stream")

    async def health(self, request: Request) -> Response:
        status = {
            "status": "shutting down" if self._winding_up else "ok",
            "model": self._engine.info.model,
            "random_weights": self._served.random_weights,
            "kind": self._service.kind.value,
            "chunking": next(iter(self._lanes)),
            "strategies": [strategy.name for strategy in offered()],
            "sessions": len(self._connections),
            "max_sessions": self._most_sessions,
            "needs_token": self.access.token is not None,
        }
        return JSONResponse(status, 503 if self._winding_up else 200)

    async def metrics(self, request: Request) -> Response:
        return Response(self.telemetry.exposition(), media_type="text/plain; version=0.0.4")


def read_token(config: ServeConfig) -> str | None:
    """The bearer token that clients must show; None: none.

    Raises:
        ConfigError: the variable that should hold it is not set.
    """
    if config.token_env is None:
        return None
    return key_from_environment(config.token_env, "bearer token", ", or serve.token_env=null")
