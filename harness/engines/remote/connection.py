"""Getting a configured socket, and what went wrong when there is none."""

from __future__ import annotations

import asyncio
import functools
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies

from websockets.asyncio.client import connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    WebSocketException,
)
from websockets.typing import Subprotocol

from harness.addresses import is_loopback
from harness.engines.remote.adapter import Adapter, EventKind, ServerEvent
from harness.engines.remote.link import StampedConnection
from harness.engines.remote.loop_watch import Receipt
from harness.engines.remote.options import RealtimeOptions
from harness.errors import ConfigError
from harness.events import ServedEngine
from harness.keys import KnownKeys, key_from_environment
from harness.text import shorten

# websockets logs request headers, and so the key, at DEBUG: a logger of our own stays above it.
_log = logging.getLogger("harness.engines.remote.websockets")
_log.setLevel(logging.INFO)

_MAX_MESSAGE_BYTES = 1_048_576
_MAX_QUEUED = 256  # messages: beyond it the socket is not read, and waits unseen
_CLOSE_TIMEOUT_S = 1.0
_SHOWN = 200  # characters of what a server or a library says
_DEFAULT_HTTP_CAUSE = "the server does not take realtime sessions at this path"
_HTTP_CAUSES = {
    401: "the key is missing or wrong: set engine.api_key_env",
    403: "the key, the origin or the host is not allowed, or there is no such path",
    404: "no realtime service at this path: check engine.url",
    429: "too many sessions or requests",
    503: "the server is full, starting or shutting down",
}


KEY_CAME_BACK = (
    "garbage from the server: its text holds the key of engine.api_key_env, and is not kept"
)


class Fault(Exception):  # noqa: N818 it is what the failed session is told, not a defect of ours
    """Why a session failed, in words for the report."""


class Credentials:
    """The key that a server is shown, and how it is kept out of what is kept or shown here."""

    def __init__(self, key: str | None) -> None:
        self.key = key
        self.known = KnownKeys([key])
        self._proxies = KnownKeys(map(_password, getproxies().values()))

    def show(self, text: str) -> str:
        """Text of a server's or of a library's in one line, short, without keys."""
        return shorten(self._proxies.redact(self.known.redact(text)), _SHOWN)


def _password(proxy: str) -> str | None:
    try:
        return urlsplit(proxy).password
    except ValueError:
        return None


class ConnectionSetup(NamedTuple):
    """What one session connects with."""

    config: RealtimeOptions
    adapter: Adapter
    credentials: Credentials
    stamp: Callable[[], Receipt]  # of bytes that the event loop hands over now


class ConfiguredSocket(NamedTuple):
    """A socket that is configured."""

    link: StampedConnection
    served: ServedEngine | None  # what our own server says of its engine; other servers: None


class _Connect(connect):
    def process_redirect(self, exc: Exception) -> Exception:
        return exc  # the key would travel with it, and the detour would count as setup


def read_key(config: RealtimeOptions) -> str | None:
    """The key from the environment; None: the config names none.

    Raises:
        ConfigError: the variable is not set, its content cannot be a key or stands elsewhere in the
            config, which is kept; or the key would leave this machine unencrypted.
    """
    if config.api_key_env is None:
        return None
    key = key_from_environment(config.api_key_env, "key")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigError(
            "environment variable with the key holds what no HTTP header can carry",
            value=config.api_key_env,
            allowed="printable ASCII without blanks or line breaks",
        )
    if KnownKeys([key]).found(f"{config.url} {unquote(config.url)} {config.model}"):
        raise ConfigError(
            "engine.url and engine.model are kept with the run, and one of them holds the key",
            value="(not shown)",
            hint=f"leave it out: the key is sent as a header, from {config.api_key_env}",
        )
    if config.url.startswith("ws:") and not is_loopback(config.url):
        raise ConfigError(
            "a key is not sent over an unencrypted connection",
            value=config.url,
            allowed="wss://, or ws:// to this machine",
        )
    return key


@asynccontextmanager
async def connected(access: ConnectionSetup) -> AsyncIterator[ConfiguredSocket]:
    """A socket whose session is configured as far as the protocol lets a client know.

    Raises:
        Fault: refused, not a realtime server, or wrong model.
        ConnectionClosed: lost on the way.
    """
    config, adapter, credentials, stamp = access
    key = credentials.key
    try:
        link = await _Connect(
            adapter.url(),
            additional_headers=adapter.headers(key) if key else None,
            subprotocols=[Subprotocol(name) for name in adapter.subprotocols(key)] or None,
            proxy=None if is_loopback(config.url) else True,
            compression=None,  # it would be measured with the server
            open_timeout=None,  # the session's own deadline covers it
            ping_interval=config.ping_s,
            ping_timeout=config.ping_s,
            close_timeout=_CLOSE_TIMEOUT_S,  # of a socket that is dead nothing more comes
            max_size=_MAX_MESSAGE_BYTES,
            max_queue=_MAX_QUEUED,
            create_connection=functools.partial(StampedConnection, stamp),  # type: ignore[arg-type]
            logger=_log,
        )
    except (OSError, WebSocketException, EOFError, UnicodeError, ImportError) as error:
        raise Fault(_explain_refusal(error, config.url, credentials)) from error
    assert isinstance(link, StampedConnection)  # noqa: S101 made by `create_connection`
    try:
        yield ConfiguredSocket(link, await _configure(link, access))
    finally:
        try:
            with suppress(TimeoutError):  # a server that reads nothing: neither the close
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await link.close()
        finally:
            link.transport.abort()


