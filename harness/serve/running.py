"""From an application to a listening server, and to its end."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from harness.addresses import is_loopback
from harness.config import ServeConfig
from harness.errors import UsageError
from harness.keys import KnownKeys
from harness.serve.app import Server
from harness.serve.quiet import quiet_log
from harness.serve.wire import BACKLOG, ConnectionLimits, Door, most_connections, wired

_log = logging.getLogger("harness.serve")

_PING_S = 20.0
_SPARE_CONNECTIONS = 64  # in addition to those of sessions: for the page, for refusals
_CLOSING_S = 1  # for what is left of HTTP requests, after every session was ended


def run_server(app: Starlette, announce: Callable[[str], None] = _log.info) -> None:
    """Serve until interrupted, then shut down: running utterances are finished, sessions ended.

    Args:
        announce: called with the page's address once clients can connect.

    Raises:
        UsageError: the address cannot be bound.
    """
    config: ServeConfig = app.state.server.config
    if not is_loopback(config.host) and config.token_env is None:
        _log.warning("serve.host=%s without serve.token_env: anybody may connect", config.host)
    try:
        make_uvicorn(app, announce).run()
    except KeyboardInterrupt:
        pass  # uvicorn raises it once more when it has wound up
    except SystemExit as error:  # how uvicorn says that it could not bind
        raise UsageError(
            "cannot listen",
            value=f"{config.host}:{config.port}",
            hint="another server may have the port: serve.port=0 takes any free one",
        ) from error


def make_uvicorn(app: Starlette, announce: Callable[[str], None] = _log.info) -> uvicorn.Server:
    serving: Server = app.state.server
    config = serving.config
    most = most_connections(config.max_connections or config.max_sessions + _SPARE_CONNECTIONS)
    door = Door(
        ConnectionLimits(most, config.handshake_timeout_s), serving.world, serving.telemetry
    )
    server = _WindingUp(
        uvicorn.Config(
            app,
            http=wired(door, AutoHTTPProtocol),  # type: ignore[arg-type]  # it calls it, no more
            backlog=BACKLOG,
            host=config.host,
            port=config.port,
            log_config=None,
            log_level="warning",  # at INFO it logs addresses with their query: keys, in places
            access_log=False,
            ws_max_size=2 * config.max_message_bytes,  # up to here an error event, beyond it 1009
            ws_ping_interval=_PING_S,
            ws_ping_timeout=_PING_S,
            ws_per_message_deflate=False,  # it would be measured with the engine
            server_header=False,
            timeout_graceful_shutdown=_CLOSING_S,
        )
    )
    server.announce = announce
    return server


class _WindingUp(uvicorn.Server):
    """uvicorn closes sockets at once when it stops; here sessions are ended first."""

    announce: Callable[[str], None]

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        server = self._server()
        with quiet_log(server.world.now_ns, KnownKeys([server.access.token])):
            await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        self.announce(f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._server().wind_up()
        await super().shutdown(sockets)

    def _server(self) -> Server:
        app = self.config.app
        assert isinstance(app, Starlette)  # noqa: S101 made by `make_uvicorn`
        server: Server = app.state.server
        return server
