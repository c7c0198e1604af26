"""Who may connect: host, origin and bearer token, as a pure function of a request's headers."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from urllib.parse import urlsplit

import msgspec

from harness.addresses import is_loopback

_TOKEN_PROTOCOL = "bearer."  # noqa: S105 browsers cannot set headers: a subprotocol carries it


class Refusal(msgspec.Struct, frozen=True):
    status: int  # of HTTP
    reason: str  # for the counter
    text: str  # for the client


class Access(msgspec.Struct, frozen=True):
    loopback: bool  # bound to this machine only: then its names are the only hosts
    origins: tuple[str, ...] = ()  # of other pages that may connect
    token: str | None = None  # None: no token is required

    def refusal(
        self, headers: Mapping[str, str], subprotocols: list[str], *, needs_token: bool = True
    ) -> Refusal | None:
        """Why this request is refused; None: it is not."""
        host = headers.get("host", "")
        if self.loopback and not is_loopback(host):
            # A page elsewhere whose name was made to resolve to this machine (DNS rebinding).
            return Refusal(403, "host", "this server answers to localhost only")
        origin = headers.get("origin")
        if origin is not None and origin not in self.origins and _origin_host(origin) != host:
            return Refusal(403, "origin", "pages of this origin may not connect: serve.origins")
        if needs_token and self.token is not None and not self._has_token(headers, subprotocols):
            return Refusal(401, "token", "missing or wrong bearer token")
        return None

    def _has_token(self, headers: Mapping[str, str], subprotocols: list[str]) -> bool:
        offered = [headers.get("authorization", "").removeprefix("Bearer ")]
        offered += [
            p.removeprefix(_TOKEN_PROTOCOL) for p in subprotocols if p.startswith(_TOKEN_PROTOCOL)
        ]
        expected = (self.token or "").encode()
        return any(hmac.compare_digest(token.encode(), expected) for token in offered)


def _origin_host(origin: str) -> str | None:
    """Host and port of an origin; None: it has none, or is not an address."""
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None