async def _configure(link: StampedConnection, access: ConnectionSetup) -> ServedEngine | None:
    served, adapter = None, access.adapter
    if adapter.greets:
        served = (await receive(link, access, EventKind.CREATED)).served
    for message in adapter.configure():
        await link.send(message)
    if adapter.acknowledged:
        await receive(link, access, EventKind.CONFIGURED)
    return served


async def probe(access: ConnectionSetup) -> ServedEngine | None:
    """Connect and configure once, so that a wrong address, key or model shows before a run.

    Returns:
        what our own server says of its engine.

    Raises:
        Fault: as ``connected``, and when it takes longer than ``connect_timeout_s``.
    """
    config = access.config
    try:
        async with asyncio.timeout(config.connect_timeout_s), connected(access) as session:
            if messages := access.adapter.probe():
                for message in messages:
                    await session.link.send(message)
                await receive(session.link, access, EventKind.CONFIGURED)
            return session.served
    except TimeoutError as error:
        raise Fault(setup_timeout(config)) from error
    except ConnectionClosed as error:
        raise Fault(explain_loss(error, config, access.credentials)) from error


async def receive(
    link: StampedConnection, access: ConnectionSetup, wanted: EventKind
) -> ServerEvent:
    """Wait for an event of this kind; others are passed over, an error is a ``Fault``."""
    while True:
        message, _ = await link.take()
        event = parse(access.adapter, message, access.credentials)
        if event.kind is wanted:
            return event
        if event.kind is EventKind.ERROR:
            raise Fault(explain_error(event))


def parse(adapter: Adapter, message: str | bytes, credentials: Credentials) -> ServerEvent:
    """An event without any key in it.

    Raises:
        Fault: not an event, or one whose text held the key: text must not be changed.
    """
    has_key = isinstance(message, str) and credentials.known.found(message)
    if isinstance(message, str) and has_key:
        message = credentials.known.redact(message)
    try:
        event = adapter.parse(message)
    except ValueError as error:
        raise Fault(f"garbage from the server: {error}") from error
    if has_key and event.kind in (EventKind.TEXT, EventKind.DONE):
        raise Fault(KEY_CAME_BACK)
    return event


def explain_error(event: ServerEvent) -> str:
    """An error event of the server, with the cause where its code says one."""
    said = f"{event.text} ({event.code})" if event.code else event.text
    if "model" in event.code and "validated" not in event.code:
        return f"wrong model: {said}: check engine.model"
    if event.code == "too_many_sessions":
        return f"session refused: {said}"
    return f"error from the server: {said}"


def setup_timeout(config: RealtimeOptions) -> str:
    return (
        f"not connected and configured within {config.connect_timeout_s:g} s"
        " (engine.connect_timeout_s)"
    )


def explain_loss(error: ConnectionClosed, config: RealtimeOptions, credentials: Credentials) -> str:
    """A connection that ended before the final text."""
    if error.rcvd is not None:
        reason = f" {credentials.show(error.rcvd.reason)!r}" if error.rcvd.reason else ""
        return f"closed by the server before the final text: code {error.rcvd.code}{reason}"
    if error.sent is not None and "ping" in error.sent.reason:
        return f"dead socket: no answer to a ping within {config.ping_s:g} s (engine.ping_s)"
    if error.sent is not None:
        return f"garbage from the server: {error.sent.reason or 'not a WebSocket frame'}"
    return "connection lost before the final text: the server went away without closing it"


def _explain_refusal(error: Exception, url: str, credentials: Credentials) -> str:
    match error:
        case ConnectionRefusedError():
            return f"connection refused: nothing listens at {url}"
        case ssl.SSLCertVerificationError():
            return f"certificate not trusted at {url}: {error.verify_message}"
        case ssl.SSLError():
            return f"TLS failed at {url} ({error.reason}): does it speak plain ws://?"
        case ConnectionResetError() if url.startswith("wss:"):
            return f"TLS failed at {url} (connection reset): does it speak plain ws://?"
        case socket.gaierror():
            return f"unknown host in {url}: {error.strerror}"
        case InvalidStatus():
            status = error.response.status_code
            cause = _HTTP_CAUSES.get(status, _DEFAULT_HTTP_CAUSE)
            return f"session refused with HTTP {status} at {url}: {cause}"
        case InvalidHandshake() | EOFError():
            said = credentials.show(str(error))
            return f"no WebSocket server at {url} ({said}): does it want wss://?"
    return f"no connection to {url}: {credentials.show(str(error))}"
