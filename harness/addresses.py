"""Hosts and URLs: which of them are this machine."""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit

_PORTS = {"ws": 80, "http": 80, "wss": 443, "https": 443}


def is_loopback(address: str) -> bool:
    """Whether a URL, or a host with or without a port, is a name of this machine."""
    try:
        bare_ipv6 = address.count(":") > 1 and "[" not in address and "//" not in address
        host = address if bare_ipv6 else _split(address).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def port_here(url: str) -> int | None:
    """The port of a URL on this machine; None: it is elsewhere."""
    if not is_loopback(url):
        return None
    parts = urlsplit(url)
    return parts.port or _PORTS.get(parts.scheme)


def _split(address: str) -> SplitResult:
    return urlsplit(address if "//" in address else f"//{address}")
